from lightning_flows.reporting.report import read_trainings
from lightning_flows.reporting.report.experiments import (
    RUNTIME_HEADER,
    data_name,
    headline,
    runtime_row,
    tables,
    training_chart,
    validation_charts,
)
from lightning_flows.reporting.tables import table1
from tests.reporting.tables.test_events import write


def model(name: str, **options):
    return {"class_path": f"lightning_flows.modules.{name}", "init_args": {"dequantization": "uniform", **options}}


def test_the_table_is_that_of_the_command(write_run, tmp_path) -> None:
    for kind in ("conv1x1", "emerging"):
        write_run(kind, mixing=kind)
    trainings = read_trainings(tmp_path)
    (table,) = tables(trainings)
    lines = table1([training.run for training in trainings]).splitlines()
    assert table.number == 1
    assert ["| " + " | ".join(row) + " |" for row in (table.header, *table.rows)] == [lines[0], *lines[2:4]]
    assert table.note == lines[-1]


def test_runs_of_a_table_that_cannot_be_compared_say_why(write_run, tmp_path) -> None:
    write_run("a")
    write_run("b", max_epochs=5)
    (table,) = tables(read_trainings(tmp_path))
    assert table.rows == []
    assert "expected runs that differ in mixing" in table.note


def test_sylvester_flows_are_of_the_table_of_those_beside_them(write_run, tmp_path) -> None:
    write_run("two/csf", model=model("CSF", ablation="none"))
    write_run("three/csf", model=model("CSF", ablation="none"))
    write_run("three/far", model=model("CSF", ablation="no_autoregressive"))
    three, two = [[t for t in read_trainings(tmp_path) if t.experiment == name] for name in ("three", "two")]
    assert [table.number for table in tables(two)] == [2]
    assert [table.number for table in tables(three)] == [3]
    assert [row[0] for row in tables(three)[0].rows] == ["Convolutional Sylvester", "without f_AR"]


def test_seeds_share_a_color(write_run, tmp_path) -> None:
    for name in ("a_seed0", "a_seed1", "b_seed0"):
        write(write_run(name), {1: 4.0, 2: 3.0})
    (chart,) = validation_charts(read_trainings(tmp_path))
    assert chart.legend == [(0, "a"), (1, "b")]
    assert chart.svg.count('path class="c0"') == 2
    assert "SamplePhotosDataModule: bits per dimension" in chart.title


def test_curves_of_graphs_are_in_nats(write_run, tmp_path) -> None:
    write(write_run("a"), {1: 4.0}, tag="train/nll")
    (training,) = read_trainings(tmp_path)
    assert training_chart(training).title == "Nats a node"
    assert validation_charts([training]) == []


def test_runtimes_and_what_is_not_known(write_run, tmp_path) -> None:
    write_run("a", runtime={"train_step_seconds": 0.25, "peak_memory_bytes": 2**21, "device": "CPU", "torch": "2.1"})
    write_run("b")
    one, other = [dict(zip(RUNTIME_HEADER, runtime_row(t), strict=True)) for t in read_trainings(tmp_path)]
    assert (one["step (s)"], one["peak memory (MiB)"], one["device"], one["torch"]) == ("0.250", "2", "CPU", "2.1")
    assert one["test"] == "4.000 bits per dimension"
    assert (other["step (s)"], other["torch"], other["run"]) == ("–", "2.0", "b")


def test_a_result_that_is_no_number_is_left_out(write_run, tmp_path) -> None:
    write_run("a", metrics={"test/bpd": "none"})
    (training,) = read_trainings(tmp_path)
    assert headline(training) is None
    assert "whose test/bpd is 'none', not a finite number" in training.problems[0]
    assert tables([training]) == []


def test_sylvester_flows_of_other_settings_are_no_experiment_of_the_paper(write_run, tmp_path) -> None:
    csf = model("CSF", ablation="none")
    write_run("demo", model=csf)
    write_run("csf_small", model=csf, max_epochs=10)
    assert tables(read_trainings(tmp_path)) == []
    write_run("coupling", model=model("CouplingFlow"))  # which is compared with them in Table 2
    (table,) = tables(read_trainings(tmp_path))
    assert "expected runs that differ in" in table.note


def test_a_run_without_what_a_table_shows_leaves_it_to_the_others(write_run, tmp_path) -> None:
    write_run("a", metrics={"test/nll_bpd": 3.0})
    write_run("b", mixing="emerging")
    (table,) = tables(read_trainings(tmp_path))
    assert [row[0] for row in table.rows] == ["emerging"]


def test_settings_of_any_form_have_a_name() -> None:
    for data in (None, [], {}, {"class_path": "a.B", "init_args": "x"}, {"class_path": 3, "init_args": {"root": 4}}):
        assert isinstance(data_name({"data": data}), str)
