import re

import pytest

from lightning_flows.app.cli import main


@pytest.mark.parametrize(
    ("args", "prefix"),
    [
        (["--model", "ImageFlowModule", "--model.flow.help", "CouplingFlow"], "--model.flow."),
        (["--model.help", "VectorFlowModule"], "--model."),
        (["--data.help=ToyDataModule"], "--data."),
        (["--trainer.callbacks.help", "SampleGrid"], "--trainer.callbacks."),
    ],
)
def test_the_help_of_a_class_has_the_names_that_the_command_line_takes(
    args: list[str], prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["fit", *args])
    names = re.findall(r"(?m)^  (--[\w.]+)", capsys.readouterr().out)
    assert len(names) > 3
    assert [name for name in names if not name.startswith(prefix)] == []
