import pytest

from lightning_flows.errors import UsageError, check_sizes


@pytest.mark.parametrize("size", [0, -1, 2.5, 2.0, float("nan"), None, "3"])
def test_sizes_are_integers_from_a_minimum(size: object) -> None:
    check_sizes(width=1, depth=3)
    check_sizes(0, width=0)
    with pytest.raises(UsageError, match=f"expected width of at least 1; got {size}"):
        check_sizes(width=size)
