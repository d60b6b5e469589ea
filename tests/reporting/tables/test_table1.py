import pytest

from lightning_flows.errors import DataError
from lightning_flows.reporting.tables import find_runs, table1
from tests.reporting.runs import RUNTIME, image_model


def test_rows(write_run, tmp_path):
    for seed, bpd in enumerate((4.0, 4.2)):
        write_run(f"x{seed}", mixing="conv_exponential", seed=seed, bpd=bpd - 1)
        write_run(f"y{seed}", mixing="conv1x1", seed=seed, bpd=bpd, runtime=RUNTIME | {"train_step_cpu_seconds": 2.0})
    write_run(
        "z", mixing="emerging", runtime=RUNTIME | {"train_step_cpu_seconds": 3.0, "sample_seconds_per_image": 0.05}
    )
    header, (first, second, third), note = table1(find_runs(tmp_path))
    assert len(header) == len(first) == len(second) == 13
    assert first[:6] == ["1x1", "2", "4.100 ± 0.141", "3.285 ± 0.008", "4.000 ± 0.141", "3.266 ± 0.007"]
    assert first[6:] == ["1.235", "57.2", "100.0", "100.0", "100.0", "100.0", "300"]
    assert second[:3] == ["emerging", "1", "4.000"]
    assert second[8:12] == ["150.0", "103.2", "50.0", "1223.5"]
    assert third[:3] == ["convolution exponential", "2", "3.100 ± 0.141"]
    assert third[8:] == ["–", "104.6", "–", "115.8", "–"]
    assert "104 test images of SamplePhotosDataModule, checkpoint best.ckpt after 20 steps" in note
    assert "NLL from 5 importance samples per image" in note


def test_runtimes_on_other_hardware_have_no_percentage(write_run, tmp_path):
    write_run("a", runtime=RUNTIME)
    write_run("b", mixing="emerging", runtime=RUNTIME | {"device": "H100"})
    _, (_, second), note = table1(find_runs(tmp_path))
    assert (second[8], second[10]) == ("–", "–")
    assert "runtimes on 1 x CPU, 2 threads or 1 x H100, batch 8" in note


@pytest.mark.parametrize("time", [0.5, 2.0])
def test_a_run_of_another_size_never_replaces_that_of_a_row(time, write_run, tmp_path):
    write_run("a", time=1.0)
    write_run("b", model=image_model("GlowFlow", mixing="conv1x1", width=16), time=time)
    with pytest.raises(DataError, match=r"may only differ in num_importance_samples, the seed; .*width: 8, but .* 16"):
        table1(find_runs(tmp_path))


def test_a_seed_counts_once(write_run, tmp_path):
    write_run("old", bpd=9.0, time=1.0)
    write_run("new", bpd=4.0, time=2.0)
    assert table1(find_runs(tmp_path)).rows[0][1:3] == ["1", "4.000"]


def test_runs_of_another_experiment_are_refused(write_run, tmp_path):
    write_run("a", model=image_model("ConvSylvesterFlow"))
    with pytest.raises(DataError, match=r"no run belongs to table 1"):
        table1(find_runs(tmp_path))
