import pytest
import torch

from lightning_flows.errors import ShapeError, UsageError
from lightning_flows.functional.graphs import Graph
from lightning_flows.transforms import Reshape

LAYER = Reshape([2, 3], (6, 1, 1))


def test_values_keep_their_row_major_order():
    x = torch.arange(24.0, dtype=torch.float64).reshape(4, 3, 2).mT  # not contiguous
    z, log_det = LAYER(x)
    assert z.flatten(1).tolist() == [[a for row in graph for a in row] for graph in x.tolist()]
    assert z.shape[1:] == LAYER.output_shape((2, 3)) == (6, 1, 1)
    back, inverse_log_det = LAYER.inverse(z)
    assert torch.equal(back, x)
    for values in (log_det, inverse_log_det):
        assert torch.equal(values, torch.zeros(4, dtype=torch.float64))


def test_an_empty_batch_is_accepted():
    z, log_det = LAYER(torch.zeros(0, 2, 3))
    assert (z.shape, log_det.shape) == ((0, 6, 1, 1), (0,))


def test_shapes_of_other_numbers_of_values():
    with pytest.raises(UsageError, match=r"expected shapes of equal size; got \(2, 3\) and \(5,\)"):
        Reshape([2, 3], [5])


def test_other_events():
    """Also with the same number of values: the order of nodes and features matters."""
    for function, expected, shape in ((LAYER.forward, (2, 3), (3, 2)), (LAYER.inverse, (6, 1, 1), (6, 1))):
        with pytest.raises(ShapeError) as info:
            function(torch.zeros(4, *shape))
        assert str(info.value) == f"Reshape: expected shape {('B', *expected)}; got {(4, *shape)}".replace("'", "")
        with pytest.raises(TypeError, match="expected a floating tensor"):
            function(torch.zeros(4, *expected, dtype=torch.long))


def test_padding_is_refused_but_edges_are_ignored():
    x, mask = torch.randn(4, 2, 3), torch.ones(4, 2, dtype=torch.bool)
    for function, value in ((LAYER.forward, x), (LAYER.inverse, x.reshape(4, 6, 1, 1))):
        with pytest.raises(ShapeError, match="expected graphs of one size"):
            function(value, Graph(None, mask))
        assert torch.equal(function(value, Graph(torch.zeros(2, 2)))[0], function(value)[0])
