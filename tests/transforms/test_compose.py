"""Compositions that change after their construction."""

import torch

from lightning_flows.transforms import Compose, Invert, LinearExponential, Reversal


def test_a_transform_that_is_appended_to_a_composition_counts():
    composition = Compose([Reversal(2)])
    whole = Compose([Invert(composition), Reversal(2)])
    assert whole.volume_preserving
    composition.transforms.append(exponential := LinearExponential(2))
    torch.nn.init.normal_(next(exponential.parameters()))
    x, expected = torch.randn(3, 2), exponential(torch.zeros(3, 2))[1]
    assert expected.abs().min() > 0
    torch.testing.assert_close(composition(x)[1], expected)
    torch.testing.assert_close(whole(x)[1], -expected)


def test_a_transform_may_occur_twice():
    twice = Compose([layer := LinearExponential(2), Reversal(2), layer]).eval()
    torch.nn.init.normal_(next(layer.parameters()))
    x = torch.randn(3, 2)
    z, log_det = twice(x)
    torch.testing.assert_close(log_det, 2 * layer(x)[1])
    torch.testing.assert_close(twice.inverse(z)[0], x)
