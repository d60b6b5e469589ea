import pytest
import torch

from lightning_flows.testing.jacobian import log_abs_dets
from lightning_flows.transforms import Sigmoid


def test_values_and_log_det():
    x = 3 * torch.randn(4, 2, 3, dtype=torch.float64)
    z, log_det = Sigmoid()(x)
    torch.testing.assert_close(z, torch.sigmoid(x))
    expected = log_abs_dets(lambda value: Sigmoid()(value)[0], x)
    torch.testing.assert_close(log_det, expected, rtol=0, atol=1e-8)
    back, inverse_log_det = Sigmoid().inverse(z)
    torch.testing.assert_close(back, x, rtol=1e-9, atol=1e-9)
    expected = log_abs_dets(lambda value: Sigmoid().inverse(value)[0], z)
    torch.testing.assert_close(inverse_log_det, expected, rtol=0, atol=1e-8)
    torch.testing.assert_close(inverse_log_det, -log_det, rtol=0, atol=1e-8)


def test_log_det_of_large_values_is_finite():
    _, log_det = Sigmoid()(torch.tensor([[200.0], [-200.0]]))
    torch.testing.assert_close(log_det, torch.tensor([-200.0, -200.0]))


def test_integers_are_refused():
    with pytest.raises(TypeError, match=r"expected a floating tensor; got torch\.int64"):
        Sigmoid()(torch.zeros(1, 1, dtype=torch.long))
    with pytest.raises(TypeError, match="expected a floating tensor"):
        Sigmoid().inverse(torch.zeros(1, 1, dtype=torch.long))


def test_events_of_a_single_value_without_dimensions():
    x = torch.randn(3)
    torch.testing.assert_close(Sigmoid()(x)[1], Sigmoid()(x[:, None])[1])
