"""Variational autoencoders: likelihoods of images given latents, and the model."""

from lightning_flows.vae.autoencoder import VAE, VAETerms
from lightning_flows.vae.likelihoods import Bernoulli, Categorical, PixelLikelihood, likelihood_of

__all__ = ["VAE", "Bernoulli", "Categorical", "PixelLikelihood", "VAETerms", "likelihood_of"]
