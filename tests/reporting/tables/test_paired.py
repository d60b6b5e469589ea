"""Paired differences: their formula, their precision, and pairs that are refused."""

import json

import numpy as np
import pytest

from lightning_flows.errors import DataError
from lightning_flows.reporting.tables.compare import DifferError
from lightning_flows.reporting.tables.paired import Difference, paired
from lightning_flows.reporting.tables.runs import read_run
from tests.reporting.runs import image_model, write_items_of


@pytest.fixture
def write(write_run):
    """Write a run with results of items; return it as it is read."""

    def write(name, losses, *, seed=0, digest="a", noise=None, model=None, **values):
        folder = write_run(name, seed=seed, model=model)
        results = {"loss": np.asarray(losses, float), **values}
        write_items_of(folder, results, digest, seed if noise is None else noise)
        return read_run(folder)

    return write


def test_means_over_seeds_then_over_items(write):
    first = [write("a0", [1, 2, 3]), write("a1", [2, 2, 2], seed=1), write("a2", [9, 9, 9], seed=2)]
    row = [write("b1", [1, 2, 3], seed=1), write("b0", [2, 2, 4]), write("b5", [0, 0, 0], seed=5)]
    # d = mean of (1, 0, 1) and (-1, 0, 1)
    found = paired(row, first, "loss")
    assert found == pytest.approx(Difference(1 / 3, np.std([0, 0, 1], ddof=1) / 3**0.5, np.std([2 / 3, 0], ddof=1), 2))
    assert paired(first, row, "loss").mean == -found.mean


def test_one_seed_has_no_deviation_and_one_item_no_error(write):
    assert paired([write("a", [2.0])], [write("b", [1.5])], "loss") == (0.5, np.inf, None, 1)


def test_the_standard_error_is_that_of_differences_and_covers_the_truth(write):
    """Items differ by 1, rows by 0.05 plus noise of 0.1: the paired error is 0.1/√n·√2, the unpaired one 1/√n·√2."""
    generator, num, truth, covered = np.random.default_rng(0), 200, 0.05, 0
    for i in range(200):
        hardness = generator.normal(4, 1, num)
        rows = [hardness + generator.normal(0, 0.1, num) + shift for shift in (truth, 0.0)]
        row, first = ([write(f"{name}{i}", values)] for name, values in zip("ab", rows, strict=True))
        mean, error, *_ = paired(row, first, "loss")
        covered += abs(mean - truth) < 1.96 * error
        assert error == pytest.approx(0.1 * 2**0.5 / num**0.5, rel=0.2)
        assert error < np.hypot(*(values.std(ddof=1) / num**0.5 for values in rows)) / 5
    assert 180 <= covered <= 198  # 95 %, with 4 standard errors


def test_rows_without_common_results_have_no_difference(write, write_run):
    row, plain = write("a", [1, 2]), read_run(write_run("plain"))
    assert paired([row], [plain], "loss") is None
    assert paired([row], [write("b", [1, 2], seed=1)], "loss") is None
    assert paired([row], [write("c", [1, 2], nll_bpd=np.ones(2))], "nll_bpd") is None


def test_other_items_are_refused(write):
    with pytest.raises(DifferError, match=r"b.version_0 and .*a.version_0 were tested on different items"):
        paired([write("a", [1, 2])], [write("b", [1, 2], digest="b")], "loss")
    first = [write("c0", [1, 2]), write("c1", [1, 2], seed=1, digest="b")]
    with pytest.raises(DifferError, match="on different items"):  # each pair agrees, but the seeds do not
        paired([write("d0", [1, 2]), write("d1", [1, 2], seed=1, digest="b")], first, "loss")


def test_other_noise_is_refused(write):
    with pytest.raises(
        DifferError, match=r"b.version_0 was tested with noise of seed 7, but .*a.version_0 with seed 0"
    ):
        paired([write("a", [1, 2])], [write("b", [1, 2], noise=7)], "loss")


def test_likelihoods_of_other_numbers_of_draws_are_refused(write):
    def drawn(num):
        model = image_model("GlowFlow")
        model["init_args"]["num_importance_samples"] = num
        return write(str(num), [1, 2], model=model, nll_bpd=np.ones(2))

    row, first = [drawn(2)], [drawn(3)]
    assert paired(row, first, "loss").mean == 0
    with pytest.raises(DifferError, match=r"with num_importance_samples: 3, but .* with 2"):
        paired(row, first, "nll_bpd")


def test_a_broken_file_is_an_error(write):
    row, first = write("a", [1, 2]), write("b", [1, 2])
    (row.folder / json.loads((row.folder / "tests.jsonl").read_text())["items"]["file"]).write_bytes(b"x")
    with pytest.raises(DataError, match=r"items_0\.npz does not contain the results of 2 items"):
        paired([row], [first], "loss")
