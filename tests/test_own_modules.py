"""Messages about a user's own module that cannot be imported, or lacks the class."""

from pathlib import Path

import pytest

from lightning_flows.app.cli import main, run
from lightning_flows.checkpoints.classes import named_classes
from lightning_flows.errors import FlowsError
from lightning_flows.trust import why_missing

FAULTS = {
    "own_import.Mine": "own_import cannot be imported: ImportError in own_import.py, line 2: cannot import name 'Nrom'",
    "own_syntax.Mine": "own_syntax cannot be imported: SyntaxError in own_syntax.py, line 1: ",
    "own_other.Mine": "own_other cannot be imported: ZeroDivisionError in own_other.py, line 1: division by zero",
    "own_flows.Mnie": "own_flows has no class Mnie; did you mean Mine?",
    "own_flow.Mine": "there is no module own_flow: it is neither installed nor in the working directory or on PYTHON",
    "own_flows.py": "own_flows.py is a file: pass the path of a class in it, such as own_flows.MyFlow",
}


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_import.py").write_text("import torch\nfrom lightning_flows.transforms import Nrom\n")
    (tmp_path / "own_syntax.py").write_text("class Mine(:\n")
    (tmp_path / "own_other.py").write_text("x = 1 / 0\n")
    (tmp_path / "own_data.py").write_text(
        "from lightning_flows.data import ToyDataModule\n"
        "class Late(ToyDataModule):\n"
        "    def train_dataloader(self):\n"
        "        batches = super().train_dataloader()\n"  # raises before setup
        "        return (batch for batch in batches)\n"
    )
    (tmp_path / "own_flows.py").write_text("class Mine:\n    pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.parametrize("path", FAULTS)
def test_the_command_line_says_why_a_class_cannot_be_used(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    configs = ["--config=model/coupling.yaml", "--config=data/sample_photos.yaml"]
    with pytest.raises(SystemExit) as left:
        main(["fit", *configs, f"--model.flow={path}"])
    assert left.value.code == 2
    assert FAULTS[path] in capsys.readouterr().err


@pytest.mark.parametrize("path", FAULTS)
def test_what_reads_a_checkpoint_says_why_a_class_cannot_be_used(path: str) -> None:
    with pytest.raises(FlowsError) as found:
        named_classes(path)
    assert str(found.value).startswith(FAULTS[path])


def test_loaders_are_not_asked_for_before_the_data_is_set_up() -> None:
    trainer = run(["fit", "--config=moons.yaml", "--data=own_data.Late", "--trainer.max_steps=2"]).trainer
    assert trainer.global_step == 2


def test_a_name_without_its_module_is_not_a_path() -> None:
    assert (
        why_missing("Mine") == "Mine is not the path of a class: pass its module and its name, such as my_flows.MyFlow"
    )


def test_the_script_does_not_search_the_working_directory_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", ["/nowhere"])
    assert why_missing("own_flow.Mine").endswith(
        "on PYTHONPATH; only `python -m lightning_flows` also searches the working directory"
    )
