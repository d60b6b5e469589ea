"""Training and evaluation of variational autoencoders of images."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from lightning_flows.errors import ShapeError, check_sizes
from lightning_flows.functional.bits import bits_per_dim
from lightning_flows.functional.importance import LikelihoodEstimate
from lightning_flows.functional.philox import streams
from lightning_flows.functional.ranks import num_ranks, rank, sum_over_ranks
from lightning_flows.modules.base import Batch, FlowModule
from lightning_flows.modules.components import VAE_ADAMAX
from lightning_flows.modules.image_grid import image_grid
from lightning_flows.modules.metrics import MeanAndError
from lightning_flows.modules.monitored import is_due
from lightning_flows.nets.gated_conv import GatedConvSizes
from lightning_flows.posteriors import DiagonalPosterior, Posterior
from lightning_flows.vae import VAE


class VAEModule(FlowModule):
    r"""Maximize the evidence lower bound of a variational autoencoder of uint8 images.

    In training, the KL term of epoch e = 0, 1, … is weighted by :math:`\min(1, (e + 1)/w)`.

    Logs the negative bound and its KL term, with one draw per image in training and validation, in bits per dimension
    if the images have more than two levels (``…/bpd``), and in nats per image if they are binary (``…/nll``):
    ``train/bpd`` (weighted), ``train/kl``, ``val/bpd``, ``val/kl``, ``test/bpd``, ``test/kl``, and the
    importance-weighted ``test/nll_bpd`` or ``test/nll_nats`` with ``num_importance_samples`` draws (0 omits it). The
    test values have standard errors over images.

    A batch is a mapping with ``image`` ``(B, *event_shape)`` in uint8, whose levels are 0 to ``num_levels`` − 1, and
    ``index`` ``(B,)``. In evaluation the noise of an image depends only on its index and the run's seed, and in
    training on its place in the batch of all devices, the step and the seed.

    Args:
        event_shape: shape (C, H, W) of the images; on the command line that of the data.
        num_levels: number of levels of the images; on the command line that of the data.
        posterior: posterior, as an instance or a function of ``latent_size`` and ``context_features``, such as a class
            or a partial.
        latent_size: number of latents.
        sizes: sizes of encoder and decoder.
        kl_warmup_epochs: w, epochs in which the weight of the KL term rises; 0 for none.
        optimizer: optimizer of the parameters; that of van den Berg et al. by default.
        lr_scheduler: schedule of the learning rate; None for a constant rate.
        lr_interval: when the schedule steps; default: its own attribute ``interval``, or else each epoch.
        num_importance_samples: draws per image for the likelihood in tests and predictions.
        eval_chunk_size: number of images times draws evaluated at once.

    Raises: UsageError for arguments out of range; ShapeError for data other than images.

    >>> from lightning_flows.nets.gated_conv import GatedConvSizes
    >>> sizes = GatedConvSizes(width=4, features=8, hidden=8)
    >>> module = VAEModule((1, 8, 8), 2, latent_size=3, sizes=sizes).eval()
    >>> batch = {"image": torch.randint(2, (4, 1, 8, 8), dtype=torch.uint8), "index": torch.arange(4)}
    >>> module.log_prob(batch).shape, module.encode(batch)[0].shape, module.unit
    (torch.Size([4]), torch.Size([4, 3]), 'nll')
    """

    is_invertible = False
    model: VAE

    def __init__(
        self,
        event_shape: Sequence[int],
        num_levels: int,
        posterior: Callable[[int, int], Posterior] = DiagonalPosterior,
        *,
        latent_size: int = 64,
        sizes: GatedConvSizes | None = None,
        kl_warmup_epochs: int = 100,
        optimizer: OptimizerCallable = VAE_ADAMAX,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_interval: Literal["epoch", "step"] | None = None,
        num_importance_samples: int = 0,
        eval_chunk_size: int = 100,
    ) -> None:
        check_sizes(0, num_importance_samples=num_importance_samples, kl_warmup_epochs=kl_warmup_epochs)
        check_sizes(eval_chunk_size=eval_chunk_size)
        if len(event_shape or ()) != 3 or num_levels is None:
            raise ShapeError(f"expected images of shape (C, H, W); got {event_shape}: use data of images")
        model = VAE(event_shape, num_levels, posterior, latent_size=latent_size, sizes=sizes)
        self.unit = "nll" if num_levels == 2 else "bpd"
        self.init_args |= {"posterior": model.posterior}
        super().__init__(
            model.to(memory_format=torch.channels_last),
            model.event_shape,
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            lr_interval=lr_interval,
        )
        self.num_levels, self.kl_warmup_epochs = num_levels, kl_warmup_epochs
        self.num_dims = math.prod(self.event_shape)
        self.num_importance_samples, self.eval_chunk_size = num_importance_samples, eval_chunk_size
        self.val_kl, self.test_kl, self.test_nll = MeanAndError(), MeanAndError(), MeanAndError()
        self.logged += ["val/kl", "train/kl"]

    def forward(self, images: Tensor) -> Tensor:
        """One draw of the bound on log P of uint8 images ``(B, C, H, W)``: ``(B,)`` in nats."""
        bound: Tensor = self.model(images)
        return bound

    @property
    def kl_weight(self) -> float:
        """Weight of the KL term in training in the current epoch."""
        return min(1.0, (self.current_epoch + 1) / max(1, self.kl_warmup_epochs))

    def training_inputs(self, batch: Batch, step: int) -> tuple[Tensor, ...]:
        images = batch["image"]
        places = torch.arange(rank(), num_ranks() * len(images), num_ranks(), device=images.device)  # on all ranks
        source = streams(self.seed, f"training noise of step {step}", places)
        noise = source.normal((self.model.latent_size,), self.model.dtype)
        return images, noise, torch.full((), self.kl_weight, device=images.device, dtype=self.model.dtype)

    def training_terms(self, images: Tensor, noise: Tensor, weight: Tensor) -> dict[str, Tensor]:
        terms = self.model.elbo_terms(images, noise)
        return {"likelihood": terms.log_likelihood, "kl": -weight * terms.kl}

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Also log the KL term without its weight."""
        output, trainer = super().training_step(batch, batch_idx), self.attached
        if trainer is not None and is_due(trainer):
            kl = sum_over_ranks(self.loss_of(output["terms"]["kl"], batch).mean()) / num_ranks() / self.kl_weight
            self.log("train/kl", kl, batch_size=self.batch_size_of(batch))
        return output

    def log_prob(self, batch: Batch) -> Tensor:
        return self.importance_sample(batch, 1).bound

    def importance_sample(self, batch: Batch, num_draws: int) -> LikelihoodEstimate:
        """Bound and likelihood of the images from ``num_draws`` draws, at least one."""
        return self.model.importance_sample(
            batch["image"],
            max(1, num_draws),
            noise=streams(self.seed, "evaluation noise", batch["index"], device=batch["image"].device),
            chunk_size=self.eval_chunk_size,
        )

    def loss_of(self, log_prob: Tensor, batch: Batch) -> Tensor:
        return -log_prob if self.unit == "nll" else bits_per_dim(log_prob, self.num_dims)

    def values(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The levels as floating-point numbers, and a mask of ones."""
        x = batch["image"].to(self.model.dtype)
        return x, torch.ones_like(x, dtype=torch.bool)

    @torch.no_grad()
    def encode(self, batch: Batch, *, dtype: torch.dtype | None = None) -> tuple[Tensor, ...]:
        """Latents ``(B, D)`` drawn from the posterior."""
        source = streams(self.seed, "evaluation noise", batch["index"], device=batch["image"].device)
        return (self.model.latents(batch["image"], source.normal((self.model.latent_size,), self.model.dtype)),)

    @torch.no_grad()
    def decode(self, latents: Sequence[Tensor], batch: Batch, **options: Any) -> Tensor:
        """Expected levels ``(B, C, H, W)`` given latents ``(B, D)``."""
        return self.model.decode(latents[0])

    def decode_reported(self, latents: Sequence[Tensor], batch: Batch, **options: Any) -> tuple[Tensor, list[Any]]:
        return self.decode(latents, batch, **options), []

    def sample(self, num: int, **options: Any) -> Tensor:
        """Draw images ``(num, C, H, W)`` as expected levels; for options see :meth:`VAE.sample`."""
        options.pop("accuracy", None)  # of iterative inverses: a VAE has none
        return self.model.sample(num, **options)

    def pixels(self, values: Tensor) -> Tensor:
        """Images in uint8 that show levels ``(B, C, H, W)`` or their expected values; the highest level is 255."""
        return (values * (255 / (self.num_levels - 1))).nan_to_num(0).round().clamp(0, 255).to(torch.uint8)

    def draw(self, samples: Tensor, scale: int = 1) -> Tensor:
        """Arrange images ``(num, C, H, W)`` in a square grid; see :func:`image_grid`."""
        return image_grid(self.pixels(samples), scale=scale)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        estimate = self.importance_sample(batch, 1)
        self.check_finite(estimate.bound, batch, "validation")
        self.val_loss.update(self.loss_of(estimate.bound, batch))
        self.val_kl.update(-self.loss_of(estimate.means[0], batch))

    def on_validation_epoch_end(self) -> None:
        self.log_loss("val", self.val_loss, prog_bar=True)
        self.log("val/kl", self.val_kl.compute()[0])

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        estimate = self.importance_sample(batch, self.num_importance_samples)
        self.check_finite(estimate.bound, batch, "testing")
        results = {
            "index": batch["index"],
            "loss": self.loss_of(estimate.bound, batch),
            "kl": -self.loss_of(estimate.means[0], batch),
        }
        self.test_loss.update(results["loss"])
        self.test_kl.update(results["kl"])
        if self.num_importance_samples:
            results[self._nll] = self.loss_of(estimate.log_likelihood, batch)
            self.test_nll.update(results[self._nll])
        return results

    def on_test_epoch_end(self) -> None:
        """Log the negative bound, its KL term and, if requested, the likelihood, with their standard errors."""
        self.log_loss("test", self.test_loss, with_error=True)
        metrics = {"kl": self.test_kl}
        if self.num_importance_samples:
            metrics[self._nll] = self.test_nll
            self.log("test/importance_samples", float(self.num_importance_samples))
        for name, metric in metrics.items():
            mean, error = metric.compute()
            self.log_dict({f"test/{name}": mean, f"test/{name}_standard_error": error})

    @property
    def _nll(self) -> str:
        """Name of the importance-weighted metric."""
        return "nll_bpd" if self.unit == "bpd" else "nll_nats"

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """The images as shown, their log-likelihood in nats and in the unit, from at least one draw."""
        log_likelihood = self.importance_sample(batch, self.num_importance_samples).log_likelihood
        self.check_finite(log_likelihood, batch, "prediction")
        loss = self.loss_of(log_likelihood, batch)
        shown = self.pixels(batch["image"])
        return {"index": batch["index"], "image": shown, "log_likelihood": log_likelihood, self.unit: loss}
