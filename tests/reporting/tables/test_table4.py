import pytest

from lightning_flows.errors import DataError
from lightning_flows.reporting.tables import Run, find_runs, table4
from lightning_flows.reporting.tables.table4 import planned_steps
from tests.reporting.runs import RUNTIME, graph_model, write_run

MODELS = {
    "coupling": ("GraphCouplingFlow", {}),
    "gnf": ("GraphNormalizingFlow", {"exponential": False}),
    "gnf_exponential": ("GraphNormalizingFlow", {"exponential": True}),
    "set_autoregressive": ("SetAutoregressiveFlow", {}),
}


def write(
    folder, kind, *, mixture="mog4", seed=0, gap=0.1, steps=100, width=8, tested=None, runtime=RUNTIME, **options
):
    """Write a run of ``steps`` steps, tested after as many; ``tested`` replaces entries of the test."""
    flow, arguments = MODELS[kind]
    options = {"mixture": mixture, "steps_per_epoch": steps} | options
    metrics = {"test/gap": gap, "test/nll_from_gap": 3.6324 + gap, "test/gap_standard_error": 0.0002}
    test = {"num_items": 8192, "global_step": steps} | (tested or {})
    metrics |= {"test/entropy": test.pop("entropy", 3.6324), "test/valid_share": 0.5}
    write_run(
        folder, f"{kind}_{mixture}_{seed}", seed=seed, runtime=runtime, trainer={"max_epochs": 1},
        model=graph_model(flow, net={"width": width}, **arguments),
        data={"class_path": "lightning_flows.data.GraphMoGDataModule", "init_args": options},
        metrics=metrics, num_parameters=1234, **test,
    )  # fmt: skip


def test_rows(tmp_path):
    for seed, gap in enumerate((0.1, 0.2, 0.3)):
        write(tmp_path, "gnf_exponential", seed=seed, gap=gap)
        write(tmp_path, "gnf", seed=seed, gap=gap + 0.1)
    write(tmp_path, "set_autoregressive", mixture="mog_ring")
    _, (plain, exponential, entropy, ring, _), note = table4(find_runs(tmp_path))
    assert plain[:5] == ["MoG-4", "graph normalizing flow", "3", "3.932 ± 0.100", "3.69 ± 0.016"]
    assert plain[5] == "0.3000 ± 0.1000"
    assert exponential[:5] == ["MoG-4", "with the exponential", "3", "3.832 ± 0.100", "3.68 ± 0.017"]
    assert exponential[6:] == ["50.0", "1234", "100", "61"]
    assert entropy[:5] == ["MoG-4", "entropy", "", "3.6324", "3.63 ± 0.000"]
    assert ring[:5] == ["MoG-Ring", "set-autoregressive (ours)", "1", "3.732", "–"]
    assert "at most 0.0002. Measured here: 8192 test graphs of GraphMoGDataModule" in note


def test_steps_are_the_median_over_seeds(tmp_path):
    for seed, step in enumerate((60, 60, 100)):
        write(tmp_path, "gnf", seed=seed, tested={"global_step": step})
    row, _ = table4(find_runs(tmp_path)).rows
    assert row[8] == "60"


@pytest.mark.parametrize("other", [{"num_items": 8191}, {"entropy": 3.6334}])
def test_rows_are_of_the_same_graphs(other, tmp_path):
    write(tmp_path, "gnf")
    write(tmp_path, "coupling", mixture="mog9", tested=other)
    _, rows, note = table4(find_runs(tmp_path))
    assert len(rows) == 4
    assert "num_items" not in other or "Measured here: 8192 or 8191 test graphs" in note
    write(tmp_path, "coupling", tested=other)
    with pytest.raises(DataError, match=r"runs were tested on different graphs: .*gnf_mog4_0/version_0 on 8192, whose"):
        table4(find_runs(tmp_path))


def test_the_note_is_on_all_runs_and_seconds_are_of_one_device(tmp_path):
    write(tmp_path, "gnf")
    write(tmp_path, "set_autoregressive", runtime=RUNTIME | {"device": "H100"}, tested={"torch": "2.9"})
    _, rows, note = table4(find_runs(tmp_path))
    assert [row[9] for row in rows] == ["–", "–", ""]
    assert "runtimes on 1 x CPU, 2 threads or 1 x H100, batch 8, lightning_flows 0.4; torch 2.0 or 2.9." in note


def test_longer_runs_have_a_separate_row(tmp_path):
    write(tmp_path / "a", "gnf", gap=0.2, steps=100)
    write(tmp_path / "b", "gnf", gap=0.1, steps=115)
    shorter, longer, _ = table4(find_runs(tmp_path)).rows
    assert (shorter[3], shorter[8]) == ("3.832", "100")
    assert (longer[3], longer[8]) == ("3.732", "115")


@pytest.mark.parametrize(
    ("limits", "length"),
    [({"max_epochs": 3}, 30), ({"max_epochs": None, "max_steps": 50}, 50), ({"max_epochs": 3, "max_steps": 7}, 7),
     ({"max_epochs": -1, "max_steps": -1}, 0), ({}, 0)],
)  # fmt: skip
def test_planned_steps(limits, length, tmp_path):
    config = {"trainer": limits, "data": {"init_args": {"steps_per_epoch": 10}}}
    assert planned_steps(Run(tmp_path, tmp_path, config)) == length


def test_runs_of_one_row_must_agree(tmp_path):
    write(tmp_path, "gnf", seed=0)
    write(tmp_path, "gnf", seed=1, width=16)
    with pytest.raises(DataError, match=r"flow\.init_args\.net\.width: 8"):
        table4(find_runs(tmp_path))


@pytest.mark.parametrize("options", [{"means": [[0.0, 0.0]]}, {"sizes": [2, 3]}, {"adjacency": [[0]]}])
def test_runs_on_other_graphs_are_skipped(tmp_path, options):
    write(tmp_path, "gnf", **options)
    with pytest.raises(DataError, match="none has a graph flow"):
        table4(find_runs(tmp_path))


def test_other_runs_alone(tmp_path):
    write_run(tmp_path, "a")
    with pytest.raises(DataError, match="none has a graph flow"):
        table4(find_runs(tmp_path))
