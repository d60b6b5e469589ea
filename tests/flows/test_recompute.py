"""Recomputed steps: the values and gradients of those whose activations are kept, in a fraction of the memory."""

import copy

import pytest
import torch
from torch import Tensor, nn

from lightning_flows.dequantization import DequantizedFlow, UniformDequantization, VariationalDequantization
from lightning_flows.errors import UsageError
from lightning_flows.flows import ConvSylvesterFlow, Flow, ResidualFlow
from lightning_flows.nets import DenseSizes
from lightning_flows.training.measures import bytes_kept
from lightning_flows.transforms import Affine, Compose, ResidualBlock
from tests.flows.cases import FAMILIES, SPLITS, family

SHAPE = (1, 8, 8)


def trained_state(model: nn.Module, x: Tensor, *others: Tensor) -> dict[str, Tensor]:
    """Values, gradients, and all parameters and buffers after a forward and a backward in train mode."""
    torch.manual_seed(0)
    log_prob = model.train()(x, *others)
    log_prob.sum().backward()
    gradients = {f"gradient of {name}": p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {"log_prob": log_prob.detach(), **gradients, **copy.deepcopy(dict(model.state_dict()))}


def assert_recomputed(model: nn.Module, parts: list[nn.Module], x: Tensor, *others: Tensor) -> None:
    plain = trained_state(copy.deepcopy(model), x, *others)
    for part in parts:
        part.recompute = True
        assert part.recompute
    torch.testing.assert_close(trained_state(model, x, *others), plain, rtol=1e-10, atol=1e-10)


def reinitialized(flow: Flow) -> Flow:
    """The same weights, with ActNorms that the next training forward initializes."""
    for name, buffer in flow.named_buffers():
        if name.endswith("initialized"):
            buffer.fill_(False)
    return flow


@pytest.mark.parametrize("name", FAMILIES)
def test_values_gradients_and_states_of_each_family(name: str) -> None:
    flow, x = family(name)
    assert_recomputed(flow, [flow], x)
    flow, x = family(name)
    assert_recomputed(reinitialized(flow), [flow], x)


@pytest.mark.parametrize("gradient", ["neumann", "autograd"])
def test_estimated_log_determinants_draw_the_same_numbers(gradient: str) -> None:
    flow = ResidualFlow(SHAPE, gradient=gradient, **SPLITS | {"steps_per_level": 2}).double()
    for block in (module for module in flow.modules() if isinstance(module, ResidualBlock)):
        block.exact_dims = 0
    assert_recomputed(flow, [flow], 256 * torch.rand(3, *SHAPE, dtype=torch.float64))


def test_dequantization_and_bound() -> None:
    net = DenseSizes(4, 1, 2)
    noise = VariationalDequantization(SHAPE, num_steps=2, net=net, context=net, mixing="conv_exponential")
    model = DequantizedFlow(ConvSylvesterFlow(SHAPE, **SPLITS), noise).double()
    for parameter in model.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    x = torch.randint(256, (3, *SHAPE), dtype=torch.uint8)
    assert_recomputed(model, [model.flow, noise], x)


def test_uniform_noise_has_nothing_to_recompute() -> None:
    noise = UniformDequantization(SHAPE)
    noise.recompute = True
    assert not noise.recompute


def test_two_forwards_then_one_backward() -> None:
    """Power iterations have moved on when the first forward is recomputed."""
    flow, x = family("sylvester")
    found = []
    for recompute in (False, True):
        model = copy.deepcopy(flow).train()
        model.recompute = recompute
        for _ in range(2):
            loss = model(x).sum() * model(x + 1).sum()
        loss.backward()
        found.append([p.grad for p in model.parameters()])
    torch.testing.assert_close(found[1], found[0], rtol=1e-10, atol=1e-10)


def kept(steps: int, width: int, batch: int, *, recompute: bool) -> int:
    flow = ConvSylvesterFlow(SHAPE, **SPLITS | {"steps_per_level": steps, "hidden_channels": width}).train()
    flow.recompute = recompute
    x = 256 * torch.rand(batch, *SHAPE)
    flow(x).sum().backward()
    graphs: list[Tensor] = []
    replaced = sum(buffer.nbytes for name, buffer in flow.named_buffers() if name.endswith("vector"))
    return bytes_kept(lambda: graphs.append(flow(x)), lambda: [*flow.parameters(), *flow.buffers(), x]) - replaced


@pytest.mark.parametrize(("batch", "width"), [(4, 6), (16, 6), (4, 32)])
def test_a_step_keeps_one_image(batch: int, width: int) -> None:
    image = 4 * batch * 64
    deep, shallow = (kept(steps, width, batch, recompute=True) for steps in (6, 2))
    assert deep - shallow <= 4 * 2 * image
    assert deep <= 0.1 * kept(6, width, batch, recompute=False)


def test_only_training_recomputes() -> None:
    flow, x = family("sylvester")
    flow.recompute = True
    flow.eval()
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        flow(x)
        assert len(kept) > 100
        with torch.no_grad():
            flow.train()(x)
    assert flow.levels[0].recompute.verified == set()


def test_weights_and_copies_are_independent_of_it() -> None:
    flow, x = family("sylvester")
    names = flow.state_dict().keys()
    flow.recompute = True
    other = copy.deepcopy(flow)
    flow.recompute = False
    assert other.recompute
    assert not flow.recompute
    assert other.state_dict().keys() == names
    assert_recomputed(flow, [flow], x)


class Noisy(Affine):
    """An affine map whose shift comes from its own generator."""

    def __init__(self) -> None:
        super().__init__(shift=0.0, scale=1.0)
        self.weight, self.generator = nn.Parameter(torch.ones(())), torch.Generator().manual_seed(0)

    def forward(self, x: Tensor, context: object = None) -> tuple[Tensor, Tensor]:
        z, log_det = super().forward(self.weight * x)
        return z + torch.randn(x.shape, generator=self.generator), log_det


def test_a_layer_with_its_own_generator_is_named() -> None:
    flow = ConvSylvesterFlow(SHAPE, **SPLITS)
    flow.levels[1].transforms[1] = Compose([*flow.levels[1].transforms[1].transforms, Noisy()])
    flow.recompute = True
    loss = flow.train()(256 * torch.rand(3, *SHAPE)).sum()
    with pytest.raises(UsageError, match=r"^levels\.1\.transforms\.1\.transforms\.3 \(Noisy\) returns a different"):
        loss.backward()


@pytest.mark.parametrize("name", ["sylvester", "residual"])
def test_a_compiled_graph_recomputes(name: str) -> None:
    flow, x = family(name)
    plain = trained_state(copy.deepcopy(flow), x)
    flow.recompute = True
    torch.compiler.reset()
    flow.compile(backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(trained_state(flow, x), plain, rtol=1e-10, atol=1e-10)
