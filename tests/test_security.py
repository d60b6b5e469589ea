"""No code runs from an untrusted checkpoint, run folder or dataset.

Follows the sentences of docs/security.md in order.
"""

import http.server
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer

from lightning_flows.app.cli import main
from lightning_flows.app.commands import COMMANDS
from lightning_flows.app.default_trainer import default_trainer
from lightning_flows.data import SamplePhotosDataModule
from lightning_flows.errors import CheckpointError, RefusedImportError
from lightning_flows.modules import ImageFlowModule, load_model
from lightning_flows.trust import vetted_imports
from tests.small_modules import image_module
from tests.versions import WEIGHTS_ONLY


class Touch:
    """An object whose pickle creates a file when loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def refused(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as info:
        main(args)
    assert info.value.code in (1, 2)
    return capsys.readouterr().err


READS_A_CHECKPOINT = {
    "fit": ["--config=demo.yaml"],
    "validate": [],
    "test": [],
    "predict": ["--out={folder}/scores.csv"],
    "sample": ["--out={folder}/grid.png"],
    "figure": ["samples", "--out={folder}/figure.png"],
    "audit": [],
}


@pytest.mark.parametrize("subcommand", READS_A_CHECKPOINT)
def test_a_checkpoint_with_code_is_refused_by_every_subcommand(
    subcommand: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil, made = tmp_path / "evil.ckpt", tmp_path / "made"
    torch.save({"state_dict": {}, "lightning_flows": {}, "code": Touch(made)}, evil)
    torch.load(evil, weights_only=False)
    assert made.exists()  # an unsafe load would run it
    made.unlink()
    options = [option.format(folder=tmp_path) for option in READS_A_CHECKPOINT[subcommand]]
    given = str(evil) if subcommand == "audit" else f"--ckpt_path={evil}"
    assert "pickled code, which was not run" in refused([subcommand, *options, given], capsys)
    assert not made.exists()


def test_the_list_above_is_complete() -> None:
    assert set(COMMANDS) - {"completion", "demo", "table", "report"} <= set(READS_A_CHECKPOINT)


@pytest.mark.parametrize(
    "config",
    [
        "model: {class_path: pathlib.Path, init_args: {args: [x]}}",
        "model: {class_path: subprocess.Popen, init_args: {args: [touch, MADE]}}",
        "data: {class_path: subprocess.Popen, init_args: {args: [touch, MADE]}}",
        "trainer: {logger: {class_path: subprocess.Popen, init_args: {args: [touch, MADE]}}}",
        "trainer: {strategy: {class_path: subprocess.Popen, init_args: {args: [touch, MADE]}}}",
        "trainer: {profiler: {class_path: subprocess.Popen, init_args: {args: [touch, MADE]}}}",
        "trainer: {callbacks: [{class_path: subprocess.Popen, init_args: {args: [touch, MADE]}}]}",
        "trainer: {plugins: [{class_path: subprocess.Popen, init_args: {args: [touch, MADE]}}]}",
        "model: !!python/object/apply:subprocess.Popen [[touch, MADE]]",
        "optimizer: {class_path: subprocess.Popen, init_args: {args: [touch, MADE]}}",
        "lr_scheduler: {class_path: subprocess.Popen, init_args: {args: [touch, MADE]}}",
        "model: {init_args: {flow: {class_path: subprocess.Popen, init_args: {args: [touch, MADE]}}}}",
        "model: {init_args: {flow: {init_args: {num_levels: !!python/object/apply:subprocess.Popen [[touch, MADE]]}}}}",
    ],
)
def test_a_config_builds_only_expected_classes(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, path = tmp_path / "made", tmp_path / "evil.yaml"
    path.write_text(config.replace("MADE", str(made)))
    assert refused(["fit", "--config=demo.yaml", f"--config={path}"], capsys)
    assert not made.exists()


POPEN = {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", "MADE"]}}
MODEL = ("model", "init_args")
FLOW = (*MODEL, "flow")
RECORDS: list[tuple[tuple[str, ...], Any]] = [
    (("model",), POPEN),
    (("data",), POPEN),
    (FLOW, POPEN),
    (FLOW, "os.system"),
    (FLOW, {"class_path": "os.system", "init_args": {"command": "touch MADE"}}),
    (FLOW, {"class_path": "lightning_flows.trust.os.system", "init_args": {}}),
    (FLOW, {"class_path": "lightning_flows.app.trainer_cli.TrainerCLI", "init_args": {"args": ["fit"]}}),
    (FLOW, {"class_path": "lightning_flows.data.SamplePhotosDataModule", "init_args": {}}),
    (FLOW, {"class_path": ["os.system"], "init_args": {}}),
    (FLOW, {"class_path": "lightning_flows.flows.ConvSylvesterFlow", "init_args": {"not an identifier": 1}}),
    ((*FLOW, "init_args", "hidden_channels"), POPEN),
    ((*FLOW, "init_args", "extra"), [POPEN]),
    ((*MODEL, "dequantization"), POPEN),
    ((*MODEL, "optimizer"), POPEN),
    ((*MODEL, "optimizer"), "os.system"),
    ((*MODEL, "lr_scheduler"), POPEN),
    (("data", "init_args", "root"), POPEN),
]


@pytest.mark.parametrize("number", range(len(RECORDS)))
def test_a_record_builds_only_expected_classes_at_any_depth(
    number: int, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All functions that build from a record refuse it in one line."""
    monkeypatch.chdir(tmp_path)
    (*above, last), value = RECORDS[number]
    checkpoint = torch.load(trained, weights_only=True)
    holder = checkpoint["lightning_flows"]
    for key in above:
        holder = holder[key]
    holder[last] = value
    torch.save(checkpoint, "evil.ckpt")
    if above[:1] == ["model"] or last == "model":
        with pytest.raises(CheckpointError) as info:
            load_model("evil.ckpt")
        assert "\n" not in str(info.value)
    for args in (["test"], ["fit", "--config=demo.yaml"], ["fit", "--config=demo.yaml", "--weights_from=evil.ckpt"]):
        given = args if args[-1].startswith("--weights") else [*args, "--ckpt_path=evil.ckpt"]
        error, *tip = refused(given, capsys).strip().splitlines()
        assert error.startswith("error: ")
        assert all(line.startswith("tip: ") for line in tip)
    assert not list(tmp_path.glob("MADE*"))


