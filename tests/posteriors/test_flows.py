"""Posteriors with flows; their layers are tested in tests/transforms."""

import copy

import pytest
import torch
from torch import Tensor

from lightning_flows import posteriors
from lightning_flows.errors import ShapeError, UsageError
from lightning_flows.posteriors import (
    GeneralizedSylvesterPosterior,
    IAFPosterior,
    PlanarPosterior,
    Posterior,
    SylvesterPosterior,
)
from lightning_flows.testing.jacobian import log_abs_dets
from lightning_flows.transforms import InverseAutoregressive, Reversal
from tests.transforms.cases import perturb

SIZES = (4, 6)  # latents and features
MADE = {
    "planar": lambda: PlanarPosterior(*SIZES),
    "iaf": lambda: IAFPosterior(*SIZES, num_flows=3, width=8),
    "orthogonal": lambda: SylvesterPosterior(*SIZES, num_flows=2, columns=3),
    "householder": lambda: SylvesterPosterior(*SIZES, basis="householder", num_flows=2, num_reflections=3),
    "triangular": lambda: SylvesterPosterior(*SIZES, basis="triangular", num_flows=3),
    "generalized": lambda: GeneralizedSylvesterPosterior(*SIZES, num_flows=2, width=8),
    "generalized_amortized": lambda: GeneralizedSylvesterPosterior(
        *SIZES, num_flows=2, width=8, num_reflections=2, amortize_basis=True
    ),
}
EACH = pytest.mark.parametrize("make", MADE.values(), ids=MADE.keys())


def draw(batch: int = 5, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    """Mean, standard deviation, features and noise."""
    generator = torch.Generator().manual_seed(1)
    mean, std, noise = torch.randn(3, batch, SIZES[0], generator=generator, dtype=torch.float64)
    features = torch.randn(batch, SIZES[1], generator=generator, dtype=torch.float64)
    return tuple(x.to(dtype) for x in (mean, std.exp(), features, noise))


def build(make) -> Posterior:
    torch.manual_seed(2)
    return perturb(make().double(), *draw())


@EACH
def test_log_density_is_that_of_the_noise_and_the_jacobian(make):
    posterior, (mean, std, h, noise) = build(make), draw()
    z, log_q = posterior(mean, std, h, noise)
    log_det = log_abs_dets(lambda noise: posterior(mean, std, h, noise)[0], noise)
    normal = torch.distributions.Normal(0.0, 1.0).log_prob(noise).sum(1)
    torch.testing.assert_close(log_q, normal - log_det, rtol=0, atol=1e-10)
    assert z.shape == noise.shape
    assert (z - mean - std * noise).abs().max() > 0.1


@EACH
def test_flows_depend_on_the_features_of_their_own_sample(make):
    posterior, (mean, std, h, noise) = build(make), draw()
    z, log_q = posterior(mean, std, h, noise)
    other = h.clone()
    other[0] += 1
    changed, changed_log_q = posterior(mean, std, other, noise)
    assert (changed[0] - z[0]).abs().max() > 1e-3
    assert (changed_log_q[0] - log_q[0]).abs() > 1e-4
    torch.testing.assert_close(changed[1:], z[1:], rtol=0, atol=1e-13)


@EACH
def test_gradients_of_features_and_parameters(make):
    posterior, (mean, std, h, noise) = build(make), draw(2)
    h.requires_grad_()
    assert torch.autograd.gradcheck(lambda h: posterior(mean, std, h, noise), h, fast_mode=True)
    z, log_q = posterior.train()(mean, std, h, noise)
    (z.sin().sum() + log_q.sum()).backward()
    for name, parameter in posterior.named_parameters():
        assert parameter.grad.abs().max() > 0, name


@EACH
def test_arguments_are_recorded_and_copies_are_independent(make):
    posterior, arguments = build(make), draw()
    twin = type(posterior)(**posterior.init_args).double().eval()
    twin.load_state_dict(posterior.state_dict())
    for one, other in zip(twin(*arguments), copy.deepcopy(posterior)(*arguments), strict=True):
        assert torch.equal(one, other)
    assert posterior.num_flows == posterior.init_args["num_flows"]
    assert posterior.set_by_owner == ("latent_size", "context_features")


@EACH
@torch.no_grad()
def test_autocast_keeps_densities_in_full_precision(make):
    posterior, arguments = build(make).float(), draw(dtype=torch.float32)
    expected = posterior(*arguments)
    with torch.autocast("cpu", torch.bfloat16):
        found = posterior(*arguments[:2], arguments[2].bfloat16(), arguments[3])
    assert {value.dtype for value in found} == {torch.float32}
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0.3)


def test_defaults_are_those_of_the_source():
    """Sizes of the linear map of 256 features to the parameters of four flows of 64 latents."""
    planar, iaf, orthogonal, householder, triangular, generalized = (
        kind(64, 256, **options)
        for kind, options in (
            (PlanarPosterior, {}),
            (IAFPosterior, {}),
            (SylvesterPosterior, {}),
            (SylvesterPosterior, {"basis": "householder"}),
            (SylvesterPosterior, {"basis": "triangular"}),
            (GeneralizedSylvesterPosterior, {}),
        )
    )
    assert planar.flow.linear.out_features == 4 * (64 + 64 + 1)
    assert iaf.flow.linear.out_features == generalized.flow.linear.out_features == 320
    assert orthogonal.flow.linear.out_features == 4 * (8 * 8 + 3 * 8 + 64 * 8)
    assert householder.flow.linear.out_features == 4 * (64 * 64 + 3 * 64 + 8 * 64)
    assert triangular.flow.linear.out_features == 4 * (64 * 64 + 3 * 64)
    kinds = [type(layer) for layer in iaf.flow.transforms]
    assert kinds == [InverseAutoregressive, *[Reversal, InverseAutoregressive, InverseAutoregressive] * 2][:6]
    bases = [type(layer.basis) for layer in triangular.flow.transforms]
    assert [basis is Reversal for basis in bases] == [False, True, False, True]


def test_every_posterior_is_exported():
    assert {kind.__name__ for kind in (PlanarPosterior, IAFPosterior, SylvesterPosterior)} <= set(posteriors.__all__)


@pytest.mark.parametrize(
    ("error", "make", "message"),
    [
        (
            UsageError,
            lambda: SylvesterPosterior(4, 6, columns=5),
            "columns=5 of an orthogonal Sylvester posterior exceeds latent_size=4: use at most 4 columns, or a larger",
        ),
        (UsageError, lambda: SylvesterPosterior(4, 6, basis="full"), "orthogonal, householder, triangular; got 'full'"),
        (UsageError, lambda: SylvesterPosterior(4, 6, columns=0), "expected columns of at least 1; got 0"),
        (UsageError, lambda: PlanarPosterior(4, 6, num_flows=0), "expected num_flows of at least 1; got 0"),
        (UsageError, lambda: IAFPosterior(0, 6), "expected latent_size of at least 1; got 0"),
        (UsageError, lambda: IAFPosterior(4, 0), "expected context_features of at least 1; got 0"),
        (UsageError, lambda: IAFPosterior(4, 6, width=0), "expected width of at least 1; got 0"),
        (ShapeError, lambda: PlanarPosterior(4, 6)(*[torch.ones(2, 4)] * 4), r"features of shape \(2, 6\); got \(2, 4"),
    ],
)
def test_wrong_arguments(error, make, message):
    with pytest.raises(error, match=message):
        make()
