import pytest

from lightning_flows.reporting.report.best import best_runs
from lightning_flows.reporting.report.experiments import (
    comparisons,
    headline,
    results,
    runtimes,
    tables,
    training_chart,
    validation_charts,
)
from lightning_flows.reporting.tables import table1
from lightning_flows.reporting.tables.runs import read_runs
from tests.reporting.runs import RUNTIME, graph_model, image_model, vae_model, write_curve

CSF = image_model("ConvSylvesterFlow", ablation="none")


def test_the_table_equals_the_command_s(write_run, tmp_path) -> None:
    for kind in ("conv1x1", "emerging"):
        write_run(kind, mixing=kind)
    runs = read_runs(tmp_path)
    assert tables(runs) == {1: table1(runs)}


def test_incomparable_models_state_the_reason(write_run, tmp_path) -> None:
    write_run("a", model=CSF)
    write_run("b", model=image_model("CouplingFlow"), trainer={"max_epochs": 5})
    (table,) = tables(read_runs(tmp_path)).values()
    assert table.rows == []
    assert "runs of a table may only differ in ablation, dequantization" in table.note


def test_one_model_with_different_settings_is_not_an_experiment_of_the_paper(write_run, tmp_path) -> None:
    write_run("demo", model=CSF)
    assert list(tables(read_runs(tmp_path))) == [2]
    write_run("csf_small", model=CSF, trainer={"max_epochs": 10})
    assert tables(read_runs(tmp_path)) == {}


def test_sylvester_flows_belong_to_table_3_next_to_an_ablation(write_run, tmp_path) -> None:
    write_run("two/csf", model=CSF)
    write_run("three/csf", model=CSF)
    write_run("three/far", model=image_model("ConvSylvesterFlow", ablation="no_autoregressive"))
    three, two = [[run for run in read_runs(tmp_path) if run.experiment == name] for name in ("three", "two")]
    assert list(tables(two)) == [2]
    assert [row[0] for row in tables(three)[3].rows] == ["Convolutional Sylvester", "without f_AR"]


def test_results_list_the_best_first_and_what_was_tested(write_run, tmp_path) -> None:
    write_run("a", bpd=3.5, time=86400.0)
    write_run("b", bpd=3.25, model=CSF)
    write_run("c", model=graph_model("GraphCouplingFlow"), metrics={"test/nll": 4.0})
    write_run("untested", metrics={})
    header, rows, _ = results(read_runs(tmp_path))
    assert [row[0] for row in rows] == ["b", "a", "c"]
    b, a, c = (dict(zip(header, row, strict=True)) for row in rows)
    assert (b["model"], b["dequantization"], b["test"]) == ("ConvSylvesterFlow", "uniform", "3.250 bits per dimension")
    assert (a["NLL"], a["parameters (M)"], a["steps"]) == ("3.400", "1.235", "20")
    assert (a["data"], a["tested (UTC)"]) == ("SamplePhotos", "1970-01-02 00:00")
    assert (c["test"], c["dequantization"], c["NLL"]) == ("4.000 nats per node", "–", "–")


def test_seeds_share_a_color(write_run, tmp_path) -> None:
    for name in ("a_seed0", "a_seed1", "b_seed0"):
        write_curve(write_run(name), {1: 4.0, 2: 3.0})
    (chart,) = validation_charts(read_runs(tmp_path))
    assert chart.legend == [("c0", "a"), ("c1", "b")]
    assert [line.style.split()[0] for line in chart.lines] == ["c0", "c0", "c1"]
    assert (chart.title, chart.y_label) == ("Validation on SamplePhotos", "bits per dimension")
    assert "a_seed1: 4 at step 1, 3 at step 2, lowest 3." in chart.description


def test_a_second_chart_is_by_training_time_of_the_runs_whose_time_is_known(write_run, tmp_path) -> None:
    fast = RUNTIME | {"train_step_seconds": 0.5}
    for name, runtime in {"a": RUNTIME, "b": fast, "c": None}.items():
        write_curve(write_run(name, runtime=runtime), {99: 4.0, 199: 3.0})
    by_step, by_time = validation_charts(read_runs(tmp_path))
    assert (by_step.x_label, len(by_step.lines)) == ("step", 3)
    assert by_time.x_label == "training time (s)"
    assert [line.marks[0][2].rpartition("(s) ")[2] for line in by_time.lines] == ["200: 4", "50: 4"]
    assert by_time.legend == by_step.legend