def test_a_deeply_nested_record_is_refused(trained: Path, tmp_path: Path) -> None:
    checkpoint = torch.load(trained, weights_only=True)
    arguments = checkpoint["lightning_flows"]["model"]["init_args"]
    for _ in range(100):
        arguments["flow"] = {"class_path": "lightning_flows.flows.GlowFlow", "init_args": {"flow": arguments["flow"]}}
    torch.save(checkpoint, tmp_path / "deep.ckpt")
    with pytest.raises(CheckpointError, match="nested more than 40 levels deep"):
        load_model(tmp_path / "deep.ckpt")


def test_run_folders_are_read_without_running_code(tmp_path: Path) -> None:
    made, run = tmp_path / "made", tmp_path / "runs/evil/version_0"
    (run / "checkpoints").mkdir(parents=True)
    for name in ("checkpoints/best.ckpt", "tests.jsonl", "events.out.tfevents.0", "runtime.json", "config.yaml"):
        torch.save(Touch(made), run / name)
    main(["report", f"--runs={tmp_path / 'runs'}", f"--out={tmp_path / 'report.html'}"])
    assert "evil" in (tmp_path / "report.html").read_text()
    assert not made.exists()


EVIL = "open({made!r}, 'w').close()\nclass X: pass\n"
KEYS = [
    "model: {class_path: MODULE.X}",
    "model: MODULE.X",
    "data: {class_path: MODULE.X}",
    "trainer: {callbacks: [{class_path: MODULE.X}]}",
    "trainer: {callbacks: MODULE.X}",
    "trainer: {callbacks+: {class_path: MODULE.X}}",
    "trainer: {logger: {class_path: MODULE.X}}",
    "trainer: {plugins: [MODULE.X]}",
    "trainer: {strategy: {class_path: MODULE.X}}",
    "trainer: {profiler: {class_path: MODULE.X}}",
    "trainer: {logger: {class_path: CSVLogger, init_args: {save_dir: {class_path: MODULE.X}}}}",
    "optimizer: {class_path: MODULE.X}",
    "model: {init_args: {flow: {class_path: MODULE.X}}}",
    "model: {init_args: {flow: {init_args: {hidden_channels: {class_path: MODULE.X}}}}}",
]


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with an untrusted run, which contains a module that would create the file ``made``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    run = tmp_path / "runs/evil/version_0"
    run.mkdir(parents=True)
    (run / "payload.py").write_text(EVIL.format(made=str(tmp_path / "made")))
    (run / "config.yaml").write_text("{}")
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] in ("runs", "payload", "mypkg", "mymod")]:
        del sys.modules[name]


