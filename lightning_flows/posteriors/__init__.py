"""Variational posteriors: distributions of latents given the features of an encoder."""

from lightning_flows.posteriors.base import Posterior
from lightning_flows.posteriors.diagonal import DiagonalPosterior
from lightning_flows.posteriors.generalized_sylvester import GeneralizedSylvesterPosterior
from lightning_flows.posteriors.iaf import IAFPosterior
from lightning_flows.posteriors.planar import PlanarPosterior
from lightning_flows.posteriors.sylvester import SylvesterPosterior

__all__ = [
    "DiagonalPosterior",
    "GeneralizedSylvesterPosterior",
    "IAFPosterior",
    "PlanarPosterior",
    "Posterior",
    "SylvesterPosterior",
]
