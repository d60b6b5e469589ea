"""GraphMoGDataModule: batches, densities, new graphs in training, exact evaluation on several ranks, errors."""

import math
from itertools import chain

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import distributed
from torch.utils.data import DistributedSampler

from lightning_flows.data import FlowDataModule, GraphMoGDataModule
from lightning_flows.distributions.graph_mixture import GraphMixture
from lightning_flows.errors import DataError, ShapeError, UsageError
from tests.small_modules import Seen
from tests.versions import WEIGHTS_ONLY

MEANS = [[0.0, 0.0], [9.0, 0.0], [0.0, 12.0]]
PATH = [[0, 1, 0], [1, 0, 1], [0, 1, 0]]


def small(**kwargs) -> GraphMoGDataModule:
    options = {"batch_size": 4, "eval_batch_size": 5, "steps_per_epoch": 3, "num_val": 7, "num_test": 11}
    return GraphMoGDataModule(**options | kwargs)


def prepared(**kwargs) -> GraphMoGDataModule:
    data = small(**kwargs)
    data.prepare_data()
    for stage in ("fit", "test", "predict"):
        data.setup(stage)
    return data


def fake_ranks(monkeypatch, *, rank: int, num_ranks: int) -> None:
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda *group: num_ranks)
    monkeypatch.setattr(distributed, "get_rank", lambda *group: rank)


def nodes(loader) -> list[tuple[float, ...]]:
    """All graphs of a loader, as tuples that can be compared."""
    return [tuple(graph.flatten().tolist()) for batch in loader for graph in batch["nodes"]]


@pytest.mark.parametrize(
    ("mixture", "shape"), [("mog4", (4, 2)), ("mog9", (9, 2)), ("mog16", (16, 2)), ("mog_ring", (4, 2))]
)
def test_shape_and_mixture_are_known_before_setup(mixture, shape):
    data = GraphMoGDataModule(mixture=mixture)
    assert isinstance(data, FlowDataModule)
    assert data.event_shape == shape
    assert data.graph_mixture.num_means == shape[0]
    with pytest.raises(RuntimeError, match=r"the predict split is not loaded: call setup\('predict'\) first"):
        data.predict_dataloader()


@pytest.mark.parametrize("sizes", [None, [1, 3]])
@pytest.mark.parametrize("adjacency", [None, PATH])
def test_batches(sizes, adjacency):
    data = prepared(means=MEANS, sizes=sizes, adjacency=adjacency)
    keys = {"nodes": torch.float32, "index": torch.int64}
    shapes = {"nodes": (3, 2), "index": (), "mask": (3,), "adjacency": (3, 3), "true_log_prob": ()}
    if sizes:
        keys["mask"] = torch.bool
    if adjacency:
        keys["adjacency"] = torch.float32
    for split in ("train", "val", "test", "predict"):
        batches = list(getattr(data, f"{split}_dataloader")())
        expected = keys if split == "train" else keys | {"true_log_prob": torch.float64}
        lengths = {"train": [4, 4, 4], "val": [5, 2], "test": [5, 5, 1], "predict": [5, 5, 1]}[split]
        assert [len(batch["index"]) for batch in batches] == lengths
        assert list(chain(*[batch["index"].tolist() for batch in batches])) == list(range(sum(lengths)))
        for batch, length in zip(batches, lengths, strict=True):
            assert {key: tensor.dtype for key, tensor in batch.items()} == expected
            assert {key: tensor.shape for key, tensor in batch.items()} == {k: (length, *shapes[k]) for k in expected}


@pytest.mark.parametrize("options", [{"sizes": [2, 3]}, {"adjacency": PATH}])
def test_other_graphs_have_no_known_mixture(options):
    """Its entropy is that of graphs of all means, and samples are complete graphs."""
    assert small(means=MEANS).graph_mixture is not None
    assert small(means=MEANS, **options).graph_mixture is None


@pytest.mark.parametrize("max_angle", [0.0, 1.0])
@pytest.mark.parametrize("sizes", [None, [2, 3]])
def test_true_log_prob(sizes, max_angle):
    data = prepared(means=MEANS, max_angle=max_angle, sizes=sizes, num_test=20)
    dataset, seen, mixture = data.dataset("test"), set(), GraphMixture(MEANS, max_angle=max_angle)
    for item in map(dataset.__getitem__, range(20)):
        graph = item["nodes"][item["mask"]] if sizes else item["nodes"]
        seen.add(len(graph))
        expected = mixture.log_prob(graph.unsqueeze(0)).item()
        assert item["true_log_prob"].item() == pytest.approx(expected, abs=1e-12)
    assert seen == set(sizes or [3])


def test_no_graph_is_repeated(monkeypatch):
    seen = []
    for rank in range(2):
        fake_ranks(monkeypatch, rank=rank, num_ranks=2)
        data = prepared(num_val=11)
        for epoch in range(3):
            loader = data.train_dataloader()
            assert len(loader) == 3
            assert isinstance(loader.sampler, DistributedSampler)
            loader.sampler.set_epoch(epoch)
            seen += nodes(loader)
    monkeypatch.undo()
    data = prepared(num_val=11)
    assert set(nodes(data.train_dataloader())) < set(seen)  # a single rank has the same first graphs
    assert nodes(data.predict_dataloader()) == nodes(data.test_dataloader())
    seen += nodes(data.val_dataloader()) + nodes(data.test_dataloader())
    assert len(seen) == len(set(seen)) == 2 * 3 * 3 * 4 + 11 + 11


def test_seeds():
    first, again, other = prepared(seed=3), prepared(seed=3), prepared(seed=4)
    for split in ("train", "val", "test"):
        graphs = [nodes(getattr(data, f"{split}_dataloader")()) for data in (first, again, other)]
        assert graphs[0] == graphs[1]
        assert not set(graphs[0]) & set(graphs[2])


