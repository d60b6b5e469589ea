import pytest

from lightning_flows.errors import DataError
from lightning_flows.reporting.tables import find_runs, table2, table3
from tests.reporting.runs import RUNTIME, image_model, write_curve

VALIDATION = {9: 5.0, 19: 4.0, 29: 3.0}


def model(flow, dequantization="Uniform", *, steps=16, ablation=None, **options):
    options |= {"ablation": ablation or "none", "net_max_norm": 1.5} if flow == "ConvSylvesterFlow" else {}
    return image_model(flow, dequantization, steps_per_level=steps, **options)


def test_table_2(write_run, tmp_path):
    for seed, bpd in enumerate((3.0, 3.2)):
        runtime = RUNTIME | {"train_step_cpu_seconds": 2.0}
        run = write_run(f"csf{seed}", model=model("ConvSylvesterFlow"), seed=seed, bpd=bpd, runtime=runtime)
        write_curve(run, VALIDATION)
    slow = RUNTIME | {"train_step_seconds": 9.0, "train_step_cpu_seconds": 1.0}  # on a busy machine
    run = write_run("coupling", model=model("CouplingFlow"), bpd=3.5, runtime=slow)
    write_curve(run, {9: 6.0, 19: 5.5, 29: 4.0})
    write_run("halved", model=model("ResidualFlow", "Variational", steps=8), bpd=3.6)
    write_run("residual", model=model("ResidualFlow", "Variational"), bpd=3.4)
    write_run("ablated", model=model("ConvSylvesterFlow", ablation="no_autoregressive"), bpd=9.0)
    header, rows, note = table2(find_runs(tmp_path))
    assert all(len(row) == len(header) for row in rows)
    assert [row[:4] for row in rows] == [
        ["coupling", "uniform", "1", "3.500"],
        ["Convolutional Sylvester", "uniform", "2", "3.100 ± 0.141"],
        ["residual", "variational", "1", "3.400"],
        ["residual, equal memory", "variational", "1", "3.600"],
    ]
    assert [row[9] for row in rows[:2]] == ["100.00", "100.00"]
    assert rows[0][4:7] == ["3.38", "3.400", "3.35"]
    assert [row[-1] for row in rows] == ["30 s", "40 s", "–", "–"]  # steps 29 and 19, of 1 and 2 seconds each
    assert "The validation bpd to reach is 4.000 (uniform)" in note


@pytest.mark.parametrize(
    ("other", "is_same_device"),
    [({"device": "H100"}, False), ({"compiled": True}, True), ({"recompute": True}, True)],
)
def test_a_table_has_no_times_that_were_measured_in_different_ways(other, is_same_device, write_run, tmp_path):
    for name, more in (("ConvSylvesterFlow", {}), ("CouplingFlow", other)):
        runtime = RUNTIME | {"device": "CPU", "peak_memory_bytes": 2**20} | more
        write_curve(write_run(name, model=model(name), runtime=runtime), VALIDATION)
    for row in table2(find_runs(tmp_path)).rows:
        assert row[8] == row[11] == "–"
        assert [row[9], row[10]] == ["100.00" if is_same_device else "–", "–"]


def test_steps_of_one_kind_are_compared(write_run, tmp_path):
    for name, more in (("ConvSylvesterFlow", {"compiled": False, "recompute": None}), ("CouplingFlow", {})):
        write_curve(write_run(name, model=model(name), runtime=RUNTIME | more), VALIDATION)
    assert [row[8:11] for row in table2(find_runs(tmp_path)).rows] == [["2.000", "100.00", "300"]] * 2


def test_only_seeds_with_a_curve_and_a_time_count(write_run, tmp_path):
    """Without a curve, a seed is unknown; with one that never reaches the target, its time is infinite."""
    for seed, step in enumerate((9, 19, None)):
        run = write_run(f"a{seed}", model=model("CouplingFlow"), seed=seed, runtime=RUNTIME)
        if step:
            write_curve(run, {step: 4.0, 39: 4.0})
    write_curve(write_run("b", model=model("CouplingFlow"), seed=3), {9: 4.0, 39: 4.0})
    ((*_, seconds),) = table2(find_runs(tmp_path)).rows
    assert seconds == "30 s"  # of 20 and 40
    for seed in (4, 5, 6):
        run = write_run(f"c{seed}", model=model("CouplingFlow"), seed=seed, runtime=RUNTIME)
        write_curve(run, {39: 4.5})
    ((*_, seconds),) = table2(find_runs(tmp_path)).rows
    assert seconds == "–"


