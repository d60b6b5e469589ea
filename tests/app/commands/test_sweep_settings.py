"""Runs of earlier sweeps are recognized by their settings."""

from pathlib import Path

import pytest

from lightning_flows.app.commands.experiments import EXPERIMENTS, OWN
from lightning_flows.app.commands.small import resized
from lightning_flows.app.commands.sweep import Trainings
from lightning_flows.errors import DataError
from lightning_flows.reporting.tables.runs import Run
from tests.parsing import parsed

ROWS = {
    **{f"{table}-{name}": each for table, rows in EXPERIMENTS.items() for name, each in rows.items()},
    **{f"8x8-{name}": each for name, each in resized(EXPERIMENTS[2] | EXPERIMENTS[3] | OWN, "8x8").items()},
}


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("overlays", [None, []], ids=["reduced", "full"])
def test_a_run_of_a_row_is_recognized(
    row: str, overlays: list[str] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The config that `fit` saves for a row has the settings of the row, also where an option replaced a class."""
    of_row = Trainings(tmp_path, {row: ROWS[row]}, overlays=overlays)
    config = parsed(["fit", *of_row.options(row), "--seed_everything=3"], monkeypatch)
    of_row._check_settings(Run(tmp_path, tmp_path, config), row, 3)
    config["data"]["class_path"] = "some.OtherDataModule"
    with pytest.raises(DataError, match=r"its data.* is some\.OtherDataModule, not "):
        of_row._check_settings(Run(tmp_path, tmp_path, config), row, 3)
