"""Tables: splits that follow the content of rows, moments of the training rows, and what is refused."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_flows.checkpoints import construct, describe
from lightning_flows.data import TableDataModule
from lightning_flows.errors import DataError, UsageError

VALUES = np.random.default_rng(0).standard_normal((400, 3)).astype(np.float32)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write(tmp_path / "my.csv", VALUES, "a,b,c")


def write(path: Path, values: np.ndarray, header: str) -> Path:
    np.savetxt(path, values, fmt="%.9g", delimiter=",", header=header, comments="")
    return path


def rows(data: TableDataModule, split: str) -> set[tuple[float, ...]]:
    return set(map(tuple, data.dataset(split).batch(torch.arange(data.num_items(split)))["row"].tolist()))


def loaded(path: Path, *stages: str, **options) -> TableDataModule:
    data = TableDataModule(str(path), **options)
    for stage in stages or ("fit", "test", "predict"):
        data.setup(stage)
    return data


def test_each_row_is_in_one_split_and_predictions_have_the_order_of_the_file(table: Path) -> None:
    data = loaded(table, batch_size=64)
    assert data.event_shape == (3,)
    parts = [rows(data, split) for split in ("train", "val", "test")]
    assert sum(map(len, parts)) == 400 == len(set.union(*parts))
    assert [len(part) / 400 for part in parts] == pytest.approx([0.8, 0.1, 0.1], abs=0.05)
    batches = list(data.predict_dataloader())
    assert torch.equal(torch.cat([batch["row"] for batch in batches]), torch.from_numpy(VALUES))
    assert torch.equal(torch.cat([batch["index"] for batch in batches]), torch.arange(400))
    batch = next(iter(data.train_dataloader()))
    assert (batch["row"].shape, batch["row"].dtype, batch["index"].dtype) == ((64, 3), torch.float32, torch.int64)


def test_the_split_of_a_row_depends_only_on_its_values_and_the_seed(table: Path, tmp_path: Path) -> None:
    data = loaded(table)
    more = np.concatenate([np.random.default_rng(1).standard_normal((50, 3)).astype(np.float32), VALUES[::-1], VALUES])
    other = loaded(write(tmp_path / "more.csv", more, "a,b,c"))
    for split in ("train", "val", "test"):
        assert rows(data, split) <= rows(other, split)
    assert rows(loaded(table, seed=1), "test") != rows(data, "test")
    assert data.split_arguments() == ("seed", "val_fraction", "test_fraction")


def test_moments_are_those_of_the_training_rows(table: Path) -> None:
    data = loaded(table, "fit")
    mean, std = data.moments()
    training = data.dataset("train").batch(torch.arange(data.num_items("train")))["row"].double()
    torch.testing.assert_close(mean, training.mean(0))
    torch.testing.assert_close(std, training.std(0))


def test_a_checkpoint_remembers_the_columns_so_that_other_files_are_read_by_name(table: Path, tmp_path: Path) -> None:
    record = describe(TableDataModule(str(table), drop="b"))["init_args"]
    assert (record["columns"], record["drop"]) == (["a", "c"], None)
    other = write(tmp_path / "other.csv", VALUES[:1, [2, 1, 0]], "c,x,a")
    data = construct(TableDataModule, record | {"path": str(other)})
    data.setup("predict")
    assert data.names == ["a", "c"]
    assert rows(data, "predict") == {tuple(VALUES[0, [0, 2]].tolist())}
    assert describe(data)["init_args"]["columns"] == ["a", "c"]


def test_constant_columns(tmp_path: Path) -> None:
    values = np.concatenate([VALUES[:, :2], np.full((400, 2), 7)], axis=1)
    path = write(tmp_path / "my.csv", values, "a,b,c,d")
    message = r"single value in the training rows \(c, d\).*leave them out with --data\.drop_constant=true"
    with pytest.raises(DataError, match=message):
        loaded(path, "fit")
    data = loaded(path, "fit", drop_constant=True)
    assert (data.names, data.event_shape) == (["a", "b"], (2,))
    assert data.moments()[0].shape == (2,)
    assert next(iter(data.val_dataloader()))["row"].shape[1] == 2
    assert describe(data)["init_args"]["columns"] == ["a", "b"]
    assert loaded(path, "fit", columns=["b", "c"], drop_constant=True).names == ["b"]
    one = loaded(path, "predict", columns=["a", "c"])  # as a model of other data would read it
    assert one.event_shape == (2,)
    told = set()
    for seed in range(10):  # equal rows share a split
        with pytest.raises(DataError) as error:
            TableDataModule(str(path), drop=["a", "b"], drop_constant=True, seed=seed)
        told.add(str(error.value).split(": ")[0].partition("my.csv")[2])
    assert told == {" are constant", " has 400 rows, of which 0 for train (equal rows share a split)"}


@pytest.mark.parametrize("num", [1, 2])
def test_too_few_rows_to_split(num: int, tmp_path: Path) -> None:
    path = write(tmp_path / "my.csv", VALUES[:num], "a,b,c")
    with pytest.raises(DataError, match=rf"has {num} rows?, too few to split into train, val and test"):
        loaded(path, "fit")
    assert loaded(path, "predict").num_items("predict") == num


def test_a_split_that_is_empty_by_chance(tmp_path: Path) -> None:
    path = write(tmp_path / "my.csv", VALUES[:12], "a,b,c")
    seeds = {}
    for seed in range(30):
        try:
            loaded(path, "fit", "test", seed=seed)
        except DataError as error:
            seeds[seed] = str(error)
    assert 0 < len(seeds) < 30
    for message in seeds.values():
        assert re.search(r"has 12 rows, of which 0 for (val|test) .*: use a table with more rows", message)
        loaded(path, "fit", "test", seed=int(message.split("--data.seed=")[1].split(",")[0]))


def test_what_is_told(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    values = np.concatenate([VALUES, np.round(VALUES[:, :1]), 1e6 + VALUES[:, 1:2]], axis=1)
    np.save(tmp_path / "my.npy", values)
    loaded(tmp_path / "my.npy", "fit")
    told = [str(warning.message) for warning in recwarn]
    assert any("float32 hardly resolves the values of column_5: subtract a constant" in line for line in told)
    assert any("the values of column_4 are few integers" in line for line in told)
    recwarn.clear()
    loaded(tmp_path / "my.npy", "fit", columns=["column_1", "column_2"])
    assert not recwarn.list


@pytest.mark.parametrize("fractions", [(-0.1, 0.1), (0.6, 0.5), (float("nan"), 0.1)])
def test_wrong_fractions(fractions: tuple[float, float], table: Path) -> None:
    with pytest.raises(UsageError, match="val_fraction and test_fraction of at least 0, and at most 1 together"):
        TableDataModule(str(table), val_fraction=fractions[0], test_fraction=fractions[1])


def test_text_is_reported_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "my.csv"
    path.write_text("a,label\n1,x\n2,y\n3,x\n")
    with pytest.raises(DataError, match=r"line 2, column 2 \(label\): 'x' is not a number.*--data\.drop=label"):
        loaded(path, "predict")
    assert rows(loaded(path, "predict", drop="label"), "predict") == {(1.0,), (2.0,), (3.0,)}


def test_dequantization_adds_noise_that_is_new_in_each_epoch_and_fixed_in_evaluation(tmp_path: Path) -> None:
    values = VALUES.copy()
    values[:, 1] = np.arange(400) % 5
    path = write(tmp_path / "my.csv", values, "a,b,c")
    data = loaded(path, dequantize="b", batch_size=32)
    exact = loaded(path, batch_size=32)
    torch.testing.assert_close(data.moments()[0] - exact.moments()[0], torch.tensor([0, 0.5, 0]).double())
    torch.testing.assert_close(data.moments()[1] ** 2 - exact.moments()[1] ** 2, torch.tensor([0, 1 / 12, 0]).double())

    def noise(name: str, epoch: int = 0) -> torch.Tensor:
        ours, theirs = (getattr(each, f"{name}_dataloader")() for each in (data, exact))
        if name == "train":
            for each in (ours, theirs):
                each.sampler.set_epoch(epoch)
        found = torch.cat([one["row"] - other["row"] for one, other in zip(ours, theirs, strict=True)])
        assert found[:, [0, 2]].abs().max() == 0
        return found[:, 1]

    positions = exact.dataset("val").positions
    assert torch.equal(noise("val"), noise("predict")[positions])  # that of the row
    for name in ("train", "val", "predict"):
        assert torch.equal(noise(name), noise(name))
        assert 0 <= noise(name).min() < 0.2
        assert 0.8 < noise(name).max() < 1.0001
    assert not torch.equal(noise("train"), noise("train", 1))
    assert torch.equal(torch.from_numpy(values), exact.dataset("predict").batch(torch.arange(400))["row"])  # unchanged
    assert describe(data)["init_args"]["dequantize"] == ["b"]
    with pytest.raises(UsageError, match=r"data\.dequantize names x: choose columns among a, b, c"):
        TableDataModule(str(path), dequantize="x")
    large = values + np.array([0, 2**20, 0])
    with pytest.raises(
        DataError, match=r"to dequantize whose absolute values reach 1,048,576 \(b\), too large for float32"
    ):
        loaded(write(tmp_path / "large.csv", large, "a,b,c"), dequantize="b")
    for sign in (-1, 1):
        path = write(tmp_path / f"{sign}.csv", values + np.array([0, sign * (2**20 - 5), 0]), "a,b,c")
        found, plain = (loaded(path, "predict", dequantize=names).dataset("predict") for names in ("b", None))
        noisy, integers = (each.batch(torch.arange(400))["row"][:, 1] for each in (found, plain))
        assert torch.equal(noisy.floor(), integers)
        assert not torch.equal(noisy, integers)
    with pytest.raises(DataError, match=r"to dequantize whose values are not all integers \(c\): take them out of"):
        loaded(path, dequantize=["b", "c"])
