"""Densities with log_prob and sample."""

from lightning_flows.distributions.gaussian import (
    DiagonalGaussian,
    Distribution,
    NodeGaussian,
    standard_normal_log_prob,
)

__all__ = ["DiagonalGaussian", "Distribution", "NodeGaussian", "standard_normal_log_prob"]
