"""Results that are stored in the repository print the tables of the docs, and count as finished runs."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from benchmarks import keep_results
from lightning_flows.app.commands.experiments import EXPERIMENTS, OWN, POINTWISE, Experiment
from lightning_flows.app.commands.small import at_rates, resized
from lightning_flows.app.commands.sweep import Trainings
from lightning_flows.app.commands.table import table
from tests.markdown import ROOT, Page
from tests.reporting.runs import write_run

RESULTS = ROOT / "benchmarks/results"
PAGES = {"8x8": (1, 2, 3), "16x16": (2,)}
"""Tables on the page of each size."""
STORED = {
    "1": ("8x8", EXPERIMENTS[1]),
    "1 pointwise": ("8x8", POINTWISE),
    "2 and 3": ("8x8", EXPERIMENTS[2] | EXPERIMENTS[3] | OWN),
    "2 at 16x16": ("16x16", {name: EXPERIMENTS[2][name] for name in ("coupling_uniform", "csf_uniform")} | OWN),
}
RATES = {"1e-3": "8x8_lr_0.001", "2e-3": "8x8", "4e-3": "8x8_lr_0.004", "8e-3": "8x8_lr_0.008"}
ROWS = {
    "coupling": "coupling_uniform", "residual": "residual_uniform", "Convolutional Sylvester": "csf_uniform",
    "1x1": "conv1x1", "emerging": "emerging", "convolution exponential": "conv_exponential",
}  # fmt: skip
"""Rows of the page's table of learning rates, and the names of their runs."""
KEPT = ["config.yaml", "run.json", "tests.jsonl"]


def names_below(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def table_rows(text: str) -> set[str]:
    return {line for line in text.splitlines() if line.startswith("| ")}


@pytest.mark.parametrize("size", PAGES)
def test_the_page_has_the_tables_that_the_stored_results_print(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    for number in PAGES[size]:
        table(number, runs=str(RESULTS / size))
    printed = table_rows(capsys.readouterr().out)
    assert len(printed) > 2 * len(PAGES[size])
    assert table_rows(Page(ROOT / f"docs/tables-at-{size}.md").text) == printed


def test_the_page_has_the_likelihoods_at_each_learning_rate() -> None:
    section = Page(ROOT / "docs/compared-with-the-paper.md").sections["Other settings"]
    header, _, *rows = [
        line.strip("| ").split(" | ") for line in section.partition("| row ")[2].splitlines() if "|" in line
    ]
    assert header == list(RATES)
    expected = {}
    for row, name in ROWS.items():
        for rate, folder in RATES.items():
            tests = list((RESULTS / folder).glob(f"{name}_8x8_*_seed0/version_0/tests.jsonl"))
            metrics = [json.loads(each.read_text().splitlines()[-1])["metrics"] for each in tests]
            expected[row, rate] = f"{metrics[0]['test/nll_bpd']:.3f}" if metrics else "–"
    assert {(row, rate): value for row, *values in rows for rate, value in zip(header, values, strict=True)} == expected


@pytest.mark.parametrize(("size", "experiments"), STORED.values(), ids=STORED)
def test_stored_results_are_not_trained_again(size: str, experiments: Mapping[str, Experiment]) -> None:
    small = resized(experiments, size)
    rows = {key: row for name, each in small.items() for key, row in at_rates(name, each, size, [2e-3]).items()}
    trainings = Trainings(RESULTS / size, rows, images="cifar10-jpeg-10k.tar")
    assert trainings.missing([0]) == []
    assert len(trainings.missing([0, 7])) == len(rows)


def test_finished_runs_are_stored_without_checkpoints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, state in (("done", "finished"), ("half", "stopped")):
        folder = write_run(tmp_path / "runs", name)
        (folder / "run.json").write_text(f'{{"state": "{state}"}}')
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints/best.ckpt").write_bytes(b"weights")
    skipped = f"skipped: {tmp_path}/runs/half/version_0 is stopped, not finished: resume it"
    for expected in ("copied: done/version_0\n", "skipped: done/version_0\n"):
        keep_results.main(str(tmp_path / "runs"), str(tmp_path / "kept"))
        out = capsys.readouterr().out
        assert out.startswith(skipped)
        assert out.endswith(f"\n{expected}")
    assert names_below(tmp_path / "kept") == KEPT


def test_a_copy_that_was_interrupted_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_run(tmp_path / "runs", "done")
    (folder / "run.json").write_text('{"state": "finished"}')
    with monkeypatch.context() as patch:
        patch.setattr(keep_results, "FILES", ("config.yaml", b"no pattern"))
        with pytest.raises(TypeError):
            keep_results.main(str(tmp_path / "runs"), str(tmp_path / "kept"))
    keep_results.main(str(tmp_path / "runs"), str(tmp_path / "kept"))
    assert names_below(tmp_path / "kept") == KEPT
