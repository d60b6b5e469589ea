"""ImageDataModule: stages, loaders, exact evaluation on several ranks, hyperparameters."""

import gc
import multiprocessing
import os
import signal
from itertools import chain

import pytest
import torch
from lightning.pytorch import Trainer
from torch import distributed
from torch.utils.data import DistributedSampler, SequentialSampler

from lightning_flows.data import ImageDataModule
from lightning_flows.data.datasets import ImageDataset
from lightning_flows.data.datasets.samplers import TrainingItems
from lightning_flows.data.loader import TimedLoader
from lightning_flows.errors import DataError, UsageError
from tests.small_modules import Seen

NUM = {"train": 20, "val": 7, "test": 11}


class Numbers(ImageDataModule):
    """Images that show their own number, and a record of the splits that were loaded."""

    def __init__(self, *, empty: str = "", **kwargs) -> None:
        super().__init__(**kwargs)
        self.loaded: list[str] = []

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return 3, 32, 32

    def load_split(self, split: str) -> ImageDataset:
        self.loaded.append(split)
        num = 0 if split == self.hparams["empty"] else NUM[split]
        images = torch.arange(num, dtype=torch.uint8).view(-1, 1, 1, 1).expand(num, 3, 32, 32)
        return ImageDataset(images, torch.arange(num), names=[f"{split}/{i}" for i in range(num)])


def flat(lists: list[list[int]]) -> list[int]:
    return list(chain.from_iterable(lists))


def indices(loader) -> list[list[int]]:
    return [batch["index"].tolist() for batch in loader]


def fake_ranks(monkeypatch, *, rank: int, num_ranks: int) -> None:
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda *group: num_ranks)
    monkeypatch.setattr(distributed, "get_rank", lambda *group: rank)


@pytest.mark.parametrize(
    ("stage", "splits"),
    [("fit", ["train", "val"]), ("validate", ["val"]), ("test", ["test"]), ("predict", ["test"])],
)
def test_a_stage_loads_only_its_splits_and_only_once(stage, splits):
    data = Numbers()
    data.prepare_data()
    assert data.loaded == []
    data.setup(stage)
    data.setup(stage)
    assert data.loaded == splits
    for split in {"train", "val", "test"} - set(splits):
        with pytest.raises(RuntimeError, match=f"the {split} split is not loaded: call setup"):
            data.dataset(split)


def test_the_trainer_runs_all_stages():
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    trainer = Trainer(max_epochs=1, num_sanity_val_steps=0, enable_model_summary=False, **options)
    model, data = Seen(), Numbers(batch_size=4, eval_batch_size=3)
    trainer.fit(model, data)
    trainer.test(model, data, verbose=False)
    trainer.predict(model, data, return_predictions=False)
    assert data.loaded == ["train", "val", "test"]
    assert sorted(model.seen["train"]) == list(range(20))
    assert model.seen["val"] == list(range(7))
    assert model.seen["test"] == model.seen["predict"] == list(range(11))


def test_training_batches_are_shuffled_and_full():
    data = Numbers(batch_size=8)
    data.setup("fit")
    batches = indices(data.train_dataloader())
    assert [len(batch) for batch in batches] == [8, 8]
    assert flat(batches) != sorted(flat(batches))
    assert indices(data.train_dataloader()) == batches  # the same epoch again


