"""scikit-learn's digits: splits and levels."""

import torch
from sklearn.datasets import load_digits

from lightning_flows.data import DigitsDataModule

NUM = {"train": 1297, "val": 250, "test": 250}


def loaded(**options) -> DigitsDataModule:
    data = DigitsDataModule(**options)
    data.setup("fit")
    data.setup("test")
    return data


def test_splits():
    data, seen = loaded(), []
    assert (data.event_shape, data.num_levels) == ((1, 8, 8), 17)
    for split, num in NUM.items():
        dataset, indices = data.dataset(split), [int(name) for name in data.dataset(split).names]
        assert len(dataset) == num
        assert torch.equal(dataset.images, torch.from_numpy(load_digits().images[indices][:, None]).byte())
        assert dataset.labels.tolist() == load_digits().target[indices].tolist()
        seen += indices
    assert sorted(seen) == list(range(1797))


def test_binary():
    data, gray = loaded(binarization="threshold"), loaded()
    assert data.num_levels == 2
    assert torch.equal(data.dataset("val").images, (gray.dataset("val").images >= 8).byte())
    dynamic = next(iter(loaded(binarization="dynamic", batch_size=1000).train_dataloader()))["image"]
    assert abs(dynamic.float().mean() - gray.dataset("train").images.float().mean() / 16) < 0.01