@pytest.mark.parametrize("split", ["val", "test", "predict"])
def test_evaluation_on_three_ranks_sees_each_graph_once(monkeypatch, split):
    data, seen = prepared(), []
    for rank in range(3):
        fake_ranks(monkeypatch, rank=rank, num_ranks=3)
        loader = getattr(data, f"{split}_dataloader")()
        seen += [index for batch in loader for index in batch["index"].tolist()]
    assert sorted(seen) == list(range(7 if split == "val" else 11))


def test_more_ranks_than_graphs(monkeypatch):
    data = prepared()
    fake_ranks(monkeypatch, rank=0, num_ranks=8)
    with pytest.raises(DataError, match="the val split has 7 items for 8 processes: use fewer devices"):
        data.val_dataloader()


@pytest.mark.parametrize(
    ("stage", "splits"), [("fit", ["val"]), ("validate", ["val"]), ("test", ["test"]), ("predict", ["test"])]
)
def test_a_stage_draws_only_its_splits_and_only_once(stage, splits):
    data = small()
    data.setup(stage)
    datasets = [data.dataset(split) for split in splits]
    data.setup(stage)
    assert [data.dataset(split) for split in splits] == datasets
    for split in {"val", "test"} - set(splits):
        with pytest.raises(RuntimeError, match=f"the {split} split is not loaded: call setup"):
            data.dataset(split)


def trainer(max_epochs: int, *callbacks: ModelCheckpoint) -> Trainer:
    return Trainer(
        max_epochs=max_epochs,
        accelerator="cpu",
        logger=False,
        callbacks=list(callbacks),
        enable_checkpointing=bool(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def test_the_trainer_receives_new_graphs():
    model, data, runner = Seen(), small(), trainer(2)
    runner.fit(model, data)
    assert model.seen["train"] == list(range(2 * 3 * 4))
    assert model.seen["val"] == list(range(7)) * 2
    runner.test(model, data, verbose=False)
    runner.predict(model, data, return_predictions=False)
    assert model.seen["test"] == model.seen["predict"] == list(range(11))
    assert list(data.predict_names()) == [str(i) for i in range(11)]
    assert len(nodes(data.train_dataloader())) == 12  # a whole epoch, without the trainer


def test_a_resumed_run_repeats_no_graph(tmp_path):
    """It may be stopped after the first step, within an epoch, or at its end."""
    every_step = ModelCheckpoint(
        tmp_path, filename="{step}", auto_insert_metric_name=False, every_n_train_steps=1, save_top_k=-1
    )
    trainer(2, every_step).fit(Seen(), small())
    for step in range(1, 7):
        model = Seen()
        trainer(4).fit(model, small(), ckpt_path=tmp_path / f"{step}.ckpt", **WEIGHTS_ONLY)
        assert model.seen["train"] == list(range(4 * step, 4 * 3 * 4)), step


def test_hyperparameters_rebuild_it():
    data = small(means=MEANS, max_angle=0.5, sizes=[2, 3], adjacency=PATH, seed=5)
    assert dict(data.hparams) == {
        "mixture": "mog4", "means": MEANS, "max_angle": 0.5, "sizes": [2, 3], "adjacency": PATH, "batch_size": 4,
        "eval_batch_size": 5, "steps_per_epoch": 3, "num_val": 7, "num_test": 11, "seed": 5,
        "num_workers": 0, "worker_timeout": 300.0,
    }  # fmt: skip
    again = GraphMoGDataModule(**data.hparams)
    again.setup("fit")
    data.setup("fit")
    assert nodes(again.train_dataloader()) == nodes(data.train_dataloader())


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"batch_size": 0}, UsageError, "expected batch_size of at least 1; got 0"),
        ({"eval_batch_size": 0}, UsageError, "expected eval_batch_size of at least 1; got 0"),
        ({"steps_per_epoch": 0}, UsageError, "expected steps_per_epoch of at least 1; got 0"),
        ({"steps_per_epoch": None}, UsageError, "expected an integer for steps_per_epoch; got None"),
        ({"batch_size": None}, UsageError, "expected an integer for batch_size; got None"),
        ({"num_val": 0}, UsageError, "expected num_val of at least 1; got 0"),
        ({"num_test": -1}, UsageError, "expected num_test of at least 1; got -1"),
        ({"mixture": "mog5"}, DataError, "expected a mixture among mog4, .*; got 'mog5'"),
        ({"max_angle": 1.0}, UsageError, "expected a max_angle only with means; got 1.0 for mog4: set means as well"),
        ({"means": []}, ShapeError, r"expected means of shape \(M, 2\)"),
        ({"means": [[1.0], [2.0]]}, ShapeError, r"expected means of shape \(M, 2\) .*; got \(2, 1\)"),
        ({"means": [[math.nan, 0.0]]}, DataError, "expected finite means"),
        ({"means": MEANS, "max_angle": -1.0}, DataError, "expected a max_angle of at least 0 radians; got -1.0"),
        ({"sizes": [4, 5]}, UsageError, r"expected sizes from 1 to 4, the number of means; got \[4, 5\]"),
        ({"sizes": []}, UsageError, r"expected sizes from 1 to 4, the number of means; got \[\]"),
        ({"adjacency": PATH}, ShapeError, "expected an adjacency of 4 rows of 4, one per mean; got 3 rows"),
        ({"means": MEANS, "adjacency": [[1, 0, 0], *PATH[1:]]}, ShapeError, "symmetric"),
    ],
)
def test_wrong_arguments(kwargs, error, message):
    with pytest.raises(error, match=message):
        small(**kwargs)
