"""Each run has its own folder with any logger, and `last` finds it or explains why not."""

import copy
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch.loggers import Logger

from lightning_flows.app.cli import main, run
from lightning_flows.errors import FlowsError
from lightning_flows.training.run_folder import locked


class Shared(Logger):
    """Like W&B's and MLflow's loggers: all runs share ``save_dir``, and the version is an id."""

    def __init__(self, save_dir: str = "shared", project: str = "flows") -> None:
        super().__init__()
        self._save_dir, self._project, self._id = save_dir, project, os.urandom(4).hex()

    save_dir = property(lambda self: self._save_dir)
    name = property(lambda self: self._project)
    version = property(lambda self: self._id)

    def log_metrics(self, metrics, step=None) -> None:
        pass

    def log_hyperparams(self, params, *args, **kwargs) -> None:
        pass


SHARED = {"class_path": f"{__name__}.Shared", "init_args": {"save_dir": "shared"}}
CSV = {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "csv", "name": "curves"}}
BOARD = {
    "class_path": "lightning.pytorch.loggers.TensorBoardLogger",
    "init_args": {"save_dir": "board", "name": "demo", "default_hp_metric": False},
}
LOGGERS = {
    "none": (False, "runs/flow"),
    "shared": (SHARED, "shared/flows"),
    "csv": (CSV, "csv/curves"),
    "two": ([BOARD, CSV], "board/demo"),
    "two, reversed": ([CSV, BOARD], "csv/curves"),
    "shared and csv": ([SHARED, CSV], "csv/curves"),
}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # the module under this name may be another object than the one pytest imported
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))


def config(logger: object) -> str:
    Path("logger.yaml").write_text(yaml.safe_dump({"trainer": {"logger": logger}}))
    return "--config=logger.yaml"


def files() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file()}


def step_of(folder: Path) -> int:
    return torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["global_step"]


@pytest.mark.parametrize("name", LOGGERS)
def test_no_run_replaces_files_of_another_and_last_finds_the_newest(name: str, tiny: list[str], caplog) -> None:
    logger, folder = LOGGERS[name]
    options = ["fit", *tiny, config(logger)]
    run([*options, "--ckpt_path=last"])
    assert f"no earlier run in {folder}: starting the first" in caplog.text
    before = files()
    run([*options, "--seed_everything=1"])
    after = files()
    changed = {path for path, content in before.items() if after.get(path) != content}
    assert changed <= {"logger.yaml"}
    assert sorted(path.name for path in Path(folder).iterdir()) == ["version_0", "version_1"]
    for file in ("config.yaml", "runtime.json", "samples/epoch_0000.png", "checkpoints/best.ckpt"):
        assert (Path(folder) / "version_1" / file).is_file()
    run([*options, "--seed_everything=1", "--ckpt_path=last", "--trainer.max_epochs=2"])
    assert [step_of(Path(folder) / f"version_{i}") for i in (0, 1)] == [3, 6]
    assert {path for path, content in before.items() if files().get(path) != content} <= {"logger.yaml"}


def test_last_finds_a_run_without_callbacks(tiny: list[str]) -> None:
    options = ["fit", *tiny, config(SHARED), "--trainer.callbacks=[]", "--ckpt_path=last"]
    run(options)
    assert run([*options, "--trainer.max_epochs=2"]).trainer.global_step == 6
    assert step_of(Path("shared/flows/version_0")) == 6


def test_resuming_keeps_earlier_csv_curves(tiny: list[str], recwarn: pytest.WarningsRecorder) -> None:
    options = ["fit", *tiny, config(CSV)]
    run(options)
    before = Path("csv/curves/version_0/metrics.csv").read_text()
    run([*options, "--ckpt_path=last", "--trainer.max_epochs=2"])
    assert not [warning for warning in recwarn if "will be deleted" in str(warning.message)]
    assert Path("csv/curves/version_0/metrics_0.csv").read_text() == before
    assert Path("csv/curves/version_0/metrics.csv").read_text() != before


def test_a_trial_run_writes_and_resumes_nothing(tiny: list[str]) -> None:
    run(["fit", *tiny, "--trainer.fast_dev_run=true"])
    assert not files()
    with pytest.raises(FlowsError, match="neither fast_dev_run nor"):
        run(["fit", *tiny, "--trainer.fast_dev_run=true", "--ckpt_path=last"])


def test_training_without_steps_leaves_no_folder(tiny: list[str]) -> None:
    run(["fit", *tiny, "--trainer.limit_train_batches=0"])
    assert not files()


def test_the_config_of_a_run_starts_a_new_run(tiny: list[str]) -> None:
    run(["fit", *tiny])
    run(["fit", *tiny, "--ckpt_path=last", "--trainer.max_epochs=2"])
    before = files()
    run(["fit", "--config=runs/demo/version_0/config.yaml", "--seed_everything=7", "--trainer.max_epochs=1"])
    assert {path: content for path, content in files().items() if path in before} == before
    assert yaml.safe_load(Path("runs/demo/version_1/config.yaml").read_text())["seed_everything"] == 7
    assert step_of(Path("runs/demo/version_1")) == 3


