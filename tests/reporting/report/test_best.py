import pytest

from lightning_flows.reporting.report.best import HEADER, best_runs
from lightning_flows.reporting.tables.runs import read_runs
from tests.reporting.runs import DATA, graph_model, image_model, write_curve

CSF = image_model("ConvSylvesterFlow", ablation="none")


@pytest.fixture
def best(tmp_path):
    """Rows of the table, by header."""
    return lambda: [dict(zip(HEADER, row, strict=True)) for row in best_runs(read_runs(tmp_path)).rows]


def test_validation_chooses_the_run_not_the_test(write_run, best) -> None:
    write_curve(write_run("one/a", bpd=4.2), {1: 5.0, 2: 3.5, 3: 3.9})
    write_curve(write_run("two/b", bpd=4.1), {1: 5.0, 2: 3.6})
    write_run("two/c", bpd=3.9)  # no validation: chosen only if there is none at all
    (row,) = best()
    assert (row["best run"], row["of"], row["validation"], row["test"]) == ("one/a/version_0", "3", "3.500", "4.200")
    assert (row["NLL"], row["unit"], row["parameters (M)"]) == ("4.100", "bits per dimension", "1.235")


def test_without_validation_the_test_chooses(write_run, best) -> None:
    write_run("a", bpd=4.2)
    write_run("b", bpd=4.1)
    write_run("untested", metrics={})
    (row,) = best()
    assert (row["best run"], row["of"], row["validation"]) == ("b/version_0", "2", "–")


def test_models_are_ranked_on_each_dataset(write_run, best) -> None:
    small = DATA | {"init_args": DATA["init_args"] | {"downsample": 2}}
    write_run("glow", bpd=3.0)
    write_run("csf", bpd=4.0, model=CSF)
    write_run("small", bpd=2.0, data=small)
    write_run("graph", model=graph_model("GraphCouplingFlow"), metrics={"test/nll": 1.0})
    assert [(row["data"], row["model"], row["test"]) for row in best()] == [
        ("SamplePhotos", "GlowFlow", "3.000"),
        ("SamplePhotos", "ConvSylvesterFlow", "4.000"),
        ("SamplePhotos", "GraphCouplingFlow", "1.000"),
        ("SamplePhotos, downsampled by 2", "GlowFlow", "2.000"),
    ]


def test_a_test_of_some_items_is_left_out(write_run, best) -> None:
    write_run("all", bpd=3.0)
    write_run("part", bpd=2.0, is_partial=True, num_items=8)
    (row,) = best()
    assert (row["best run"], row["of"]) == ("all/version_0", "1")
