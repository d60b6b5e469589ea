import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, nn

from lightning_flows.transforms import ActNorm, Compose
from tests.process_group import run_two


def batch(seed: int = 0, size: int = 6) -> Tensor:
    """Channels of different mean and scale."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(size, 4, 3, 5, generator=generator)
    return x * torch.tensor([0.1, 1.0, 5.0, 30.0])[:, None, None] + torch.tensor([3.0, -1.0, 0.0, 100.0])[:, None, None]


@torch.no_grad()
def test_first_training_batch_is_normalized():
    layer = ActNorm(4)
    z, _ = layer(batch())
    assert z.mean((0, 2, 3)).abs().max() < 1e-5
    torch.testing.assert_close(z.std((0, 2, 3)), torch.ones(4), rtol=1e-4, atol=0)
    before = copy.deepcopy(layer.state_dict())
    layer(batch(1))
    layer.inverse(batch(1))
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


@torch.no_grad()
def test_eval_mode_and_inverses_never_initialize_it():
    layer = ActNorm(4).eval()
    assert torch.equal(layer(batch())[0], batch())
    layer.train().inverse(batch())
    assert not layer.initialized
    layer(batch())
    assert layer.initialized


@torch.no_grad()
def test_a_loaded_layer_is_not_initialized_again():
    layer, loaded = Compose([ActNorm(4)]), Compose([ActNorm(4)])
    layer(batch())
    loaded.load_state_dict(layer.state_dict())
    for twin in (loaded, copy.deepcopy(layer)):
        assert torch.equal(twin.train()(batch(1))[0], layer(batch(1))[0])


@torch.no_grad()
def test_a_constant_channel_stays_finite():
    x = batch()
    x[:, 1] = 7
    layer = ActNorm(4)
    z, log_det = layer(x)
    assert z.isfinite().all()
    assert log_det.isfinite().all()
    assert layer(x + 1)[0].isfinite().all()


def run_rank(rank: int, folder: Path) -> None:
    layer = ActNorm(4)
    with torch.no_grad():
        layer(batch()[:2] if rank == 0 else batch()[2:])  # uneven batches
    torch.save(layer.state_dict(), folder / f"{rank}.pt")


@pytest.mark.skipif(not distributed.is_available(), reason="torch was built without distributed")
def test_moments_are_computed_over_all_ranks(tmp_path: Path):
    run_two(run_rank, tmp_path)
    alone = ActNorm(4)
    with torch.no_grad():
        alone(batch())
    for rank in range(2):
        state = torch.load(tmp_path / f"{rank}.pt")
        for name, value in alone.state_dict().items():
            torch.testing.assert_close(state[name], value, rtol=1e-5, atol=1e-5)


def test_the_initialization_keeps_no_graph():
    layer = ActNorm(4)
    z, log_det = layer(batch().requires_grad_())
    (z.sum() + log_det.sum()).backward()
    assert all(isinstance(parameter, nn.Parameter) and parameter.is_leaf for parameter in layer.parameters())


@torch.no_grad()
def test_a_batch_of_one_value_keeps_its_scale():
    layer, x = ActNorm(4), batch()[:1, :, :1, :1]
    z, log_det = layer(x)
    assert not z.any()
    assert log_det.item() == 0
    assert torch.equal(layer(x + 1)[0], (x + 1) - x)


@torch.no_grad()
def test_a_constant_channel_keeps_its_scale_and_others_do_not():
    for constant in (7.0, 0.1, 12345.678, 0.0):
        x, layer = batch(), ActNorm(4)
        x[:, 1] = constant
        layer(x)
        assert layer.log_scale[1] == 0
        assert (layer.log_scale[[0, 2, 3]].abs() > 0.5).all()


@torch.no_grad()
@pytest.mark.parametrize("kind", ["average", "in_place", "assign", "copied"])
def test_a_layer_whose_state_is_filled_in_place_is_not_initialized_again(kind):
    """Weight averaging and distributed checkpoints fill buffers in place."""
    layer = ActNorm(4)
    layer(batch())
    if kind == "average":
        twin = torch.optim.swa_utils.AveragedModel(ActNorm(4), use_buffers=True)
        twin.update_parameters(layer)
    elif kind == "in_place":
        twin = ActNorm(4)
        for name, value in twin.state_dict().items():
            value.copy_(layer.state_dict()[name])
    elif kind == "assign":
        twin = ActNorm(4)
        twin.load_state_dict(layer.state_dict(), assign=True)
    else:
        twin = copy.deepcopy(layer)
    assert torch.equal(twin.train()(batch(1))[0], layer(batch(1))[0])
    assert torch.equal(twin(batch(2))[0], layer(batch(2))[0])


@torch.no_grad()
@pytest.mark.parametrize("kind", ["in_place", "assign", "load"])
def test_a_fresh_state_is_initialized_by_the_next_batch(kind):
    layer, fresh = ActNorm(4), ActNorm(4).state_dict()
    layer(batch())
    layer(batch(1))
    if kind == "in_place":
        for name, value in layer.state_dict().items():
            value.copy_(fresh[name])
    else:
        layer.load_state_dict(fresh, assign=kind == "assign")
    z, _ = layer(batch(2))
    assert z.mean((0, 2, 3)).abs().max() < 1e-5
    assert layer.initialized


@torch.no_grad()
def test_the_flag_is_not_read_once_it_is_set(monkeypatch):
    layer = ActNorm(4)
    layer(batch())
    monkeypatch.setattr(Tensor, "__bool__", lambda self: pytest.fail("a wait for the device"))
    layer(batch(1))
