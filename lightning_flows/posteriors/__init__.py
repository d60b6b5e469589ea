"""Variational posteriors: distributions of latents given the features of an encoder."""

from lightning_flows.posteriors.base import Posterior
from lightning_flows.posteriors.diagonal import DiagonalPosterior

__all__ = ["DiagonalPosterior", "Posterior"]
