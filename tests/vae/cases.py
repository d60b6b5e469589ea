"""Small VAEs of all posteriors."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from lightning_flows.nets.gated_conv import GatedConvSizes
from lightning_flows.posteriors import (
    DiagonalPosterior,
    GeneralizedSylvesterPosterior,
    IAFPosterior,
    PlanarPosterior,
    SylvesterPosterior,
)
from lightning_flows.vae import VAE

POSTERIORS: dict[str, Any] = {
    "diagonal": DiagonalPosterior,
    "planar": partial(PlanarPosterior, num_flows=2),
    "iaf": partial(IAFPosterior, num_flows=2, width=8),
    "orthogonal": partial(SylvesterPosterior, num_flows=2, columns=2),
    "householder": partial(SylvesterPosterior, basis="householder", num_flows=2, num_reflections=2),
    "triangular": partial(SylvesterPosterior, basis="triangular", num_flows=2),
    "generalized": partial(GeneralizedSylvesterPosterior, num_flows=2, width=8),
}
SMALL = GatedConvSizes(width=2, features=6, hidden=4)
EVENT = (1, 4, 8)


def small_vae(posterior: str = "diagonal", num_levels: int = 2, latent_size: int = 2, event_shape: Any = EVENT) -> VAE:
    """A VAE in float64 and eval mode, with parameters so large that images depend on latents, and latents on images."""
    torch.manual_seed(3)
    vae = VAE(event_shape, num_levels, POSTERIORS[posterior], latent_size=latent_size, sizes=SMALL).double()
    with torch.no_grad():
        for name, parameter in vae.named_parameters():
            if name.startswith(("encoder", "decoder")):
                parameter.mul_(3.5)
            else:
                parameter.add_(0.3 * torch.randn_like(parameter))
        vae.variance.bias.fill_(2.0)  # wider than p(z | x), so that importance weights are bounded
    return vae.eval()


def images(num: int = 6, num_levels: int = 2, event_shape: Any = EVENT) -> Tensor:
    """Random images, uint8 ``(num, *event_shape)``."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(num_levels, (num, *event_shape), generator=generator, dtype=torch.uint8)