def test_an_explicit_version_belongs_to_one_run(tiny: list[str]) -> None:
    options = ["fit", *tiny, "--trainer.logger.init_args.version=mine"]
    run([*options, "--ckpt_path=last"])
    before = files()
    with pytest.raises(FlowsError, match="runs/demo/mine contains files of another run"):
        run(options)
    assert files() == before
    run([*options, "--ckpt_path=last", "--trainer.max_epochs=2"])
    assert step_of(Path("runs/demo/mine")) == 6


def test_a_named_run_that_was_killed_before_its_first_checkpoint_starts_again(tiny: list[str], caplog) -> None:
    options = ["fit", *tiny, "--trainer.logger.init_args.version=mine", "--ckpt_path=last"]
    run(options)
    shutil.rmtree("runs/demo/mine/checkpoints")
    before = files()
    with pytest.raises(FlowsError, match=r"mine contains files of another run: choose another version of the logger$"):
        run(options[:-1])
    assert files() == before
    for number in (1, 2):
        run(options)
        assert f"its files are kept in runs/demo/mine_{number}" in caplog.text
        assert step_of(Path("runs/demo/mine")) == 3
        shutil.rmtree("runs/demo/mine/checkpoints")
    assert {path.replace("mine_1", "mine"): content for path, content in files().items() if "mine_1" in path} == before


@pytest.mark.parametrize("version", ["other/version_0", "..", "a/", "/tmp"])
def test_a_version_is_the_name_of_one_folder(version: str, tiny: list[str]) -> None:
    with pytest.raises(FlowsError, match="name of a folder, without slashes; got"):
        run(["fit", *tiny, f"--trainer.logger.init_args.version={version}"])
    assert not files()


def test_the_folders_of_all_loggers_belong_to_one_run(tiny: list[str]) -> None:
    loggers = [{**each, "init_args": {**each["init_args"], "version": "mine"}} for each in (BOARD, CSV)]
    run(["fit", *tiny, config(loggers[1])])
    before = files()
    with pytest.raises(FlowsError, match="csv/curves/mine contains files of another run"):
        run(["fit", *tiny, config(loggers)])
    assert {path: content for path, content in files().items() if path != "logger.yaml"} == {
        path: content for path, content in before.items() if path != "logger.yaml"
    }


def test_an_explicit_dirpath_belongs_to_one_run(tiny: list[str]) -> None:
    callback = {
        "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
        "init_args": {"dirpath": "kept", "monitor": "val/bpd", "filename": "best", "enable_version_counter": False},
    }
    Path("own.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": [callback]}}))
    options = ["fit", *tiny, "--config=own.yaml"]
    run(options)
    before = Path("kept/best.ckpt").read_bytes()
    with pytest.raises(FlowsError, match="kept contains checkpoints of another run"):
        run(options)
    assert Path("kept/best.ckpt").read_bytes() == before
    assert run([*options, "--ckpt_path=last", "--trainer.max_epochs=2"]).trainer.global_step == 6
    assert [path.name for path in Path("runs/demo").iterdir()] == ["version_0"]  # whose run it is


def test_two_runs_in_progress_do_not_share_a_dirpath(tiny: list[str]) -> None:
    """Neither has written a checkpoint yet."""
    callback = {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": {"dirpath": "kept"}}
    Path("own.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": [callback]}}))
    Path("kept").mkdir()
    other = locked(Path("kept"))
    options = ["fit", *tiny, "--config=own.yaml"]
    for each in (options, [*options, "--ckpt_path=last"]):
        with pytest.raises(
            FlowsError, match=r"^kept belongs to a run in progress \(.*\): .* or choose another dirpath$"
        ):
            run(each)
    assert not Path("runs/demo").exists()
    other.close()
    inside = {"class_path": callback["class_path"], "init_args": {"dirpath": "runs/demo/version_0/checkpoints"}}
    Path("inside.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": [inside]}}))
    run(["fit", *tiny, "--config=inside.yaml"])
    assert Path("runs/demo/version_0/checkpoints/last.ckpt").is_file()
    run(options)
    run([*options, "--ckpt_path=last"])


