"""The VAE as a module."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.distributions import Normal

from lightning_flows.errors import InputTypeError, ShapeError, UsageError
from lightning_flows.functional.philox import streams
from lightning_flows.posteriors import DiagonalPosterior, PlanarPosterior
from lightning_flows.vae import VAE
from tests.vae.cases import EVENT, POSTERIORS, SMALL, images, small_vae


def draw(num: int = 6, latents: int = 2) -> torch.Tensor:
    return torch.randn(num, latents, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("num_levels", [2, 5])
def test_terms_are_those_of_the_definition(num_levels: int) -> None:
    vae, x, noise = small_vae(num_levels=num_levels), images(num_levels=num_levels), draw()
    terms, (mean, std, h) = vae.elbo_terms(x, noise), vae.encode(x)
    z = mean + std * noise
    torch.testing.assert_close(h, vae.encoder(x.double() / (num_levels - 1)))
    kl = Normal(mean, std).log_prob(z).sum(1) - Normal(0.0, 1.0).log_prob(z).sum(1)
    torch.testing.assert_close(terms.kl, kl)
    torch.testing.assert_close(terms.log_likelihood, vae.likelihood.log_prob(vae.decoder(z), x))
    torch.testing.assert_close(vae(x, noise), terms.log_likelihood - kl)
    torch.testing.assert_close(vae.latents(x, noise), z)
    torch.testing.assert_close(vae.latents(x), mean)


@pytest.mark.parametrize(("num_levels", "bounded"), [(2, False), (256, True)])
def test_variances_of_images_with_many_levels_are_bounded(num_levels: int, bounded: bool) -> None:
    vae, x = small_vae(num_levels=num_levels), images(num_levels=num_levels)
    for bias, expected in ((-30.0, 0.1), (30.0, 7.0**0.5)):
        nn.init.constant_(vae.variance.bias, bias)
        std = vae.encode(x).std
        assert torch.allclose(std, torch.full_like(std, expected)) == bounded


@pytest.mark.parametrize("name", POSTERIORS)
def test_importance_samples_do_not_depend_on_batches_or_chunks(name: str) -> None:
    vae, x = small_vae(name), images()
    noise = streams(0, "test", range(6))
    whole = vae.importance_sample(x, 70, noise=noise, chunk_size=500)
    parts = [
        vae.importance_sample(x[i : i + 2], 70, noise=streams(0, "test", range(i, i + 2)), chunk_size=17)
        for i in (0, 2, 4)
    ]
    for name in ("bound", "log_likelihood", "error"):
        torch.testing.assert_close(getattr(whole, name), torch.cat([getattr(part, name) for part in parts]))
    torch.testing.assert_close(whole.means[0], torch.cat([part.means[0] for part in parts]))
    assert not vae.importance_sample(x, 3).bound.equal(vae.importance_sample(x, 3).bound)  # random streams


def test_the_encoder_runs_once_per_image() -> None:
    vae, seen = small_vae(), []
    vae.encoder.register_forward_hook(lambda *args: seen.append(len(args[1][0])))
    vae.importance_sample(images(), 100, chunk_size=4)
    assert sum(seen) == 6
    assert max(seen) <= 4


def test_evaluation_changes_nothing() -> None:
    vae, x = small_vae("generalized"), images()
    before = copy.deepcopy(vae.state_dict())
    first = vae(x, draw())
    vae.sample(3)
    vae.importance_sample(x, 2)
    assert vae(x, draw()).equal(first)
    assert copy.deepcopy(vae)(x, draw()).equal(first)
    assert all(value.equal(before[name]) for name, value in vae.state_dict().items())


def test_compiled_and_exported_models_are_the_same() -> None:
    vae, x, noise = small_vae("planar"), images(), draw()
    expected = vae(x, noise)
    torch.testing.assert_close(torch.compile(vae, backend="aot_eager", fullgraph=True)(x, noise), expected)
    torch.testing.assert_close(torch.export.export(vae, (x, noise)).module()(x, noise), expected)
    torch.compiler.reset()


def test_reduced_precision_is_that_of_the_nets_alone() -> None:
    vae, x, noise = small_vae("planar").float(), images(), draw().float()
    with torch.autocast("cpu", torch.bfloat16):
        terms, encoding = vae.elbo_terms(x, noise), vae.encode(x)
        seen = vae.encoder(x.float())
    assert seen.dtype == torch.bfloat16
    assert {each.dtype for each in (*terms, *encoding)} == {torch.float32}
    torch.testing.assert_close(terms.elbo, vae(x, noise), rtol=0.02, atol=0.5)


def test_samples_are_expected_levels_or_levels() -> None:
    vae = small_vae(num_levels=5)
    means, levels = (
        vae.sample(4, generator=torch.Generator().manual_seed(0), draw_levels=draws) for draws in (False, True)
    )
    assert means.shape == levels.shape == (4, *EVENT)
    assert means.dtype == torch.float64
    assert levels.dtype == torch.uint8
    cold = vae.sample(2, temperature=0.0)
    torch.testing.assert_close(cold, vae.decode(torch.zeros(2, 2, dtype=torch.float64)))


def test_images_of_another_kind_are_refused() -> None:
    vae = small_vae()
    with pytest.raises(InputTypeError, match="expected uint8 images"):
        vae(images().float())
    with pytest.raises(ShapeError, match="expected images of shape"):
        vae(images()[..., :4])
    for score in (vae, partial(vae.importance_sample, num_draws=1)):
        with pytest.raises(UsageError, match="levels 0 to 1; got one with level 255: binarize the images"):
            score(images() * 255)
    with pytest.raises(UsageError, match="one stream per image; got 5 for 6"):
        vae.importance_sample(images(), 2, noise=streams(0, "test", range(5)))


def test_posteriors_are_instances_or_functions_of_their_sizes() -> None:
    made = PlanarPosterior(3, 6)
    assert VAE(EVENT, 2, made, latent_size=3, sizes=SMALL).posterior is made
    assert VAE(EVENT, 2, DiagonalPosterior, latent_size=5, sizes=SMALL).posterior.latent_size == 5
    with pytest.raises(ShapeError, match="expected a posterior of 4 latents given 6 features; got one of 3 given 6"):
        VAE(EVENT, 2, made, latent_size=4, sizes=SMALL)
    with pytest.raises(InputTypeError, match=r"expected a Posterior, or a function .*; got Linear"):
        VAE(EVENT, 2, nn.Linear(2, 2), latent_size=4, sizes=SMALL)
