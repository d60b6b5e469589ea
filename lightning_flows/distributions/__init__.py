"""Densities with log_prob and sample."""

from lightning_flows.distributions.gaussian import DiagonalGaussian, standard_normal_log_prob

__all__ = ["DiagonalGaussian", "standard_normal_log_prob"]
