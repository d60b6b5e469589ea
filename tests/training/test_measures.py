"""Tests of measures."""

import torch
from torch import Tensor

from lightning_flows.training.measures import bytes_kept


def product(x: Tensor, y: Tensor) -> None:
    (x * y).sum().backward()


def test_a_product_keeps_both_factors_each_once() -> None:
    x, y = torch.ones(100, requires_grad=True), torch.ones(50, requires_grad=True)
    assert bytes_kept(lambda: product(x.view(2, 50), y.expand(2, 50)), lambda: []) == 4 * (100 + 50)
    assert bytes_kept(lambda: product(x.view(2, 50), y.expand(2, 50)), lambda: [x]) == 4 * 50


def test_bytes_are_the_peak_over_several_backward_passes() -> None:
    x = torch.ones(100, requires_grad=True)

    def twice() -> None:
        product(x.exp(), x)
        product(x.exp(), x)

    assert bytes_kept(twice, lambda: [x]) == 4 * 100


def test_a_buffer_that_is_replaced_does_not_count() -> None:
    module = torch.nn.BatchNorm1d(1)
    module.running_mean = torch.zeros(100)

    def replace() -> Tensor:
        module.running_mean = torch.ones(100)
        return torch.ones(100, requires_grad=True) * module.running_mean

    assert bytes_kept(replace, lambda: list(module.buffers())) == 0
    assert bytes_kept(replace, lambda: []) == 4 * 100


def test_tensors_in_the_place_of_freed_buffers_count() -> None:
    own = [torch.zeros(1000) for _ in range(10)]

    def replace() -> list[Tensor]:
        own.clear()
        return [torch.ones(1000, requires_grad=True).square() for _ in range(50)]  # some of them in their place

    assert bytes_kept(replace, lambda: own) == 50 * 4 * 1000