@pytest.mark.parametrize("state", ["finished", "diverged", "stopped", "failed"])
@pytest.mark.parametrize("refused", [False, True], ids=["nothing left to train", "refused"])
def test_a_run_that_is_resumed_in_vain_keeps_its_record(tiny: list[str], state: str, refused: bool) -> None:
    """Its end remains before its test, which tables show."""
    run(["fit", *tiny])
    path = Path("runs/demo/version_0/run.json")
    record = json.dumps(json.loads(path.read_text()) | {"state": state})
    path.write_text(record)
    options = ["fit", *tiny, "--ckpt_path=last"]
    if refused:
        with pytest.raises(FlowsError, match="expected a checkpoint of this"):
            run([*options, "--model.flow.hidden_channels=14"])
    else:
        run(options)
    if state in ("stopped", "failed") and not refused:  # in its last validation
        assert json.loads(path.read_text())["state"] == "finished"
    else:
        assert json.loads(path.read_text()) == json.loads(record)
    assert run([*options, "--trainer.max_epochs=2"]).trainer.global_step == 6
    now = json.loads(path.read_text())
    assert now["state"] == "finished"
    assert now["ended"] > json.loads(record)["ended"]


def test_a_save_dir_with_an_unknown_protocol_is_reported_on_one_line(tiny: list[str]) -> None:
    with pytest.raises(FlowsError, match=r"foo://bar/demo cannot be written to \(Protocol not known: foo\)"):
        run(["fit", *tiny, "--trainer.logger.init_args.save_dir=foo://bar"])
    assert not files()


def test_a_run_in_progress_is_not_resumed(tiny: list[str]) -> None:
    from lightning_flows.training.run_folder import RunFolder

    run(["fit", *tiny])
    owner = RunFolder(Path("runs/demo/version_0"))
    owner.acquire()
    before = files()
    with pytest.raises(FlowsError, match="belongs to a run in progress"):
        run(["fit", *tiny, "--ckpt_path=last", "--trainer.max_epochs=2"])
    assert files() == before


def test_a_renamed_run_is_resumed_and_a_copy_is_skipped(tiny: list[str], caplog) -> None:
    run(["fit", *tiny])
    Path("runs/demo/version_0").rename("runs/demo/good run")
    shutil.copytree("runs/demo/good run", "runs/demo/zzz")
    shutil.rmtree("runs/demo/zzz")
    run(["fit", *tiny, "--ckpt_path=last", "--trainer.max_epochs=2"])
    assert step_of(Path("runs/demo/good run")) == 6
    assert [path.name for path in Path("runs/demo").iterdir()] == ["good run"]
    Path("runs/demo/good run").rename("runs/demo/version_0")
    shutil.copytree("runs/demo/version_0", "runs/demo/version_0_old")
    run(["fit", *tiny, "--ckpt_path=last", "--trainer.max_epochs=3"])
    assert "version_0_old is a copy" in caplog.text
    assert [step_of(Path("runs/demo") / name) for name in ("version_0", "version_0_old")] == [9, 6]


def test_a_refused_resume_changes_nothing(tiny: list[str], capsys) -> None:
    run(["fit", *tiny])
    before = files()
    with pytest.raises(SystemExit):
        main(["fit", *tiny, "--ckpt_path=last", "--trainer.max_epochs=2", "--model.flow.hidden_channels=24"])
    assert "another model" in capsys.readouterr().err
    changed = {path for path, content in files().items() if before.get(path) != content}
    assert all(Path(path).name.startswith(("run.json", ".lock", "events.out")) for path in changed)


def test_the_folder_contains_the_arguments_of_the_resumed_run(tiny: list[str]) -> None:
    run(["fit", *tiny])
    run(["fit", *tiny, "--ckpt_path=last", "--trainer.max_epochs=2", "--optimizer.lr=0.125"])
    for file in ("config.yaml", "hparams.yaml"):
        assert "lr: 0.125" in (Path("runs/demo/version_0") / file).read_text()


@pytest.mark.parametrize("written", ["~/saved", "$HERE/saved"])
@pytest.mark.parametrize("name", ["none", "shared", "csv", "two"])
def test_home_and_variables_are_expanded_for_every_logger(
    name: str, written: str, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HOME", "HERE"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    logger = copy.deepcopy(LOGGERS[name][0])
    for each in logger if isinstance(logger, list) else [logger] if logger else []:
        each["init_args"]["save_dir"] = written
    options = ["fit", *tiny, config(logger), f"--trainer.default_root_dir={written}"]
    run(options)
    run([*options, "--ckpt_path=last", "--trainer.max_epochs=2"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "logger.yaml"]
    (last,) = Path("home").rglob("last.ckpt")
    assert torch.load(last, weights_only=True)["epoch"] == 1


class Opens(Shared):
    """Creates an experiment, such as W&B's folder or a connection, when it is asked for it."""

    @property
    def experiment(self) -> object:
        Path("experiment").touch()
        return object()


def test_a_run_that_is_refused_creates_no_experiment(tiny: list[str], trained: Path) -> None:
    logger = config({"class_path": f"{__name__}.Opens", "init_args": {"save_dir": "shared"}})
    with pytest.raises(FlowsError, match="another model"):
        run(["fit", *tiny, f"--weights_from={trained}", "--model.flow.hidden_channels=24", logger])
    assert not Path("experiment").exists()
    assert not list(Path("shared").iterdir())
