import numpy as np
import pytest

from lightning_flows.errors import UsageError, check_positive, check_sizes


def test_sizes_are_integers_from_a_minimum() -> None:
    check_sizes(width=1, depth=3)
    check_sizes(0, width=0)
    check_sizes(width=np.int64(4))
    for size in (0, -1):
        with pytest.raises(UsageError, match=f"^expected width of at least 1; got {size}$"):
            check_sizes(width=size)


@pytest.mark.parametrize("size", [2.5, 2.0, float("nan"), None, "3"])
def test_other_values_are_no_sizes(size: object) -> None:
    with pytest.raises(UsageError, match=f"^expected an integer for width; got {size}$"):
        check_sizes(width=size)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_other_values_are_not_positive(value: float) -> None:
    check_positive(max_norm=0.5)
    with pytest.raises(UsageError, match=f"^expected a positive, finite max_norm; got {value}$"):
        check_positive(max_norm=value)
