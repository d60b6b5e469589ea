"""Any content of a config or record is accepted or reported in one sentence."""

import copy
import json
import os
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from lightning_flows.errors import DataError
from lightning_flows.reporting.report import report_page
from lightning_flows.reporting.tables import TABLES, find_runs, table1
from lightning_flows.reporting.tables.runs import read_runs
from tests.reporting.runs import RUNTIME, graph_model, image_model, write_curve, write_items_of

GRAPHS = graph_model("GraphNormalizingFlow", exponential=True, width=8)
MOG = {"class_path": "lightning_flows.data.GraphMoGDataModule", "init_args": {"mixture": "mog4", "steps_per_epoch": 9}}
CSF = image_model("ConvSylvesterFlow", ablation="no_autoregressive", steps_per_level=4)
MEASURED = RUNTIME | {"compiled": "inductor"}
GRAPH_METRICS = {"test/nll_from_gap": 4.0, "test/gap": 0.1, "test/gap_standard_error": 0.1, "test/entropy": 3.6}
ODD: list[Any] = [
    None, True, "x", "\x1b[31m", "", [], {}, [[]], {"a": {"b": [1]}}, -1, 0, 2**62, 10**400, 1e308, -1e-320,
    float("nan"), float("inf"), "9" * 500, "mog4", "none", {"class_path": None}, {"class_path": "a.CSF"}, "a\0b",
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inner for place in places(part, (*path, key)))]


def changed(value: Any, chance: random.Random) -> Any:
    """A record with one value replaced or removed."""
    whole = copy.deepcopy({"": value})
    *above, last = ("", *chance.choice(places(value)))
    holder = whole
    for key in above:
        holder = holder[key]
    if chance.random() < 0.2 and isinstance(holder, dict):
        del holder[last]
    else:
        holder[last] = chance.choice(ODD)
    return whole.get("")


def damaged(data: bytes, chance: random.Random) -> bytes:
    """A file with some bytes replaced, inserted or removed."""
    for _ in range(chance.randint(1, 3)):
        i, length = chance.randrange(len(data) + 1), chance.choice([0, 1, 1, 9])
        data = data[:i] + chance.randbytes(chance.choice([0, 1, 1, 5])) + data[i + length :]
    return data


def use(folder: Path) -> None:
    """Everything that is done with runs; raises only DataError."""
    report_page(read_runs(folder), "Runs")
    try:
        runs = find_runs(folder, report=lambda text: None)
    except DataError:
        return
    for table in TABLES.values():
        with suppress(DataError):
            assert table(runs).rows


def records(kind: str, write_run) -> list[Path]:
    if kind == "graphs":
        folder = write_run("a", model=GRAPHS, metrics=GRAPH_METRICS, data=MOG, runtime=MEASURED)
    else:
        folder = write_run("a", runtime=MEASURED, model=CSF if kind == "csf" else None)
    events = write_curve(folder, {1: 4.0, 2: 3.0})
    write_run("b", seed=1, runtime=MEASURED)
    files = [folder / "config.yaml", folder / "tests.jsonl", folder / "runtime.json", events]
    if kind == "images":  # compared with another row
        other = write_run("c", mixing="emerging", runtime=MEASURED, num_items=3)
        for each in (folder, other):
            write_items_of(each, {"loss": np.arange(3.0), "nll_bpd": np.arange(3.0)})
        files.append(folder / "items_0.npz")
    return files


@pytest.mark.parametrize("kind", ["images", "csf", "graphs"])
def test_any_changed_value_is_accepted_or_reported_in_one_sentence(kind: str, write_run, tmp_path: Path) -> None:
    chance = random.Random(kind)
    paths = records(kind, write_run)[:3]
    use(tmp_path)
    for path in paths:
        whole = path.read_text()
        record = yaml.safe_load(whole) if path.suffix == ".yaml" else json.loads(whole)
        for _ in range(40):
            other = changed(record, chance)
            path.write_text(yaml.safe_dump(other) if path.suffix == ".yaml" else json.dumps(other))
            use(tmp_path)
        path.write_text(whole)


@pytest.mark.parametrize("value", ODD, ids=repr)
@pytest.mark.parametrize("key", MEASURED)
def test_any_value_in_runtime_json_is_accepted_or_reported(key: str, value: Any, write_run, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 1)):
        write_run(name, seed=seed, model=CSF, runtime=MEASURED | {key: value})
    use(tmp_path)


def test_any_changed_bytes_are_accepted_or_reported_in_one_sentence(write_run, tmp_path: Path) -> None:
    chance = random.Random(0)
    for path in records("images", write_run):
        whole = path.read_bytes()
        for _ in range(40):
            path.write_bytes(damaged(whole, chance))
            use(tmp_path)
        path.write_bytes(whole)


@pytest.mark.parametrize("name", ["config.yaml", "tests.jsonl", "runtime.json", "events"])
@pytest.mark.parametrize("kind", ["pipe", "zero", "secret", "huge", "folder"])
def test_a_bad_file_is_reported_in_one_sentence_and_skipped(kind: str, name: str, write_run, tmp_path: Path) -> None:
    runs, secret = tmp_path, tmp_path.parent / f"{tmp_path.name}_secret"
    secret.write_text("secret: 1\n")
    path = next(each for each in records("images", write_run) if each.name.startswith(name))
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "huge":
        with path.open("wb") as file:
            file.truncate(50_000_000)
    else:
        path.symlink_to({"zero": "/dev/zero", "secret": secret}[kind])
    reported: list[str] = []
    (run,) = [run for run in find_runs(runs, report=reported.append) if run.seed == 1]
    assert table1([run]).rows
    broken, whole, _ = read_runs(runs)
    assert whole.test
    problems = [broken.error] if broken.error else broken.scalars.problems
    assert len(problems) == 1
    assert len(reported) == (name != "events")
    assert all(path.name in text and "\n" not in text for text in (*reported, *problems))
    assert "secret: 1" not in report_page([broken], "Runs").html


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metrics": {"test/bpd": float("nan")}}, "test/bpd is nan, not a finite number"),
        ({"metrics": {"test/bpd": "4"}}, "test/bpd is '4', not a finite number"),
        ({"metrics": {"test/bpd": 1.5e308}}, r"test/bpd is 1.5e\+308, not a finite number of at most 1e\+30"),
        ({"metrics": {"test/bpd": True}}, "test/bpd is True, not"),
        ({"num_parameters": 10**400}, "numbers of more than 64 bits"),
        ({"torch": None}, "torch is None, not str"),
        ({"model": {"class_path": ["a"]}}, "model.class_path is list, not str"),
        ({"data": {"class_path": "a", "init_args": "x"}}, "data.init_args is 'x', not names with values"),
        ({"model": image_model("GlowFlow") | {"init_args": {"flow": 3}}}, "model.init_args.flow is 3, not names"),
    ],
)
def test_errors_in_a_record_are_named(change: dict[str, Any], message: str, write_run, tmp_path: Path) -> None:
    write_run("a", **change)
    with pytest.raises(DataError, match=message):
        find_runs(tmp_path)
