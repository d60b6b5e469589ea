import pytest

from lightning_flows.callbacks.calibration import Calibration
from lightning_flows.errors import UsageError


def no_data() -> None:
    raise AssertionError("data were built before they are needed")


def test_a_split_that_was_trained_on_is_refused() -> None:
    with pytest.raises(UsageError, match="items that were not trained on"):
        Calibration(no_data, split="train")


def test_a_rate_needs_enough_items() -> None:
    with pytest.raises(UsageError, match="at least 19 held-out items, and 0 are used"):
        Calibration(no_data, num=0, false_alarm_rate=0.05)
    Calibration(no_data, num=19, false_alarm_rate=0.05)
