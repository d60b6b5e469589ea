import os
import re
from pathlib import Path

import pytest

from lightning_flows.app.cli import main
from lightning_flows.app.commands.experiments import EXPERIMENTS
from lightning_flows.app.commands.sweep import Trainings
from tests.reporting.runs import RUNTIME, image_model, vae_model, write_curve

TINY = """# tiny
model:
  init_args:
    flow: {init_args: {steps_per_level: 1, net: {width: 4, depth: 1, growth: 4}}}
    dequantization: {init_args: {num_steps: 1, net: {width: 4, depth: 1, growth: 4}, context: {depth: 1}}}
    num_importance_samples: 2
data:
  init_args: {batch_size: 4, stride: 32}
trainer:
  max_epochs: 1
  limit_train_batches: 5
  limit_val_batches: 1
  limit_test_batches: 1
  accelerator: cpu
  enable_progress_bar: false
"""


@pytest.mark.slow
def test_one_command_trains_missing_runs_and_prints_the_table(tmp_path, capfd, monkeypatch) -> None:
    overlay = tmp_path / "tiny.yaml"
    overlay.write_text(TINY)
    monkeypatch.setitem(EXPERIMENTS, 1, {name: EXPERIMENTS[1][name] for name in ("conv1x1", "emerging")})
    options = ["table", "1", f"--runs={tmp_path}/runs", "--seeds=[5]", f'--overlays=["size/cpu_glow.yaml","{overlay}"]']
    main([*options, "--fit=true"])
    first, err = capfd.readouterr()
    assert "run 2 of 2: emerging, seed 5" in err
    assert re.search(r"^1 of 2 runs done, 0:0\d:\d\d left$", err, re.MULTILINE)
    assert "2 of 2 runs done" in err
    assert first.startswith("|")  # messages go to stderr
    assert "| 1x1 | 1 |" in first
    assert "| emerging | 1 |" in first
    tests = list(tmp_path.glob("runs/*/version_0/tests.jsonl"))
    assert [path.parts[-3] for path in sorted(tests)] == ["conv1x1_cpu_glow_tiny_seed5", "emerging_cpu_glow_tiny_seed5"]
    times = [path.stat().st_mtime_ns for path in tests]
    main([*options, "--fit=true"])  # nothing is missing
    assert capfd.readouterr() == (first, "")
    assert [path.stat().st_mtime_ns for path in tests] == times


def test_table_of_vaes(write_run, tmp_path: Path, capsys) -> None:
    metrics = {"test/loss": 4.5, "test/bpd": 4.5, "test/kl": 0.5}
    write_run("planar", model=vae_model("PlanarPosterior"), metrics=metrics)
    main(["table", "vae", f"--runs={tmp_path}"])
    out = capsys.readouterr().out
    assert "| posterior | runs | −ELBO (bits per dimension) |" in out
    assert "| planar | 1 | 4.500 | – | 0.500 |" in out


def test_progress_is_shown_while_curves_are_read(write_run, tmp_path: Path, capsys, monkeypatch) -> None:
    for seed in range(2):
        write_curve(write_run(f"a_seed{seed}", seed=seed), {1: 4.0, 2: 3.0})
    monkeypatch.setattr("lightning_flows.progress.SECONDS", 0.0)
    main(["table", "1", f"--runs={tmp_path}"])
    assert re.search(r"reading: 50 %.*\nreading: 100 %\n", capsys.readouterr().err)


def test_unknown_table(capsys) -> None:
    for name in ("9", "vea"):
        with pytest.raises(SystemExit) as error:
            main(["table", name])
        assert error.value.code == 1
        assert f"{name} is not a table: choose 1, 2, 3, 4, vae" in capsys.readouterr().err


def test_the_figure_of_the_curves(write_run, tmp_path: Path, capsys) -> None:
    for kind in ("conv1x1", "emerging"):
        write_curve(write_run(kind, mixing=kind, runtime=RUNTIME), {9: 5.0, 19: 4.0, 29: 3.5})
    out = tmp_path / "curves.png"
    command = ["table", "1", f"--runs={tmp_path}", f"--figure={out}"]
    main(command)
    assert out.read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().err == f"figure: {out}\n"
    for options, message in {
        (): "exists",
        ("--figure=curves.txt",): "curves.txt is not an image file: --figure must end in .png",
        ("--overwrite", f"--figure={out}", "--runs=nowhere"): "nowhere is not a folder: use the save_dir of your runs",
    }.items():
        with pytest.raises(SystemExit):
            main([*command, *options])
        assert message in capsys.readouterr().err
    assert out.read_bytes().startswith(b"\x89PNG")
    main([*command, "--overwrite"])


def test_figures_that_cannot_be_drawn(write_run, tmp_path: Path, capsys) -> None:
    write_run("bare")
    for number, message in {"4": "--figure is for tables 1, 2, 3: omit it", "1": "has logged val/bpd"}.items():
        with pytest.raises(SystemExit):
            main(["table", number, f"--runs={tmp_path}", f"--figure={tmp_path / 'a.png'}"])
        assert message in capsys.readouterr().err
    assert not (tmp_path / "a.png").exists()


