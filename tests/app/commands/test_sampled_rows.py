"""Samples as CSV: the columns of the data, exact values, and nothing lost."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_flows.app.commands.sampled_rows import Columns, recorded_columns, sample_rows
from lightning_flows.errors import OutputError
from lightning_flows.files import created
from lightning_flows.flows import Flow
from lightning_flows.functional.streams import stream
from lightning_flows.modules import VectorFlowModule
from lightning_flows.transforms import Standardize


def module() -> VectorFlowModule:
    layer = Standardize(3)
    layer.set_moments(torch.tensor([0.0, 100.0, -5.0]), torch.tensor([1.0, 2.0, 0.1]))
    return VectorFlowModule(None, Flow(layer, event_shape=(3,))).eval()


def write(path: Path, columns: Columns, num: int = 10, *, batch_size: int = 4, overwrite: bool = False) -> int:
    generator = stream(0, "samples")
    with created(path, overwrite=overwrite) as file:
        return sample_rows(module(), columns, file, num, batch_size=batch_size, generator=generator)


def test_all_values_are_exact_below_the_names_of_the_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    assert write(path, Columns(["a", "b, c", "é"], frozenset())) == 0
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == 'a,"b, c",é'
    generator, batches = stream(0, "samples"), (4, 4, 2)
    expected = torch.cat([module().sample(num, generator=generator) for num in batches]).numpy()
    assert (np.loadtxt(lines[1:], delimiter=",", dtype=np.float32) == expected).all()
    assert abs(expected.mean(0) - [0, 100, -5]).max() < 2


def test_dequantized_integers_are_integers_again(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", Columns(["a", "b", "c"], frozenset({1})))
    write(tmp_path / "b.csv", Columns(["a", "b", "c"], frozenset()))
    ours, exact = (np.loadtxt(tmp_path / name, delimiter=",", skiprows=1) for name in ("a.csv", "b.csv"))
    assert (ours[:, 1] == np.floor(exact[:, 1])).all()
    assert (ours[:, [0, 2]] == exact[:, [0, 2]]).all()
    assert Columns(["a"], frozenset({0})).text([float("nan")]) == ["nan"]


def test_existing_files_are_kept(tmp_path: Path) -> None:
    path, columns = tmp_path / "a.csv", Columns(["a", "b", "c"], frozenset())
    path.write_text("precious")
    with pytest.raises(OutputError, match=r"a\.csv exists"):
        write(path, columns)
    assert path.read_text() == "precious"
    write(path, columns, overwrite=True)
    assert len(path.read_text().splitlines()) == 11
    assert [each.name for each in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize("data", [None, {}, {"columns": ["a"]}, {"columns": [1, 2]}, {"columns": "ab"}])
def test_columns_without_names_are_numbered(data: dict | None) -> None:
    record = {} if data is None else {"data": {"init_args": data}}
    assert recorded_columns({"lightning_flows": record}, 2) == (["column_1", "column_2"], frozenset())


def test_names_come_from_the_checkpoint() -> None:
    record = {"data": {"init_args": {"columns": ["a", "b"], "dequantize": ["b", "x"]}}}
    assert recorded_columns({"lightning_flows": record}, 2) == (["a", "b"], frozenset({1}))
