"""Flows over vectors: points in the plane, and rows of numeric tables."""

from collections.abc import Sequence

from lightning_flows.errors import ShapeError, check_sizes
from lightning_flows.flows.flow import Flow
from lightning_flows.functional.value_maps import ValueMap
from lightning_flows.nets import MADE, SylvesterFunction
from lightning_flows.nets.made import Activation
from lightning_flows.transforms import (
    Compose,
    GeneralizedSylvester,
    LinearCompose,
    LinearExponential,
    MaskedAutoregressive,
    Standardize,
    Transform,
    VectorActNorm,
    VectorHouseholder,
)


class AutoregressiveFlow(Flow):
    r"""Masked autoregressive layers in alternating order.

    .. math:: z_i = \Phi^{-1}\Big(\sum_k \pi_k\, \Phi\big((x_i - \mu_k)/\sigma_k\big)\Big), \qquad
              (\pi, \mu, \sigma) = \mathrm{net}(x_1, \dots, x_{i-1})_i

    Each layer transforms a value by the distribution function of a mixture of Gaussians that depends on the values
    before it, in even layers, or after it, in odd ones. One layer is a mixture density network for each value.

    Args:
        event_shape: (D,).
        num_layers: number of layers.
        width: hidden units per layer of a net.
        depth: hidden layers of a net after the first.
        value_map: map of a single value: that of a Gaussian mixture, a spline, or affine as in the paper on masked
            autoregressive flows; see :func:`~lightning_flows.functional.value_maps.apply_map`.
        components: number of Gaussians of the mixture, or of bins of the spline.
        activation: of the nets.

    Shapes: x ``(B, D)``.
    Raises: ShapeError for an event_shape other than (D,); UsageError for sizes below 1.
    Source: Papamakarios et al., Masked Autoregressive Flow, 2017; the mixtures as in Ho et al., Flow++, 2019.

    >>> AutoregressiveFlow((2,), num_layers=1, width=8).event_shape
    (2,)
    """

    accepts_context = False

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        num_layers: int = 4,
        width: int = 64,
        depth: int = 1,
        value_map: ValueMap = "mixture",
        components: int = 8,
        activation: Activation = "silu",
    ) -> None:
        size = vector_size(event_shape, num_layers=num_layers)

        def layer(number: int) -> list[Transform]:
            made = MaskedAutoregressive(
                size,
                width,
                depth=depth,
                value_map=value_map,
                components=components,
                activation=activation,
                reverse=number % 2 == 1,
            )
            return [VectorActNorm(size), made]

        layers = [each for k in range(num_layers) for each in layer(k)]
        super().__init__(Compose([Standardize(size), *layers]), event_shape=event_shape)


class SylvesterVectorFlow(Flow):
    r"""Generalized Sylvester layers with a learned basis and a masked autoregressive net.

    .. math:: z = x + W^{-1} f(Wx), \qquad W = \exp(M)\,Q

    Q is a product of reflections, M a dense matrix, and f the function of :class:`SylvesterFunction` of a
    :class:`MADE`.

    Args:
        event_shape: (D,).
        num_layers: number of layers.
        width: hidden units per layer of a net.
        depth: hidden layers of a net after the first.
        exponential_max_norm: largest norm of M.
        gamma: bound on the slope of f, below 1.
        activation: of the nets.

    Shapes: x ``(B, D)``.
    Raises: ShapeError for an event_shape other than (D,); UsageError for sizes below 1.
    Source: section 4 of the paper.

    >>> import torch
    >>> flow = SylvesterVectorFlow((2,), num_layers=2, width=8).eval()
    >>> samples, log_prob = flow.sample_and_log_prob(100)
    >>> torch.allclose(flow(samples), log_prob, atol=1e-4)
    True
    """

    accepts_context = False

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        num_layers: int = 16,
        width: int = 64,
        depth: int = 1,
        exponential_max_norm: float = 0.95,
        gamma: float = 0.9,
        activation: Activation = "silu",
    ) -> None:
        size = vector_size(event_shape, num_layers=num_layers)

        def layer() -> list[Transform]:
            basis = LinearCompose([VectorHouseholder(size), LinearExponential(size, max_norm=exponential_max_norm)])
            net = MADE(size, width, depth=depth, num_outputs=4, activation=activation)
            return [VectorActNorm(size), GeneralizedSylvester(basis, SylvesterFunction(net, gamma=gamma))]

        layers = [each for _ in range(num_layers) for each in layer()]
        super().__init__(Compose([Standardize(size), *layers]), event_shape=event_shape)


def vector_size(event_shape: Sequence[int], **sizes: int) -> int:
    """Return D. Raises: ShapeError for other events, such as images; UsageError for a size below 1."""
    if len(event_shape) != 1:
        raise ShapeError(
            f"expected vectors of shape (D,); got {tuple(event_shape)}: use data of vectors, such as ToyDataModule"
        )
    check_sizes(**sizes)
    return event_shape[0]
