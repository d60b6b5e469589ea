"""Which rows are compared with which, and what a table says where it cannot compare."""

import numpy as np
import pytest

from lightning_flows.errors import DataError
from lightning_flows.reporting.report import report_page
from lightning_flows.reporting.tables import find_runs, supplements
from lightning_flows.reporting.tables.runs import read_runs
from tests.reporting.runs import RUNTIME, image_model, vae_model, write_curve, write_items_of

LOSS = np.array([3.0, 4.0, 5.0])
STEPS = np.array([0.1, 0.2, 0.3])


@pytest.fixture
def write(write_run):
    """Write a run with results of items."""

    def write(name, model, losses, *, seed=0, digest="a", **options):
        folder = write_run(name, model=model, seed=seed, **options)
        write_items_of(folder, {"loss": losses, "nll_bpd": losses - 0.5}, digest, seed)
        return folder

    return write


def model(flow, dequantization="Uniform", **options):
    return image_model(flow, dequantization, steps_per_level=8, **options)


def test_table_2_compares_with_the_first_row_of_each_dequantization_and_both(write, tmp_path):
    for seed in (0, 1):
        write(f"cu{seed}", model("CouplingFlow"), LOSS, seed=seed)
        write(f"su{seed}", model("ConvSylvesterFlow"), LOSS - STEPS - 0.1 * seed, seed=seed)
    write("cv0", model("CouplingFlow", "Variational"), LOSS - 1 + STEPS)
    tables = supplements(2, find_runs(tmp_path))
    assert list(tables) == ["Differences from coupling (uniform)", "Variational minus uniform dequantization"]
    first, second = tables.values()
    assert first.header[:6] == ["model", "Δ −ELBO (bpd)", "deviation", "Δ NLL (bpd)", "deviation", "common seeds"]
    assert [row[:6] for row in first.rows] == [
        ["coupling (uniform)", "–", "–", "–", "–", "–"],
        ["Convolutional Sylvester (uniform)", "−0.2500 ± 0.0577", "0.0707", "−0.2500 ± 0.0577", "0.0707", "2"],
    ]
    assert second.rows == [["coupling", "−0.8000 ± 0.0577", "–", "−0.8000 ± 0.0577", "–", "1"]]
    assert "±" in first.note
    assert "rerun" not in first.note


def test_rows_are_compared_with_the_baseline(write, tmp_path):
    for noise in ("Uniform", "Variational"):
        write(f"c{noise}", model("CouplingFlow", noise), LOSS)
        write(f"s{noise}", model("ConvSylvesterFlow", noise), LOSS - STEPS)
    found = find_runs(tmp_path)
    *tables, _ = supplements(2, found, "Convolutional Sylvester").items()
    assert [(title, [row[:2] for row in table.rows]) for title, table in tables] == [
        (
            f"Differences from Convolutional Sylvester ({noise})",
            [[f"Convolutional Sylvester ({noise})", "–"], [f"coupling ({noise})", "+0.2000 ± 0.0577"]],
        )
        for noise in ("uniform", "variational")
    ]
    with pytest.raises(DataError, match=r"no tested runs of residual, .* choose from coupling, Convolutional Sylv"):
        supplements(2, found, "residual")


def test_table_1_compares_nets_of_one_kind(write, tmp_path):
    for size in (3, 1):
        for mixing in ("emerging", "conv1x1"):
            losses = LOSS + size * (mixing == "emerging")
            write(f"{mixing}{size}", model("GlowFlow", mixing=mixing, net={"kernel_size": size}), losses)
    tables = supplements(1, find_runs(tmp_path))
    assert {title: table.rows[1][:2] for title, table in tables.items()} == {
        "Differences from 1x1": ["emerging", "+3.0000 ± 0.0000"],
        "Differences from 1x1, pointwise nets": ["emerging, pointwise nets", "+1.0000 ± 0.0000"],
    }


def test_posteriors_are_compared_in_the_unit_of_their_bound(write_run, tmp_path):
    for name, posterior, shift in (("a", "PlanarPosterior", 0.5), ("b", "DiagonalPosterior", 0.0)):
        folder = write_run(name, model=vae_model(posterior), metrics={"test/nll": 4.0, "test/kl": 1.0})
        write_items_of(folder, {"loss": LOSS + shift, "nll_nats": LOSS + shift})
    ((title, table),) = supplements("vae", find_runs(tmp_path)).items()
    assert title == "Differences from diagonal"
    assert table.header[1] == "Δ −ELBO (nats)"
    assert table.rows[1][:4] == ["planar", "+0.500 ± 0.000", "–", "+0.500 ± 0.000"]


def test_table_4_and_single_rows_have_no_differences(write, tmp_path):
    write("a", model("CouplingFlow"), LOSS)
    runs = find_runs(tmp_path)
    assert supplements(4, runs) == supplements(2, runs) == {}


def test_runs_without_results_of_items_have_dashes(write, write_run, tmp_path):
    write("a", model("CouplingFlow"), LOSS)
    write_run("b", model=model("ConvSylvesterFlow"), num_items=3)
    (table,) = supplements(2, find_runs(tmp_path)).values()
    assert table.rows[1][1:6] == ["–"] * 5
    assert "–: no common seed has results of each item in both rows; rerun `test`" in table.note


def test_the_note_names_a_refused_pair_and_the_others_remain(write, tmp_path):
    write("a", model("CouplingFlow"), LOSS)
    write("b", model("ResidualFlow"), LOSS, digest="b")
    write("c", model("ConvSylvesterFlow"), LOSS + 1)
    (table,) = supplements(2, find_runs(tmp_path)).values()
    assert [row[1] for row in table.rows] == ["–", "–", "+1.0000 ± 0.0000"]
    assert table.note.count("residual (uniform) was not compared: ") == 1
    assert "were tested on different items" in table.note


def test_the_note_says_which_curves_and_times_are_left_out(write, tmp_path):
    for name, flow, end, device in (("a", "CouplingFlow", 20, "CPU"), ("b", "ConvSylvesterFlow", 10, "H100")):
        folder = write(name, model(flow), np.array([4.0, 4.1]), runtime=RUNTIME | {"device": device})
        write_curve(folder, {4: 5.0, end - 1: 4.0})  # tested after 20 steps
    (table,) = supplements(2, find_runs(tmp_path)).values()
    assert "or with a value that is not finite: the curves of b/version_0." in table.note
    assert (
        "Times are left out, because the rows have no runs that were timed in the same way: on the same" in table.note
    )


def test_the_report_shows_differences(write, tmp_path):
    write("a", model("CouplingFlow"), LOSS)
    write("b", model("ConvSylvesterFlow"), LOSS + STEPS)
    html = report_page(read_runs(tmp_path), "Runs").html
    assert "Table 2: Differences from coupling (uniform)" in html
    assert "<td>+0.2000 ± 0.0577</td>" in html