def test_flows_without_steps_do_not_decide_which_residual_flows_have_equal_memory(write_run, tmp_path):
    write_run("residual", model=image_model("ResidualFlow", num_levels=2, steps_per_level=4))
    write_run("pixels", model=image_model("PixelAutoregressiveFlow", window=5))
    assert [row[:5] for row in table2(find_runs(tmp_path)).rows] == [
        ["residual, equal memory", "uniform", "1", "4.000", "3.44"],
        ["autoregressive over pixels, ours", "uniform", "1", "4.000", "–"],
    ]


def test_residual_flows_only_have_equal_memory_at_the_papers_number_of_steps(write_run, tmp_path):
    write_run("a", model=model("ResidualFlow", steps=8))
    assert table2(find_runs(tmp_path)).rows[0][0] == "residual, equal memory"
    write_run("b", model=model("CouplingFlow", steps=8))
    assert [row[0] for row in table2(find_runs(tmp_path)).rows] == ["coupling", "residual"]


@pytest.mark.parametrize(
    ("levels", "steps", "names"),
    [
        (2, [8], ["residual"]),
        (2, [4], ["residual, equal memory"]),
        (2, [8, 4], ["residual", "residual, equal memory"]),
        (3, [16], ["residual"]),
        (3, [4], ["residual"]),
        (3, [2], ["residual, equal memory"]),
        (3, [16, 8], ["residual", "residual, equal memory"]),
    ],
)
def test_rows_of_residual_flows_without_others(levels, steps, names, write_run, tmp_path):
    for num in steps:
        write_run(f"steps{num}", model=model("ResidualFlow", steps=num, num_levels=levels))
    assert [row[0] for row in table2(find_runs(tmp_path)).rows] == names


def test_seeds_with_other_numbers_of_importance_samples_are_refused(write_run, tmp_path):
    for seed, num in enumerate((10, 1000)):
        made = model("CouplingFlow")
        made["init_args"]["num_importance_samples"] = num
        write_run(f"a{seed}", model=made, seed=seed)
    with pytest.raises(DataError, match=r"num_importance_samples: 10, but .* 1000"):
        table2(find_runs(tmp_path))


def test_other_sizes_are_not_compared(write_run, tmp_path):
    write_run("a", model=model("ConvSylvesterFlow"))
    write_run("b", model=model("CouplingFlow", steps=2))
    with pytest.raises(DataError, match=r"flow\.init_args\.steps_per_level: 16, but .* 2"):
        table2(find_runs(tmp_path))


def test_the_flow_over_pixels_has_its_own_sizes_and_training(write_run, tmp_path):
    write_run("coupling", model=model("CouplingFlow"), bpd=3.0, trainer={"max_steps": 5})
    for seed in (0, 1):
        pixels = image_model("PixelAutoregressiveFlow", "Uniform", window=5, head_width=8)
        write_run(f"pixels{seed}", model=pixels, seed=seed, bpd=3.0, trainer={"max_steps": 8})
    _, rows, _ = table2(find_runs(tmp_path))
    assert [row[:3] for row in rows] == [
        ["coupling", "uniform", "1"],
        ["autoregressive over pixels, ours", "uniform", "2"],
    ]


def test_table_3(write_run, tmp_path):
    for ablation in ("none", "no_autoregressive", "no_basis"):
        write_run(ablation, model=model("ConvSylvesterFlow", "Variational", ablation=ablation))
    write_run("d", model=model("CouplingFlow"))
    rows = table3(find_runs(tmp_path)).rows
    assert [row[0] for row in rows] == ["Convolutional Sylvester", "without f_AR", "without basis"]
    assert rows[1][4] == "3.44"


def test_other_runs_are_refused(write_run, tmp_path):
    write_run("a")
    with pytest.raises(DataError, match="none is of csf, no_autoregressive, no_basis"):
        table3(find_runs(tmp_path))
