"""The base class of dequantizations."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from lightning_flows.errors import InputTypeError, ShapeError
from lightning_flows.functional.philox import Streams
from lightning_flows.functional.recorded import Recorded

Source = torch.Generator | Streams | None
"""Source of noise: a generator for all images of a batch, a stream for each, or None for torch's global generator."""


class Dequantization(Recorded, nn.Module, ABC):
    r"""Noise q(u | x) on [0, 1) that turns a density of x + u into a bound on the probability of x.

    .. math:: \log P(x) \ge \mathbb E_{u\sim q(u\mid x)}\big[\log p(x + u) - \log q(u\mid x)\big]

    A draw consists of :meth:`context`, once per image; :meth:`draw_noise`, which does not depend on the image; and
    :meth:`transform`, once per draw.

    Args:
        event_shape: shape (C, H, W) of the images.

    Shapes: x uint8 ``(B, C, H, W)``, u of the same shape in [0, 1); log q ``(B,)`` in nats.
    Raises: InputTypeError, ShapeError for images of a different dtype or shape.

    >>> from lightning_flows.dequantization import UniformDequantization
    >>> x = torch.randint(256, (2, 3, 8, 8), dtype=torch.uint8)
    >>> u, log_q = UniformDequantization((3, 8, 8)).sample(x)
    >>> torch.equal((x + u).floor(), x.float()), log_q
    (True, tensor([0., 0.]))
    """

    noise_kind: ClassVar[Literal["uniform", "normal"]] = "uniform"
    """Distribution of the noise that is transformed: uniform on [0, 1) or standard normal."""
    noise_dtype: torch.dtype | None = None
    """Dtype of the noise; None for torch's default."""

    def __init__(self, event_shape: Sequence[int]) -> None:
        super().__init__()
        self.event_shape = self.noise_shape = tuple(event_shape)

    @property
    def recompute(self) -> bool:
        """Whether nets and steps keep only their input in training, as in :class:`Flow`; False if there are none."""
        return False

    @recompute.setter
    def recompute(self, value: bool) -> None:
        pass

    def context(self, x: Tensor) -> Tensor | None:
        """Encode uint8 images x ``(B, C, H, W)`` for q; None if q does not depend on them."""
        return None

    def draw_noise(self, num: int, generator: Source = None, *, device: torch.device | None = None) -> Tensor:
        """Draw noise ``(num, *noise_shape)`` on the generator's device, by default on ``device``.

        With a stream per image, the noise of an image does not depend on the others in its batch.
        """
        if isinstance(generator, Streams):
            if generator.size != num:
                raise ValueError(f"expected one stream per image; got {generator.size} for {num}")
            return getattr(generator, self.noise_kind)(self.noise_shape, self.noise_dtype)
        draw = torch.rand if self.noise_kind == "uniform" else torch.randn
        device = device if generator is None else generator.device
        return draw(num, *self.noise_shape, generator=generator, device=device, dtype=self.noise_dtype)

    @abstractmethod
    def transform(self, noise: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map noise to u ``(B, C, H, W)`` in [0, 1), with log q(u | x) ``(B,)`` in nats."""

    def sample(self, x: Tensor, *, generator: Source = None) -> tuple[Tensor, Tensor]:
        """Draw u ``(B, C, H, W)`` in [0, 1) for uint8 images x, with log q(u | x) ``(B,)`` in nats."""
        self.check(x)
        noise = self.draw_noise(len(x), generator, device=x.device).to(x.device)
        return self.transform(noise, self.context(x))

    def check(self, x: Tensor) -> None:
        """Raise InputTypeError or ShapeError unless x are uint8 images ``(B, C, H, W)``."""
        if x.dtype != torch.uint8:
            raise InputTypeError(f"expected uint8 images; got {x.dtype}")
        if x.shape[1:] != self.event_shape:
            raise ShapeError(f"expected images of shape {self.event_shape}; got {tuple(x.shape[1:])}")

    def extra_repr(self) -> str:
        return str(self.event_shape)
