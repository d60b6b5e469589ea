"""The layer of the Convolutional Sylvester Flow."""

from collections.abc import Sequence

from lightning_flows.functional.shapes import image_shape
from lightning_flows.nets.masked_conv import AutoregressiveConvNet
from lightning_flows.nets.sylvester import SylvesterFunction
from lightning_flows.transforms.image.conv1x1 import Householder
from lightning_flows.transforms.image.conv_exponential import ConvExponential
from lightning_flows.transforms.linear import LinearCompose
from lightning_flows.transforms.sylvester import GeneralizedSylvester


class ConvSylvester(GeneralizedSylvester):
    r"""One layer of the Convolutional Sylvester Flow: the generalized Sylvester flow with W = exp(M) Q.

    .. math:: z = x + Q^T\big((-m) \star_e f(m \star_e Qx)\big)

    M is a convolution whose norm is at most ``exponential_max_norm``, Q a product of C Householder reflections over
    the channels, f the function of section 4.1 with masked convolutions of ``hidden_channels``, each normalized to
    ``net_max_norm``. Shapes: x, z ``(B, *event_shape)`` with event_shape (C, H, W). Source: section 4.2.

    >>> import torch
    >>> layer = ConvSylvester((3, 8, 8), hidden_channels=24).eval()
    >>> x = torch.randn(2, 3, 8, 8)
    >>> z, log_det = layer(x)
    >>> torch.allclose(layer.inverse(z)[0], x, atol=1e-4), log_det.shape
    (True, torch.Size([2]))
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        hidden_channels: int,
        *,
        exponential_max_norm: float = 0.95,
        net_max_norm: float | None = 1.5,
        gamma: float = 0.5,
        max_iter: int = 200,
    ) -> None:
        channels, *_ = image_shape(event_shape)
        basis = LinearCompose([Householder(channels), ConvExponential(event_shape, max_norm=exponential_max_norm)])
        net = AutoregressiveConvNet(event_shape, hidden_channels, max_norm=net_max_norm)
        super().__init__(basis, SylvesterFunction(net, gamma=gamma), max_iter=max_iter)
