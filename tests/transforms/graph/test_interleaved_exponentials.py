import pytest
import torch

from lightning_flows.errors import UsageError
from lightning_flows.functional.graphs import Graph
from lightning_flows.transforms import Compose, GraphActNorm, InterleavedExponentials
from tests.transforms.graph.cases import CASES, GRAPHS, build, draw
from tests.transforms.graph.test_exponential import PATH, apply, whole_matrix


def test_it_is_a_composition():
    """Evaluating all layers in one batch equals evaluating them one by one, on any graph."""
    whole, x = build(CASES["interleaved"]), draw(CASES["interleaved"])
    pairs = zip(whole.exponentials, whole.transforms, strict=True)
    parts = Compose([layer for pair in pairs for layer in pair]).eval()
    for graph in GRAPHS.values():
        for ours, theirs in ((whole, parts), (whole.inverse, parts.inverse)):
            for found, expected in zip(ours(x, graph), theirs(x, graph), strict=True):
                torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@torch.no_grad()
def test_between_identities_it_is_the_product_of_the_dense_exponentials_the_first_applied_first():
    layer = InterleavedExponentials(2, [GraphActNorm(2), GraphActNorm(2)], max_neighbors=2).double().eval()
    for exponential in layer.exponentials:
        exponential.weight.normal_()
    x = torch.randn(3, 5, 2, dtype=torch.float64)
    first, second = (whole_matrix(exponential, PATH) for exponential in layer.exponentials)
    product = torch.linalg.matrix_exp(second) @ torch.linalg.matrix_exp(first)
    z, log_det = layer(x, Graph(PATH))
    torch.testing.assert_close(z, apply(product, x), rtol=0, atol=1e-12)
    torch.testing.assert_close(log_det, (first + second).trace().expand(3), rtol=0, atol=1e-12)
    assert (z - apply(torch.linalg.matrix_exp(first) @ torch.linalg.matrix_exp(second), x)).abs().max() > 1e-2


def test_a_training_forward_initializes_layers_from_their_own_inputs():
    """The second layer is initialized on nodes that have passed the first one and both exponentials."""
    layer = InterleavedExponentials(2, [GraphActNorm(2), GraphActNorm(2)], max_neighbors=2).double()
    z, _ = layer(7 + 3 * torch.randn(4, 5, 2, dtype=torch.float64))
    torch.testing.assert_close(z.mean((0, 1)), torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(z.flatten(0, 1).std(0), torch.ones(2, dtype=torch.float64), rtol=0, atol=1e-6)


def test_at_least_one_transform_is_required():
    with pytest.raises(UsageError, match="expected at least one transform; got none"):
        InterleavedExponentials(2, [], max_neighbors=1)
