import pytest
import torch

from lightning_flows.modules import MixingFlow
from lightning_flows.modules.base import describe
from lightning_flows.transforms.image.mixing import MIXINGS

TINY = {
    "steps_per_level": 1, "width": 4, "depth": 1, "growth": 6, "dequantization_steps": 1,
    "context_channels": 2, "context_depth": 1, "context_growth": 2,
}  # fmt: skip
PAPER = {"conv1x1": 57.2e6, "emerging": 55.8e6, "woodbury": 55.9e6, "conv_exponential": 55.9e6}


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("mixing", MIXINGS)
def test_the_papers_model_has_the_authors_number_of_parameters(mixing):
    with torch.device("meta"):
        module = MixingFlow((3, 32, 32), mixing=mixing)
    assert module.growth_used == (64 if mixing == "conv1x1" else 63)
    assert count(module) == pytest.approx(PAPER[mixing], rel=0.002)


def test_parameters_stay_within_those_of_1x1():
    options = {**TINY, "width": 16, "growth": 60}
    budget = count(MixingFlow((3, 8, 8), mixing="conv1x1", **options))
    module = MixingFlow((3, 8, 8), mixing="conv_exponential", **options)
    assert 30 < module.growth_used < 60
    assert count(module) <= budget
    assert module._num_parameters("conv_exponential", module.growth_used) == count(module)
    assert module._num_parameters("conv_exponential", module.growth_used + 1) > budget
    assert MixingFlow((1, 16, 16), mixing="woodbury", **TINY).growth_used == 3  # too narrow: half


def test_a_checkpoint_keeps_the_growth_that_was_found(monkeypatch, tmp_path):
    options = {**TINY, "width": 16, "growth": 60}
    module = MixingFlow((3, 8, 8), mixing="conv_exponential", **options)
    record = describe(module)
    assert record["init_args"]["growth"] == 60
    assert record["init_args"]["growth_used"] == module.growth_used < 60
    monkeypatch.setattr(MixingFlow, "_num_parameters", lambda *args: pytest.fail("searched again"))
    again = MixingFlow(**record["init_args"])
    assert again.growth_used == module.growth_used
    again.load_state_dict(module.state_dict())
    assert describe(again) == record


@pytest.mark.parametrize("dequantization", ["uniform", "variational"])
@pytest.mark.parametrize("mixing", MIXINGS)
def test_a_step_goes_down(mixing, dequantization):
    module = MixingFlow(
        (1, 8, 8), mixing=mixing, dequantization=dequantization, learning_rate=1e-2, warmup_epochs=1, **TINY
    )
    x = (torch.arange(4 * 64).reshape(4, 1, 8, 8) % 16).to(torch.uint8)
    optimizer = module.configure_optimizers()["optimizer"]
    losses = []
    for _ in range(10):
        loss = module._bits(module(x)).mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0] - 0.2
    assert (module.model.dequantization.__class__.__name__.lower()).startswith(dequantization)
    module.eval()
    assert module.sample(2).shape == (2, 1, 8, 8)
