"""Results that are stored in the repository print the tables of the docs, and count as finished runs."""

import json
from pathlib import Path

import pytest

from benchmarks import keep_results
from lightning_flows.app.commands.experiments import EXPERIMENTS, OWN, POINTWISE
from lightning_flows.app.commands.small import at_rates, resized
from lightning_flows.app.commands.sweep import Trainings
from lightning_flows.app.commands.table import table
from tests.markdown import ROOT, Page
from tests.reporting.runs import write_run

RESULTS = ROOT / "benchmarks/results"
PAGES = {"8x8": (1, 2, 3), "16x16": (2,)}
"""Tables on the page of each size."""
FOLDERS = [f"{size}/{path.name}" for size in PAGES for path in sorted((RESULTS / size).iterdir())]
"""Folders of the runs at each learning rate."""
ROWS = {
    "coupling": "coupling_uniform", "residual": "residual_uniform", "Convolutional Sylvester": "csf_uniform",
    "autoregressive over pixels, ours": "pixels_uniform", "coupling, variational": "coupling_variational",
    "1x1": "conv1x1", "emerging": "emerging", "Woodbury": "woodbury", "convolution exponential": "conv_exponential",
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


def cells_of(section: str, start: str = "| row") -> tuple[list[str], list[list[str]]]:
    """Header and rows of the first table with this start in a section of the page that compares with the paper."""
    text = Page(ROOT / "docs/compared-with-the-paper.md").sections[section]
    lines = text[text.index(start) :].partition("\n\n")[0].splitlines()
    header, _, *rows = [line.strip("| ").split(" | ") for line in lines]
    return header[1:], rows


def nll(row: str, rate: float, seed: int = 0, folder: str = "8x8") -> str:
    """NLL of a stored run."""
    (path,) = (RESULTS / folder).rglob(f"{ROWS[row]}_8x8_lr{rate:g}_*_seed{seed}/version_0/tests.jsonl")
    return f"{json.loads(path.read_text().splitlines()[-1])['metrics']['test/nll_bpd']:.3f}"


def test_the_page_has_the_likelihoods_of_repeated_runs() -> None:
    header, rows = cells_of("Variation between runs")
    assert header == ["on a CPU", "on an H100"]
    assert len(rows) == len(list((RESULTS / "8x8_h100").iterdir()))
    for name, *values in rows:
        row, rate = name.split(", ")
        assert values == [nll(row, float(rate), folder=folder) for folder in ("8x8", "8x8_h100")]
    _, rows = cells_of("Variation between runs", "| row, learning rate | seed 0")
    assert len(rows) == 11
    for name, *values in rows:
        row, _, rate = name.rpartition(", ")
        assert values == [nll(row, float(rate), seed) for seed in range(3)]


@pytest.mark.parametrize("folder", FOLDERS)
def test_stored_results_are_not_trained_again(folder: str) -> None:
    size, _, rate = folder.partition("/lr_")
    small = resized(EXPERIMENTS[1] | POINTWISE | EXPERIMENTS[2] | EXPERIMENTS[3] | OWN, size)
    rows = {key: row for name, each in small.items() for key, row in at_rates(name, each, size, [float(rate)]).items()}
    trainings = Trainings(RESULTS / folder, rows, images="cifar10-jpeg-10k.tar")
    every = {(name, seed): trainings.folder(name, seed).name for name in rows for seed in range(3)}
    stored = {path.name for path in (RESULTS / folder).iterdir()}
    assert stored
    assert {every[each] for each in trainings.missing(range(3))} == {*every.values()} - stored
    assert stored <= {*every.values()}


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