@pytest.mark.parametrize("how", ["file", "base", "inline"])
@pytest.mark.parametrize("config", KEYS)
def test_configs_import_nothing_from_run_folders(
    config: str, how: str, evil: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = evil / "runs/evil/version_0/config.yaml"
    path.write_text(config.replace("MODULE", "runs.evil.version_0.payload"))
    value = str(path)
    if how == "base":
        (evil / "mine.yaml").write_text(f"base: {path}\n")
        value = "mine.yaml"
    elif how == "inline":
        value = "{" + path.read_text() + "}"
    message = refused(["fit", "--config=demo.yaml", f"--config={value}"], capsys)
    assert not (evil / "made").exists()
    assert "Traceback" not in message
    if "hidden_channels" not in config and "save_dir" not in config:
        (line,) = message.splitlines()
        assert "runs.evil.version_0.payload is not imported" in line
        assert "command line" in line


def import_refused(module: str, args: list[str] | None = None) -> None:
    with vetted_imports(args or []), pytest.raises(RefusedImportError, match="is not imported"):
        __import__(module)


def test_modules_in_any_run_folder_are_refused(evil: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, made = evil / "runs/evil/version_0", evil / "made"
    import_refused("runs.evil.version_0.payload")
    (run / "config.yaml").unlink()
    import_refused("runs.evil.version_0.payload")  # reached through folders that are not packages
    for folder in (run, run.parent, run.parents[1]):
        (folder / "__init__.py").write_text("")
    (run / "checkpoints").mkdir()
    import_refused("runs.evil.version_0.payload")  # all folders are planted packages
    (run / "checkpoints/payload.py").write_text((run / "payload.py").read_text())
    import_refused("runs.evil.version_0.checkpoints.payload")
    monkeypatch.chdir(run)
    monkeypatch.syspath_prepend(run)
    import_refused("payload")  # the working folder is the run folder
    (run / "src").mkdir()
    (run / "src/deeper.py").write_text((run / "payload.py").read_text())
    (run / "run.json").write_text("{}")
    monkeypatch.chdir(run / "src")
    monkeypatch.syspath_prepend(run / "src")
    import_refused("deeper")  # or a folder in it
    assert not made.exists()


def test_compiled_and_zipped_modules_are_refused(evil: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import py_compile
    import zipfile

    run = evil / "runs/evil/version_0"
    py_compile.compile(str(run / "payload.py"), cfile=str(run / "hidden.pyc"))
    monkeypatch.syspath_prepend(run)
    import_refused("hidden")
    with zipfile.ZipFile(run / "archive.zip", "w") as archive:
        archive.writestr("zipped.py", (run / "payload.py").read_text())
    monkeypatch.syspath_prepend(run / "archive.zip")
    import_refused("zipped")
    (run / "native.abi3.so").write_bytes(b"")
    import_refused("native")
    os.symlink(run / "payload.py", evil / "linked.py")
    import_refused("linked")
    assert not (evil / "made").exists()


def test_user_modules_may_import_others(evil: Path) -> None:
    (evil / "mypkg").mkdir()
    (evil / "mypkg/__init__.py").write_text("from mypkg.inner import X\n")
    (evil / "mypkg/inner.py").write_text("import mymod\nclass X: pass\n")
    (evil / "mymod.py").write_text("")
    with vetted_imports([]):
        assert __import__("mypkg").X


@pytest.mark.parametrize(
    "args",
    [
        ["--model=runs.evil.version_0.payload.X"],
        ["--data", "runs.evil.version_0.payload.X"],
        ["--trainer.callbacks+=runs.evil.version_0.payload.X"],
        ["--trainer.logger=runs.evil.version_0.payload.X"],
        ["--model.flow=runs.evil.version_0.payload.X"],
        ["--optimizer=runs.evil.version_0.payload.X"],
        ['--model={"class_path": "runs.evil.version_0.payload.X"}'],
    ],
)
def test_class_paths_on_the_command_line_are_permitted(args: list[str], evil: Path) -> None:
    with vetted_imports(["fit", *args]):
        __import__("runs.evil.version_0.payload")
    assert (evil / "made").exists()


@pytest.mark.parametrize("args", [["--config=runs.evil.version_0.payload.X"], ["--out=runs.evil.version_0.payload.X"]])
def test_class_paths_in_other_options_are_not_permitted(args: list[str], evil: Path) -> None:
    import_refused("runs.evil.version_0.payload", ["fit", *args])


def test_modules_in_the_working_folder_do_not_shadow_installed_ones(tmp_path: Path) -> None:
    for name in ("yaml", "torch", "sitecustomize", "jsonargparse"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'made')!r}, 'w').close()\n")
    package = Path(sys.modules["lightning_flows"].__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(package)}
    command = [sys.executable, "-m", "lightning_flows", "--help"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert not (tmp_path / "made").exists()


@pytest.fixture
def pickled(tmp_path: Path) -> Path:
    evil = tmp_path / "evil.ckpt"
    torch.save({"state_dict": {}, "lightning_flows": {}, "code": Touch(tmp_path / "made")}, evil)
    return evil


def calls(path: str) -> list:
    model, data = image_module((3, 32, 32), num_levels=1), SamplePhotosDataModule()
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    trainer = default_trainer(**quiet, max_epochs=1)
    return [
        lambda: trainer.fit(model, datamodule=data, ckpt_path=path),
        lambda: trainer.fit(model, datamodule=data, ckpt_path=path, **dict.fromkeys(WEIGHTS_ONLY, False)),
        lambda: trainer.validate(model, datamodule=data, ckpt_path=path),
        lambda: trainer.test(model, datamodule=data, ckpt_path=path),
        lambda: trainer.predict(model, datamodule=data, ckpt_path=path),
        lambda: load_model(path),
        lambda: ImageFlowModule.load_from_checkpoint(path),
        lambda: SamplePhotosDataModule.load_from_checkpoint(path),
    ]


@pytest.mark.parametrize("number", range(8))
def test_the_library_reads_checkpoints_without_running_code(number: int, pickled: Path) -> None:
    with pytest.raises(CheckpointError, match="pickled code, which was not run"):
        calls(str(pickled))[number]()
    assert not pickled.with_name("made").exists()


@pytest.mark.parametrize("number", range(8))
def test_a_url_is_not_read(number: int, pickled: Path) -> None:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args, **kwargs) -> None:
            super().__init__(*args, directory=str(pickled.parent), **kwargs)

        def log_message(self, *args) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(CheckpointError, match="is a URL: download it"):
            calls(f"http://127.0.0.1:{server.server_port}/evil.ckpt")[number]()
        server.shutdown()
    assert not pickled.with_name("made").exists()


def test_a_plain_trainer_runs_no_code(pickled: Path) -> None:
    model = image_module((3, 32, 32), num_levels=1)
    trainer = Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu")
    with pytest.raises(Exception, match="eights"):
        trainer.test(model, datamodule=SamplePhotosDataModule(), ckpt_path=str(pickled))
    assert not pickled.with_name("made").exists()
