import copy

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from lightning_flows.nets import LipschitzConvNet
from lightning_flows.transforms import ResidualBlock
from lightning_flows.transforms.traced_log_det import num_random_terms
from tests.transforms.cases import perturb


def loss(block: ResidualBlock, x: Tensor) -> Tensor:
    z, log_det = block(x)
    return (z.square().flatten(1).sum(1) / 2 - log_det).mean()


@pytest.mark.parametrize("exact_dims", [64, 1], ids=["exact", "roulette"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_training_compiles_to_one_graph_for_any_number_of_terms(exact_dims: int, layout: torch.memory_format) -> None:
    torch.compiler.reset()
    x = torch.randn(4, 2, 4, 3, dtype=torch.float64).contiguous(memory_format=layout)
    block = ResidualBlock(LipschitzConvNet((2, 4, 3), 4), exact_dims=exact_dims).double()
    block = perturb(block, x, noise=0.2).train()
    twin, counter = copy.deepcopy(block), CompileCounterWithBackend("aot_eager")
    compiled, values = torch.compile(loss, fullgraph=True, backend=counter), set()
    for seed in range(6):
        gradients = []
        for model, function in ((block, compiled), (twin, loss)):
            torch.manual_seed(seed)
            value = function(model, x)
            gradients.append((value, *torch.autograd.grad(value, list(model.parameters()))))
        torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-11)
        values.add(round(gradients[0][0].item(), 6))
    assert counter.frame_count == 1
    assert (len(values) > 1) == (exact_dims == 1)  # several numbers of terms


def test_the_number_of_terms_is_geometric() -> None:
    counts = torch.stack([num_random_terms(0.25) for _ in range(4000)])
    assert counts.min() == 1
    assert counts.double().mean() == pytest.approx(4, abs=0.25)
    assert (counts == 1).double().mean() == pytest.approx(0.25, abs=0.03)