def test_the_note_names_diverged_runs(write_run, tmp_path: Path, capsys) -> None:
    write_run("good")
    folder = tmp_path / "far_lr4/version_0"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text('{"state": "diverged"}')
    main(["table", "1", f"--runs={tmp_path}"])
    assert "\n\nDiverged and left out: far_lr4. Measured here: " in capsys.readouterr().out
    other = write_run("other", model=image_model("CouplingFlow"))  # of table 2
    (other / "run.json").write_text('{"state": "diverged"}')
    main(["table", "1", f"--runs={tmp_path}"])
    assert "\n\nDiverged and left out: far_lr4. Measured here: " in capsys.readouterr().out


def test_empty_folder(tmp_path: Path, capsys) -> None:
    with pytest.raises(SystemExit):
        main(["table", "1", f"--runs={tmp_path}"])
    assert "there are no tested runs below" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("only", "rows"),
    [
        ("coupling", ["coupling_uniform", "coupling_variational"]),
        ("[coupling,csf_uni]", ["csf_uniform", "coupling_uniform", "coupling_variational"]),
    ],
)
def test_rows_are_chosen_by_parts_of_their_names(only: str, rows: list[str], tmp_path: Path, monkeypatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(Trainings, "run", lambda self, seeds: seen.extend(self.experiments))
    with pytest.raises(SystemExit):  # there are no runs to print
        main(["table", "2", f"--runs={tmp_path}", "--fit", f"--only={only}"])
    assert sorted(seen) == sorted(rows)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--size=8x8"], "without --fit there is no use for --size, because"),
        (
            ["--seeds=[1]", "--only=csf", "--images=a.tar"],
            "without --fit there is no use for --seeds, --images, --only, because",
        ),
        (["--overlays=[]"], "without --fit there is no use for --overlays, because"),
        (["--jobs=4"], "without --fit there is no use for --jobs, because"),
        (["--overwrite"], "--overwrite replaces the file of --figure: name it, or omit --overwrite"),
        (["--lr=[]", "--fit"], "--lr needs --size"),
        (["--lr=[]", "--size=8x8", "--fit"], "--lr is []: pass different, positive learning rates"),
    ],
)
def test_options_without_effect_are_refused(options: list[str], text: str, write_run, tmp_path: Path, capsys) -> None:
    write_run("a")
    with pytest.raises(SystemExit):
        main(["table", "2", f"--runs={tmp_path}", *options])
    assert f"error: {text}" in capsys.readouterr().err


def test_sizes_are_those_of_the_image_tables(tmp_path: Path, capsys) -> None:
    with pytest.raises(SystemExit):
        main(["table", "4", f"--runs={tmp_path}", "--fit", "--size=8x8"])
    assert "error: --size is for tables 1, 2, 3: omit it" in capsys.readouterr().err


def test_runs_that_are_left_out_and_damaged_curves_are_reported(write_run, tmp_path: Path, capsys) -> None:
    for name, state in (("a", "stopped"), ("b", "finished")):
        folder = write_run(name)
        (folder / "run.json").write_text(f'{{"state": "{state}"}}')
        (folder / "curves.jsonl").write_text('{"step": 19, "val/bpd": 4.0}\n{"ste\n')
    main(["table", "1", f"--runs={tmp_path}"])
    out, err = capsys.readouterr()
    assert "| 1x1 | 1 | 4.000 |" in out
    assert f"skipped: {tmp_path}/a/version_0 is stopped, not finished: resume it" in err
    assert err.count("damaged lines") == 1
    assert f"in {tmp_path}/b/version_0, curves.jsonl has damaged lines (1, the first is line 2)" in err


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--only=[csf,cvs]"], "--only 'cvs' matches no row: choose from csf_uniform"),
        (["--only=[]"], "--only is empty: name at least one row"),
        (["--jobs=0"], "--jobs is 0: pass at least 1"),
        (["--seeds=[]"], "--seeds is empty: pass at least one"),
        (["--baseline=cvs"], "--baseline 'cvs' is not a model of the table: choose from coupling, residual"),
    ],
)
def test_wrong_choices_are_one_fact_each(options: list[str], text: str, tmp_path: Path, capsys) -> None:
    with pytest.raises(SystemExit):
        main(["table", "2", f"--runs={tmp_path}", "--fit", *options])
    assert f"error: {text}" in capsys.readouterr().err


def test_missing_images_are_refused_before_the_first_run(tmp_path: Path, capfd) -> None:
    with pytest.raises(SystemExit):
        main(["table", "1", f"--runs={tmp_path}", "--fit=true", "--images=/nowhere.tar"])
    assert "error: /nowhere.tar does not exist" in capfd.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_broken_run_is_reported_on_one_line_with_control_characters_escaped(
    write_run, tmp_path: Path, capsys
) -> None:
    write_run("good", torch="2.0\x1b]0;evil\x07")
    os.mkfifo(write_run("bad\x1b[31m", seed=1) / "runtime.json")
    (write_run("curve\x1b[31m\nline", seed=2, time=2.0) / "curves.jsonl").write_text("x\n")
    main(["table", "1", f"--runs={tmp_path}"])
    out, err = capsys.readouterr()
    assert "| 1x1 | 2 |" in out
    assert r"torch 2.0\x1b]0;evil\x07" in out
    assert err.startswith(f"skipped: the run in {tmp_path}/bad\\x1b[31m/version_0 is broken: ")
    assert f"in {tmp_path}/curve\\x1b[31m line/version_0, curves.jsonl has damaged lines" in err
    assert err.count("\n") == 2
    assert "\x1b" not in out + err