@pytest.mark.parametrize(
    ("batch_size", "num_ranks", "drop_last"),
    [(10, 1, True), (11, 1, False), (100, 1, False), (10, 2, False), (5, 2, True)],
)
def test_small_training_sets_are_not_dropped(monkeypatch, batch_size, num_ranks, drop_last):
    fake_ranks(monkeypatch, rank=0, num_ranks=num_ranks)
    data = Numbers(batch_size=batch_size)
    data.setup("fit")
    loader = data.train_dataloader()
    sizes = [len(batch) for batch in indices(loader)]
    share = -(-20 // num_ranks)
    assert sum(sizes) == (share // batch_size * batch_size if drop_last else share)
    assert len(loader) == len(sizes)


@pytest.mark.parametrize(("eval_batch_size", "sizes"), [(None, [4, 3]), (6, [6, 1])])
def test_evaluation_is_in_order_and_complete(eval_batch_size, sizes):
    data = Numbers(batch_size=4, eval_batch_size=eval_batch_size)
    data.setup("validate")
    batches = indices(data.val_dataloader())
    assert [len(batch) for batch in batches] == sizes
    assert flat(batches) == list(range(7))
    assert isinstance(data.val_dataloader().sampler, SequentialSampler)


@pytest.mark.parametrize(("stage", "split"), [("validate", "val"), ("test", "test"), ("predict", "test")])
def test_evaluation_on_three_ranks_sees_each_image_once(monkeypatch, stage, split):
    data, seen = Numbers(batch_size=2), []
    data.setup(stage)
    for rank in range(3):
        fake_ranks(monkeypatch, rank=rank, num_ranks=3)
        loader = getattr(data, f"{'val' if stage == 'validate' else stage}_dataloader")()
        assert isinstance(loader.sampler, DistributedSampler)
        seen.append(flat(indices(loader)))
    assert sorted(flat(seen)) == list(range(NUM[split]))
    assert max(map(len, seen)) - min(map(len, seen)) == 1


def test_more_ranks_than_images(monkeypatch):
    data = Numbers()
    data.setup("validate")
    fake_ranks(monkeypatch, rank=0, num_ranks=8)
    with pytest.raises(DataError, match="the val split has 7 items for 8 processes: use fewer devices"):
        data.val_dataloader()


def test_number_of_items():
    data = Numbers()
    with pytest.raises(RuntimeError, match=r"the test split is not loaded: call setup\('test'\) first"):
        data.num_items("test")
    data.setup("test")
    assert data.num_items("test") == 11


def test_names_of_predictions():
    data = Numbers()
    with pytest.raises(RuntimeError, match=r"the predict split is not loaded: call setup\('predict'\) first"):
        data.predict_names()
    data.setup("predict")
    assert data.predict_names() == [f"test/{i}" for i in range(11)]


@pytest.mark.parametrize(("stage", "split"), [("fit", "train"), ("fit", "val"), ("test", "test")])
def test_an_empty_split_is_refused(stage, split):
    with pytest.raises(DataError, match=f"Numbers has no items in its {split} split"):
        Numbers(empty=split).setup(stage)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"batch_size": 0}, "expected batch_size of at least 1; got 0"),
        ({"eval_batch_size": 0}, "expected eval_batch_size of at least 1; got 0"),
        ({"num_workers": -1}, "expected num_workers from 0 to 256; got -1"),
        ({"num_workers": 100_000}, "expected num_workers from 0 to 256; got 100000"),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(UsageError, match=message):
        Numbers(**kwargs)


@pytest.mark.parametrize("worker_timeout", [-1, float("nan"), float("inf")])
def test_bad_timeout(worker_timeout):
    with pytest.raises(UsageError, match="expected a worker_timeout of 0"):
        Numbers(worker_timeout=worker_timeout)


def test_workers_within_the_timeout_continue():
    data = Numbers(num_workers=2, batch_size=2, worker_timeout=60)
    data.setup("validate")
    loader = data.val_dataloader()
    assert flat(indices(loader)) == flat(indices(loader)) == list(range(7))
    del loader
    gc.collect()  # its workers exit now, not during another test


def test_an_unresponsive_worker_ends_the_run_and_is_killed():
    data = Numbers(num_workers=1, batch_size=1)
    data.setup("validate")
    others, loader = set(multiprocessing.active_children()), data.val_dataloader()
    batches = iter(loader)
    next(batches)
    (worker,) = set(multiprocessing.active_children()) - others
    os.kill(worker.pid, signal.SIGSTOP)
    loader.worker_timeout = 0.3  # starting a worker may take longer
    with pytest.raises(DataError, match=r"DataLoader timed out after 0.3 seconds: use fewer --data"):
        list(batches)
    worker.join(timeout=30)
    assert not worker.is_alive()


def test_other_errors_of_workers_are_unchanged():
    loader = TimedLoader([{}], worker_timeout=60)
    with pytest.raises(ZeroDivisionError):
        loader._next(1 / zero for zero in [0])


def test_no_argument_determines_the_splits():
    assert Numbers().split_arguments() == ()


def test_workers_persist_and_memory_is_only_pinned_for_accelerators():
    data = Numbers()
    data.setup("fit")
    assert not data.train_dataloader().persistent_workers
    assert data.train_dataloader().pin_memory is torch.cuda.is_available()
    data = Numbers(num_workers=1, batch_size=8)
    data.setup("fit")
    assert data.train_dataloader().persistent_workers
    assert data.train_dataloader().num_workers == 1


