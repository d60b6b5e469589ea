import json
from types import SimpleNamespace

import pytest
import yaml

from lightning_flows.errors import DataError
from lightning_flows.reporting.tables import find_runs, table4
from lightning_flows.reporting.tables.table4 import _length

MODELS = {
    "coupling": ("GraphCouplingFlow", {}),
    "gnf": ("GraphNormalizingFlow", {"exponential": False}),
    "gnf_exponential": ("GraphNormalizingFlow", {"exponential": True}),
    "set_autoregressive": ("SetAutoregressiveFlow", {}),
}


def write(folder, kind, *, mixture="mog4", seed=0, gap=0.1, steps=100, width=8, **options):
    name, arguments = MODELS[kind]
    model = {"class_path": f"lightning_flows.modules.{name}", "init_args": {"width": width, **arguments}}
    data = {"class_path": "lightning_flows.data.GraphMoGDataModule", "init_args": {"mixture": mixture} | options}
    data["init_args"].setdefault("steps_per_epoch", steps)
    config = {"seed_everything": seed, "model": model, "data": data, "trainer": {"max_epochs": 1}}
    metrics = {"test/gap": gap, "test/nll_from_gap": 3.6324 + gap, "test/gap_standard_error": 0.0002}
    metrics |= {"test/entropy": 3.6324, "test/valid_share": 0.5}
    test = {
        "metrics": metrics, "model": model, "data": data, "num_parameters": 1234, "num_items": 8192,
        "global_step": steps, "checkpoint": "best.ckpt", "torch": "2.0", "time": 1.0,
    }  # fmt: skip
    folder = folder / f"{kind}_{mixture}_{seed}" / "version_0"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "tests.jsonl").write_text(json.dumps(test) + "\n")
    runtime = {"cpu_seconds": 61.4, "num_devices": 1, "device": "CPU, 1 threads", "batch_size": 64}
    (folder / "runtime.json").write_text(json.dumps(runtime))


def test_rows(tmp_path):
    for seed, gap in enumerate((0.1, 0.2, 0.3)):
        write(tmp_path, "gnf_exponential", seed=seed, gap=gap)
        write(tmp_path, "gnf", seed=seed, gap=gap + 0.1)
    write(tmp_path, "set_autoregressive", mixture="mog_ring")
    lines = table4(find_runs(tmp_path)).splitlines()
    plain, exponential, entropy, ring = lines[2:6]
    assert plain.startswith("| MoG-4 | graph normalizing flow | 3 | 3.932 ± 0.100 | 3.69 ± 0.016 | 0.3000 ± 0.1000 |")
    assert exponential.startswith("| MoG-4 | with the exponential | 3 | 3.832 ± 0.100 | 3.68 ± 0.017 |")
    assert exponential.endswith("| 50.0 | 1234 | 100 | 61 |")
    assert entropy.startswith("| MoG-4 | entropy |  | 3.6324 | 3.63 ± 0.000 |")
    assert ring.startswith("| MoG-Ring | set-autoregressive (ours) | 1 | 3.732 | – |")
    assert "8192 test graphs of GraphMoGDataModule" in lines[-1]


def test_longer_trainings_are_another_row(tmp_path):
    write(tmp_path / "a", "gnf", gap=0.2, steps=100)
    write(tmp_path / "b", "gnf", gap=0.1, steps=115)
    shorter, longer = table4(find_runs(tmp_path)).splitlines()[2:4]
    assert "| 3.832 |" in shorter
    assert shorter.endswith("| 100 | 61 |")
    assert "| 3.732 |" in longer
    assert longer.endswith("| 115 | 61 |")


@pytest.mark.parametrize(
    ("limits", "length"),
    [({"max_epochs": 3}, 30), ({"max_epochs": None, "max_steps": 50}, 50), ({"max_epochs": 3, "max_steps": 7}, 7),
     ({"max_epochs": -1, "max_steps": -1}, 0), ({}, 0)],
)  # fmt: skip
def test_length_of_a_training(limits, length):
    data = {"init_args": {"steps_per_epoch": 10}}
    assert _length(SimpleNamespace(config={"trainer": limits, "data": data})) == length


def test_runs_of_one_row_must_agree(tmp_path):
    write(tmp_path, "gnf", seed=0)
    write(tmp_path, "gnf", seed=1, width=16)
    with pytest.raises(DataError, match=r"model\.init_args\.width: 8"):
        table4(find_runs(tmp_path))


@pytest.mark.parametrize("options", [{"means": [[0.0, 0.0]]}, {"sizes": [2, 3]}, {"adjacency": [[0]]}])
def test_runs_on_other_graphs_are_left_out(tmp_path, options):
    write(tmp_path, "gnf", **options)
    with pytest.raises(DataError, match="got none of a graph flow"):
        table4(find_runs(tmp_path))


def test_other_runs_alone(tmp_path, write_run):
    write_run("a")
    with pytest.raises(DataError, match="got none of a graph flow"):
        table4(find_runs(tmp_path))
