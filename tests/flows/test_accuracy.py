"""Decoding has the accuracy that is asked for, compared with exact decoding in float64."""

import copy
import warnings

import pytest
import torch
from torch import Tensor

from lightning_flows.errors import UsageError
from lightning_flows.flows import ConvSylvesterFlow, Flow, GlowFlow, ResidualFlow
from lightning_flows.nets import DenseSizes, SylvesterFunction
from tests.flows.cases import family
from tests.transforms.cases import perturb

SIZES = {"num_levels": 2, "steps_per_level": 2, "split": DenseSizes(4, 1, 3)}
SEEDS = pytest.mark.parametrize("seed", [0, 1, 2])
SOLVERS = pytest.mark.parametrize("direct", [True, False], ids=["direct", "plain"])


@pytest.fixture(autouse=True)
def _solver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the direct solver, as if on a GPU."""
    if not request.node.callspec.params.get("direct", True) if hasattr(request.node, "callspec") else False:
        monkeypatch.delattr(SylvesterFunction, "bind_with_solver")


def steep(kind: type[Flow] = ConvSylvesterFlow, seed: int = 0, noise: float = 0.3) -> Flow:
    torch.manual_seed(seed)
    flow = kind((3, 8, 8), hidden_channels=12, **SIZES).double()  # type: ignore[call-arg]
    return perturb(flow, 256 * torch.rand(8, 3, 8, 8, dtype=torch.float64), noise=noise)


def latents_of(flow: Flow, num: int = 6) -> tuple[Tensor, ...]:
    return flow.sample_latents(num, generator=torch.Generator().manual_seed(1))


def iterations(flow: Flow, latents: tuple[Tensor, ...], accuracy: float | str) -> float:
    return torch.stack([each.iterations for each in flow.decode_reported(latents, accuracy=accuracy)[1]]).sum().item()


@SOLVERS
@SEEDS
@torch.no_grad()
def test_any_accuracy_holds_in_float64(seed: int, direct: bool) -> None:
    flow = steep(seed=seed)
    latents = latents_of(flow)
    exact, reports = flow.decode_reported(latents, accuracy="exact")
    assert direct or max(report.iterations.max() for report in reports) >= 10
    for accuracy in (1.0, 1e-2, 1e-4, 1e-6, 1e-8):
        assert (flow.decode(latents, accuracy=accuracy) - exact).abs().max() <= accuracy
    assert (flow.decode(latents) - exact).abs().max() <= flow.default_accuracy == 0.01


@SEEDS
@torch.no_grad()
def test_any_accuracy_holds_for_residual_blocks(seed: int) -> None:
    flow = steep(ResidualFlow, seed=seed, noise=0.5)
    latents = latents_of(flow)
    exact, reports = flow.decode_reported(latents, accuracy="exact")
    assert max(report.iterations.max() for report in reports) >= 10
    for accuracy in (1.0, 1e-2, 1e-5, 1e-8):
        assert (flow.decode(latents, accuracy=accuracy) - exact).abs().max() <= accuracy


@SOLVERS
@SEEDS
@torch.no_grad()
def test_the_default_accuracy_holds_in_float32(seed: int, direct: bool) -> None:
    exact = steep(seed=seed)
    flow = copy.deepcopy(exact).float()
    latents = latents_of(flow)
    error = (flow.decode(latents) - exact.decode([z.double() for z in latents], accuracy="exact")).abs().max()
    assert error <= 0.01


@torch.no_grad()
@pytest.mark.parametrize("direct", [False])
def test_a_coarser_accuracy_takes_fewer_iterations(direct: bool) -> None:
    flow = steep()
    latents = latents_of(flow)
    found = [iterations(flow, latents, accuracy) for accuracy in (1.0, 1e-4, 1e-8, "exact")]
    assert found == sorted(set(found))
    assert found[0] < 0.7 * found[-1]


@SOLVERS
@torch.no_grad()
def test_samples_do_not_depend_on_their_batch(direct: bool) -> None:
    flow = steep()
    latents = tuple(z * torch.tensor([0.01, 0.5, 1, 1, 1, 3])[:, None, None, None] for z in latents_of(flow))
    together = flow.decode(latents, accuracy=1e-3)
    for i in range(6):
        torch.testing.assert_close(
            flow.decode([z[i : i + 1] for z in latents], accuracy=1e-3)[0], together[i], rtol=0, atol=1e-9
        )


@SOLVERS
@torch.no_grad()
def test_warns_if_round_off_prevents_the_accuracy(direct: bool) -> None:
    exact = steep(noise=0.6)
    flow = copy.deepcopy(exact).float()
    latents = latents_of(flow)
    error = (flow.decode(latents) - exact.decode([z.double() for z in latents], accuracy="exact")).abs().max().item()
    assert error > 1e-4
    with pytest.warns(UserWarning, match=r"in float32 has an error .* above the accuracy of 0.0001: choose .*float64"):
        flow.decode(latents, accuracy=1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        flow.decode(latents, accuracy=1e4 * error)
        flow.decode(latents)
        flow.decode(latents, accuracy=1e-4, dtype=torch.float64)


@pytest.mark.parametrize("accuracy", [0.0, -1.0, float("nan"), float("inf"), True, "fine"])
def test_other_accuracies_are_refused(accuracy: float | str) -> None:
    flow, x = family("sylvester")
    with pytest.raises(UsageError, match="expected an accuracy above 0, in units of the data, or exact; got"):
        flow.decode(flow.encode(x), accuracy=accuracy)  # type: ignore[arg-type]


def test_an_accuracy_below_the_spacing_of_float32_is_refused() -> None:
    flow = family("sylvester")[0].float()
    with pytest.raises(UsageError, match=r"float32 cannot represent values up to 256 .* choose at least 3.1e-05, or"):
        flow.sample(2, accuracy=3e-5)
    flow.sample(2, accuracy=3.1e-5)


@SOLVERS
def test_a_gradient_passes_through_all_passes(direct: bool) -> None:
    flow = steep()
    *noises, last = latents_of(flow, 2)
    grads = []
    for accuracy in (1e-6, "exact"):
        z = last.detach().clone().requires_grad_()
        flow.decode([*noises, z], accuracy=accuracy).square().sum().backward()
        grads.append(z.grad)
    torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_flows_without_iterations_ignore_it() -> None:
    flow = perturb(GlowFlow((3, 8, 8), num_levels=2, steps_per_level=1), 256 * torch.rand(4, 3, 8, 8))
    latents = latents_of(flow)
    assert torch.equal(flow.decode(latents, accuracy=0.1), flow.decode(latents, accuracy="exact"))
    assert flow.decode_reported(latents)[1] == []
    assert family("gnf")[0].default_accuracy == "exact"