def test_hyperparameters_rebuild_it():
    data = Numbers(batch_size=5, seed=3, augment=False)
    assert dict(data.hparams) == {
        "batch_size": 5, "eval_batch_size": None, "num_workers": 0, "seed": 3, "augment": False, "empty": "",
        "worker_timeout": 300.0, "binarization": "none", "binarization_seed": 0, "shift": None,
        "downsample": 1, "steps_per_epoch": None,
    }  # fmt: skip
    assert dict(Numbers(**data.hparams).hparams) == dict(data.hparams)


class Ramps(ImageDataModule):
    """Images of 64x32 pixels whose channels are 4 times the row and 8 times the column."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return 2, 64, 32

    def load_split(self, split: str) -> ImageDataset:
        rows, columns = 4 * torch.arange(64)[:, None].expand(64, 32), 8 * torch.arange(32).expand(64, 32)
        return ImageDataset(torch.stack([rows, columns]).byte().expand(5, -1, -1, -1))


def ramps(**options) -> Ramps:
    data = Ramps(**options)
    data.setup("fit")
    return data


def trained_on(data: ImageDataModule, numbers: range | list[int], seed: int = 0) -> torch.Tensor:
    return TrainingItems(data.dataset("train"), seed=seed).__getitems__(list(numbers))["image"]


@pytest.mark.parametrize(("shift", "expected"), [(None, (3, 1)), (0, (0, 0)), (2, (2, 2))])
def test_training_images_are_flipped_and_shifted_with_edge_pixels(shift, expected):
    data, seen = ramps(shift=shift), {}
    for image in trained_on(data, range(1000)):
        rows, columns = image[0, :, 0].int() // 4, image[1, 0].int() // 8
        flipped = bool(columns[-1] < columns[0])
        columns = columns.flip(0) if flipped else columns
        down, right = int(rows[32]) - 32, int(columns[16]) - 16
        assert torch.equal(rows, (torch.arange(64) + down).clamp(0, 63).int())  # edges repeat
        assert torch.equal(columns, (torch.arange(32) + right).clamp(0, 31).int())
        seen[flipped, down, right] = seen.get((flipped, down, right), 0) + 1
    each = len(seen)
    assert set(seen) == {
        (flipped, down, right)
        for flipped in (False, True)
        for down in range(-expected[0], expected[0] + 1)
        for right in range(-expected[1], expected[1] + 1)
    }
    assert max(seen.values()) < 1000 / each + 6 * (1000 / each) ** 0.5 < 1000  # all equally likely


def test_an_augmentation_depends_on_seed_epoch_and_image_alone():
    data = ramps(shift=2)
    images = trained_on(data, range(10))
    assert torch.equal(trained_on(data, [7, 3]), images[[7, 3]])
    assert not torch.equal(trained_on(data, range(10), seed=1), images)
    assert not torch.equal(images[:5], images[5:])
    state = torch.get_rng_state()
    trained_on(data, range(10))
    assert torch.equal(torch.get_rng_state(), state)


def test_images_are_only_augmented_in_training():
    data, plain = ramps(shift=2), ramps(augment=False)
    assert torch.equal(data.dataset("val").images, plain.dataset("val").images)
    assert torch.equal(data.dataset("train")[3]["image"], plain.dataset("train")[3]["image"])
    assert torch.equal(trained_on(plain, [3])[0], plain.dataset("train")[3]["image"])


@pytest.mark.parametrize("size", [2, 4, 8])
def test_images_are_averaged_over_squares_after_augmentation(size):
    full, data = ramps(shift=3), ramps(shift=3, downsample=size)
    assert data.event_shape == (2, 64 // size, 32 // size)

    def expected(images: torch.Tensor) -> torch.Tensor:
        return (torch.nn.functional.avg_pool2d(images.double(), size) + 0.5).floor().byte()  # one half up

    assert torch.equal(trained_on(data, range(20)), expected(trained_on(full, range(20))))
    for split in ("train", "val"):
        images = expected(full.dataset(split).images)
        assert torch.equal(data.dataset(split).images, images)
        assert torch.equal(data.dataset(split)[2]["image"], images[2])


def test_squares_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match="images of 64x32 pixels do not divide into squares of 3x3"):
        Ramps(downsample=3).event_shape  # noqa: B018
    with pytest.raises(UsageError, match="expected downsample of at least 1; got 0"):
        Ramps(downsample=0)
    with pytest.raises(UsageError, match="expected shift of at least 0; got -1"):
        Ramps(shift=-1)
    with pytest.warns(UserWarning, match=r"--data\.shift has no effect without augmentation"):
        Ramps(augment=False, shift=2).setup("fit")


def test_averaged_images_are_binarized():
    data = ramps(augment=False, downsample=2, binarization="threshold")
    gray = ramps(augment=False, downsample=2)
    assert torch.equal(data.dataset("train").images, (gray.dataset("train").images >= 128).byte())
    dynamic = ramps(downsample=2, binarization="dynamic")
    assert trained_on(dynamic, range(5)).shape == (5, 2, 32, 16)
    assert trained_on(dynamic, range(5)).unique().tolist() == [0, 1]
    with pytest.raises(UsageError, match="binarization=fixed is once per image, before augmentation"):
        Ramps(downsample=2, binarization="fixed")


class Inverted(ImageDataset):
    """Changes items, as a user may."""

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        item = super().__getitem__(index)
        return item | {"image": 255 - item["image"]}


def test_items_of_a_dataset_of_ones_own_are_augmented(monkeypatch):
    load = Ramps.load_split
    expected = trained_on(ramps(shift=2), range(6))
    monkeypatch.setattr(Ramps, "load_split", lambda data, split: Inverted(load(data, split).images))
    data = ramps(shift=2)
    assert torch.equal(trained_on(data, range(6)), 255 - expected)
    assert torch.equal(data.dataset("train")[1]["image"], 255 - data.dataset("train").images[1])


def test_binary_images_are_augmented():
    data, plain = ramps(shift=2, binarization="threshold"), ramps(binarization="threshold", augment=False)
    assert torch.equal(data.dataset("train").images, plain.dataset("train").images)
    assert not torch.equal(trained_on(data, range(5)), trained_on(plain, range(5)))
    assert trained_on(data, range(5)).unique().tolist() == [0, 1]


def epochs(**options) -> list[torch.Tensor]:
    """Two epochs of training images, in the order of their indices."""
    data = Numbers(batch_size=4, augment=False, **options)
    data.setup("fit")
    loader, found = data.train_dataloader(), []
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        index, images = (torch.cat([batch[key] for batch in loader]) for key in ("index", "image"))
        found.append(images[index.argsort()])
    return found


def test_binarization_of_splits(monkeypatch):
    monkeypatch.setattr(Numbers, "stored_levels", 21)
    assert Numbers().num_levels == 21
    assert Numbers(binarization="fixed").num_levels == 2
    for how, equal in (("threshold", True), ("fixed", True), ("dynamic", False)):
        first, second = epochs(binarization=how)
        assert first.unique().tolist() == [0, 1]
        assert torch.equal(first, second) == equal, how
        assert torch.equal(epochs(binarization=how)[1], second)  # reproducible
    data = [
        Numbers(binarization=how, binarization_seed=seed) for how, seed in (("fixed", 0), ("dynamic", 0), ("fixed", 1))
    ]
    for each in data:
        each.setup("fit")
        each.setup("validate")  # binarizes nothing twice
    fixed, dynamic, other = (each.dataset("val").images for each in data)
    assert torch.equal(fixed, dynamic)
    assert not torch.equal(fixed, other)


def test_binary_images_are_not_binarized(monkeypatch):
    monkeypatch.setattr(Numbers, "stored_levels", 2)
    assert Numbers().num_levels == 2
    with pytest.raises(UsageError, match="the images of Numbers are binary already: omit binarization"):
        Numbers(binarization="threshold")


@pytest.mark.parametrize("binarization", ["Dynamic", None, True])
def test_an_unknown_binarization_is_refused(binarization: object) -> None:
    with pytest.raises(UsageError, match="expected a binarization of none, threshold, fixed, dynamic; got "):
        Numbers(binarization=binarization)


@pytest.mark.parametrize("binarization", ["threshold", "fixed", "dynamic"])
def test_a_transform_is_not_binarized(binarization: str) -> None:
    class Transformed(Numbers):
        def load_split(self, split: str) -> ImageDataset:
            return ImageDataset(super().load_split(split).images, transform=lambda image: 255 - image)

    Transformed().setup("fit")
    with pytest.raises(UsageError, match=f"binarization={binarization} comes before a transform of the train split"):
        Transformed(binarization=binarization, augment=False).setup("fit")
