"""Training and evaluation of flows over images."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from lightning_flows.dequantization import Dequantization, DequantizedFlow, UniformDequantization
from lightning_flows.distributions import DiagonalGaussian
from lightning_flows.errors import ShapeError, check_positive, check_sizes
from lightning_flows.flows import Flow
from lightning_flows.functional.bits import bits_per_dim
from lightning_flows.functional.importance import LikelihoodEstimate
from lightning_flows.functional.philox import streams
from lightning_flows.functional.ranks import num_ranks, rank
from lightning_flows.modules.base import Batch, FlowModule
from lightning_flows.modules.components import PAPER_ADAM, built
from lightning_flows.modules.image_grid import image_grid
from lightning_flows.modules.metrics import MeanAndError
from lightning_flows.modules.schedules import WarmupExponential


class ImageFlowModule(FlowModule):
    r"""Maximize the evidence lower bound of uint8 images.

    Logs, in bits per dimension: ``train/bpd``, ``val/bpd`` (the bound, one noise draw per image), ``test/bpd`` (the
    bound, mean of all draws) and ``test/nll_bpd`` (importance-weighted with ``num_importance_samples`` draws; 0 omits
    it), each test value with its standard error over images; ``test/importance_samples`` is the mean number of draws.
    For flows that estimate log-determinants, ``test`` also logs the uncertainty that this adds to the bound of an
    image, averaged over its draws and then over images: ``test/log_det_error_bpd``, a standard error, and
    ``test/log_det_remainder_bpd``, a bound on the truncated remainder of the series. Each image has its own probes, so
    the errors of the estimates are independent, and the standard error of a mean over images includes them; the
    remainder does not average out.

    A batch is a mapping with ``image`` ``(B, *event_shape)`` in uint8 and ``index`` ``(B,)``. In evaluation the noise
    of an image depends only on its index and the run's seed, and in training on its place in the batch of all devices,
    the step and the seed, so results do not depend on batches or devices.

    Args:
        event_shape: shape (C, H, W) of the images; on the command line that of the data; None takes it from a flow
            passed as an instance.
        flow: flow over real values, as an instance or a function of ``event_shape``, such as a class or a partial.
        dequantization: noise added to integer pixel values, in the same forms.
        optimizer: optimizer of the parameters; the paper's by default.
        lr_scheduler: schedule of the learning rate; the paper's by default, None for a constant rate.
        lr_interval: when the schedule steps; default: its own attribute ``interval``, or else each epoch.
        recompute: keep only the input of each step in training, and compute its activations again in the backward pass:
            much less memory for about a third more time, with the same gradients.
        num_importance_samples: draws per image for ``test/nll_bpd``.
        importance_error: stop drawing for an image at this standard error of its likelihood, in bits per dimension.
        eval_chunk_size: number of images times draws evaluated at once.

    Raises: UsageError for arguments out of range.

    >>> from functools import partial
    >>> from lightning_flows.flows import ConvSylvesterFlow
    >>> flow = partial(ConvSylvesterFlow, num_levels=1, steps_per_level=1, hidden_channels=12)
    >>> module = ImageFlowModule((3, 8, 8), flow).eval()
    >>> batch = {"image": torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8), "index": torch.arange(4)}
    >>> log_prob = module.log_prob(batch)  # the bound, in nats
    >>> module.loss_of(log_prob, batch).shape, module.unit, module.sample(2).dtype
    (torch.Size([4]), 'bpd', torch.uint8)
    """

    unit = "bpd"
    model: DequantizedFlow

    def __init__(
        self,
        event_shape: Sequence[int] | None,
        flow: Callable[[Sequence[int]], Flow],
        dequantization: Callable[[Sequence[int]], Dequantization] = UniformDequantization,
        *,
        optimizer: OptimizerCallable = PAPER_ADAM,
        lr_scheduler: LRSchedulerCallable | None = WarmupExponential,
        lr_interval: Literal["epoch", "step"] | None = None,
        recompute: bool = False,
        num_importance_samples: int = 0,
        importance_error: float | None = None,
        eval_chunk_size: int = 256,
    ) -> None:
        check_sizes(0, num_importance_samples=num_importance_samples)
        check_sizes(eval_chunk_size=eval_chunk_size)
        if importance_error is not None:
            check_positive(importance_error=importance_error)
        made = built(flow, event_shape, Flow)
        if len(made.event_shape) != 3:
            raise ShapeError(
                f"expected images (C, H, W); got a flow of {made.event_shape}: use GraphFlowModule for "
                "graphs, VectorFlowModule for vectors"
            )
        noise = built(dequantization, made.event_shape, Dequantization)
        self.init_args |= {"flow": made, "dequantization": noise}
        model = DequantizedFlow(made, noise).to(memory_format=torch.channels_last)
        if recompute:
            model.recompute = True
        super().__init__(
            model, made.event_shape, optimizer=optimizer, lr_scheduler=lr_scheduler, lr_interval=lr_interval
        )
        self.num_dims = math.prod(self.event_shape)
        self.num_importance_samples, self.importance_error = num_importance_samples, importance_error
        self.eval_chunk_size = eval_chunk_size
        self.test_nll, self.test_draws = MeanAndError(), MeanAndError()
        self.test_log_det_error, self.test_log_det_remainder = MeanAndError(), MeanAndError()

    def forward(self, images: Tensor) -> Tensor:
        """One draw of the bound on log P of uint8 images ``(B, C, H, W)``: ``(B,)`` in nats."""
        return self.model.elbo(images)

    def training_inputs(self, batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        images = batch["image"]
        places = torch.arange(rank(), num_ranks() * len(images), num_ranks(), device=images.device)  # on all ranks
        source = streams(self.seed, f"training noise of step {step}", places)
        return images, self.model.dequantization.draw_noise(len(images), source)

    def training_terms(self, images: Tensor, noise: Tensor) -> dict[str, Tensor]:
        terms = self.model.elbo_terms(images, noise)
        return {"latents": terms.latents, "log_det": terms.log_det, "dequantization": terms.dequantization}

    def log_prob(self, batch: Batch) -> Tensor:
        return self.importance_sample(batch, 1).bound

    def importance_sample(self, batch: Batch, num_draws: int) -> LikelihoodEstimate:
        """Bound and likelihood of the images from ``num_draws`` draws, or fewer with ``importance_error``."""
        error = self.importance_error
        return self.model.importance_sample(
            batch["image"],
            max(1, num_draws),
            noise=streams(self.seed, "evaluation noise", batch["index"], device=batch["image"].device),
            chunk_size=self.eval_chunk_size,
            target_error=None if error is None else error * self.num_dims * math.log(2),
        )

    def loss_of(self, log_prob: Tensor, batch: Batch) -> Tensor:
        return bits_per_dim(log_prob, self.num_dims)

    def values(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The midpoint of each pixel level, and a mask of ones."""
        x = (batch["image"].to(self.model.flow.dtype) + 0.5).contiguous(memory_format=torch.channels_last)
        return x, torch.ones_like(x, dtype=torch.bool)

    def encode(self, batch: Batch, *, dtype: torch.dtype | None = None) -> tuple[Tensor, ...]:
        return self.model.flow.encode(self.values(batch)[0], dtype=dtype)

    def standardize(self, latents: Sequence[Tensor]) -> tuple[Tensor, ...]:
        (*noises, last), base = latents, self.model.flow.base
        return *noises, base.to_noise(last) if isinstance(base, DiagonalGaussian) else last

    def decode(self, latents: Sequence[Tensor], batch: Batch, **options: Any) -> Tensor:
        return self.model.flow.decode(latents, **options)

    def decode_reported(self, latents: Sequence[Tensor], batch: Batch, **options: Any) -> tuple[Tensor, list[Any]]:
        return self.model.flow.decode_reported(latents, **options)

    @torch.no_grad()
    def sample(self, num: int, **options: Any) -> Tensor:
        """Draw images ``(num, C, H, W)`` in uint8; non-finite values are drawn as 0, with a warning."""
        return self.model.sample(num, **options)

    def pixels(self, values: Tensor) -> Tensor:
        """Images in uint8 from real values ``(B, C, H, W)``, as :meth:`DequantizedFlow.sample` rounds them."""
        return values.nan_to_num(0).floor().clamp(0, 255).to(torch.uint8)

    def draw(self, samples: Tensor, scale: int = 1) -> Tensor:
        """Arrange uint8 images ``(num, C, H, W)`` in a square grid; see :func:`image_grid`."""
        return image_grid(samples, scale=scale)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        bound = self.importance_sample(batch, 1).bound
        self.check_finite(bound, batch, "validation")
        self.val_loss.update(self.loss_of(bound, batch))

    def on_validation_epoch_end(self) -> None:
        self.log_loss("val", self.val_loss, prog_bar=True)

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        estimate = self.importance_sample(batch, self.num_importance_samples)
        self.check_finite(estimate.bound, batch, "testing")
        results = {"index": batch["index"], "loss": self.loss_of(estimate.bound, batch)}
        self.test_loss.update(results["loss"])
        if self.num_importance_samples:
            results["nll_bpd"] = self.loss_of(estimate.log_likelihood, batch)
            self.test_nll.update(results["nll_bpd"])
            self.test_draws.update(estimate.num_draws)
        for name, value in zip(("error", "remainder"), estimate.means, strict=False):  # none if exact
            getattr(self, f"test_log_det_{name}").update(-self.loss_of(value, batch))
        return results

    def on_test_epoch_end(self) -> None:
        """Log the bound and, if requested, the likelihood, with their standard errors."""
        self.log_loss("test", self.test_loss, with_error=True)
        if self.num_importance_samples:
            mean, error = self.test_nll.compute()
            self.log_dict({"test/nll_bpd": mean, "test/nll_bpd_standard_error": error})
            self.log("test/importance_samples", self.test_draws.compute()[0])
        for name in ("error", "remainder"):
            metric: MeanAndError = getattr(self, f"test_log_det_{name}")
            if metric.update_called:
                self.log(f"test/log_det_{name}_bpd", metric.compute()[0])

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """The images, their log-likelihood in nats and bpd, from one draw if ``num_importance_samples`` is 0."""
        log_likelihood = self.importance_sample(batch, self.num_importance_samples).log_likelihood
        self.check_finite(log_likelihood, batch, "prediction")
        return {
            "index": batch["index"],
            "image": batch["image"],
            "log_likelihood": log_likelihood,
            "bpd": self.loss_of(log_likelihood, batch),
        }