@pytest.mark.parametrize("other", [{"device": "H100"}, {"train_step_cpu_seconds": 0.5}, {"compiled": True}])
def test_there_is_no_chart_by_times_that_were_measured_in_different_ways(write_run, tmp_path, other) -> None:
    for name, runtime in {"a": RUNTIME, "b": RUNTIME | other}.items():
        write_curve(write_run(name, runtime=runtime), {99: 4.0, 199: 3.0})
    (by_step,) = validation_charts(read_runs(tmp_path))
    assert by_step.x_label == "step"


def test_tables_have_finished_runs_only(write_run, tmp_path) -> None:
    """Results list all tested runs."""
    for name, state in {"conv1x1": "finished", "emerging": "stopped", "woodbury": "diverged"}.items():
        (write_run(name, mixing=name) / "run.json").write_text(f'{{"state": "{state}"}}')
    runs = read_runs(tmp_path)
    assert [row[0] for row in tables(runs)[1].rows] == ["1x1"]
    assert comparisons(runs, [1]) == {}
    assert len(results(runs).rows) == 3
    assert [row[-2:] for row in best_runs(runs).rows] == [["conv1x1/version_0", "1"]]


def test_curves_of_graphs_are_in_nats(write_run, tmp_path) -> None:
    write_curve(write_run("a"), {1: 4.0}, tag="train/nll")
    (run,) = read_runs(tmp_path)
    assert training_chart(run).y_label == "nats per node"
    assert validation_charts([run]) == []


def test_results_of_vectors_are_in_nats(write_run, tmp_path) -> None:
    model = graph_model("AutoregressiveFlow") | {"class_path": "lightning_flows.modules.VectorFlowModule"}
    data = {"class_path": "lightning_flows.data.ToyDataModule", "init_args": {"name": "moons"}}
    write_curve(write_run("a", model=model, data=data, metrics={"test/nll": 1.25}), {1: 4.0}, tag="val/nll")
    (run,) = read_runs(tmp_path)
    assert headline(run) == "1.250 nats"
    (chart,) = validation_charts([run])
    assert (chart.title, chart.y_label) == ("Validation on Toy moons", "nats")


def test_results_of_a_vae_are_per_image_and_name_its_posterior(write_run, tmp_path) -> None:
    write_run("a", model=vae_model("IAFPosterior"), metrics={"test/nll": 244.9, "test/nll_nats": 242.2})
    header, (row,), _ = results(read_runs(tmp_path))
    cells = dict(zip(header, row, strict=True))
    assert (cells["test"], cells["NLL"], cells["model"]) == ("244.900 nats per image", "242.200", "IAFPosterior")


def test_runtimes_and_missing_values(write_run, tmp_path) -> None:
    write_run("a", runtime=RUNTIME | {"torch": "2.1"})
    write_run("b")
    header, rows, _ = runtimes(read_runs(tmp_path))
    one, other = (dict(zip(header, row, strict=True)) for row in rows)
    assert (one["training step (s)"], one["peak memory (MiB)"]) == ("2.000", "300")
    assert (one["device"], one["torch"], one["batch"]) == ("CPU, 2 threads", "2.1", "8")
    assert (other["training step (s)"], other["torch"], other["device"]) == ("–", "2.0", "–")


def test_a_non_numeric_result_is_omitted(write_run, tmp_path) -> None:
    write_run("a", metrics={"test/bpd": "none"})
    (run,) = read_runs(tmp_path)
    assert headline(run) == ""
    assert "test/bpd is 'none', not a finite number" in run.error
    assert tables([run]) == {}


def test_a_run_without_the_metric_of_a_table_is_omitted(write_run, tmp_path) -> None:
    write_run("a", metrics={"test/nll_bpd": 3.0})
    write_run("b", mixing="emerging")
    assert [row[0] for row in tables(read_runs(tmp_path))[1].rows] == ["emerging"]
