import logging
import warnings

import pytest

from lightning_flows.app.quiet import hush

LOGGER = logging.getLogger("lightning.pytorch.utilities.rank_zero")


def test_messages_that_require_no_action_are_suppressed_and_others_are_shown(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(LOGGER, "filters", [])
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    with warnings.catch_warnings(record=True) as shown, caplog.at_level(logging.INFO, LOGGER.name):
        warnings.simplefilter("always")
        hush()
        warnings.warn("The 'train_dataloader' does not have many workers", stacklevel=1)
        warnings.warn("The loss is not finite", stacklevel=1)
        LOGGER.info("💡 Tip: install litlogger")
        LOGGER.info("GPU available: False")
    assert [str(each.message) for each in shown] == ["The loss is not finite"]
    assert [record.getMessage() for record in caplog.records] == ["GPU available: False"]
