"""What a caller of check_transform relies on besides the checks themselves."""

import copy
import pickle

import pytest
import torch
from torch import Tensor

from lightning_flows.errors import InputTypeError, ShapeError, UsageError
from lightning_flows.testing import CheckError, check_transform
from tests.testing.mutants import Correct, forward, inverse


def data(batch: int = 3) -> Tensor:
    return torch.randn(batch, 2, 2, 3, generator=torch.Generator().manual_seed(0))


Wrong = forward(lambda s, x, z, d: (z, 2 * d.detach()))


def test_all_faults_are_reported_in_one_error() -> None:
    with pytest.raises(CheckError) as found:
        check_transform(Wrong(), data())
    assert [fault.check for fault in found.value.faults] == ["log_det", "forward_gradient"]
    first, *lines = str(found.value).splitlines()
    assert first == "Mutant failed 2 checks:"
    assert [line.partition(":")[0] for line in lines] == ["  log_det", "  forward_gradient"]
    assert str(pickle.loads(pickle.dumps(found.value))) == str(found.value)


def test_a_log_det_whose_fault_has_no_name_is_compared_with_that_of_the_other_direction() -> None:
    partly = forward(lambda s, x, z, d: (z, d + x.flatten(1).sum(1)))
    with pytest.raises(
        CheckError, match=r"log_det of forward differs .* \(item \d\); that of inverse, negated, is right"
    ):
        check_transform(partly(), data(), skip={"forward_gradient"})
    wrong = inverse(lambda s, z, x, d: (x, d - z.flatten(1).sum(1)))
    with pytest.raises(CheckError, match=r"log_det of inverse differs .*; that of forward, negated, is right"):
        check_transform(wrong(), data(), skip={"inverse_gradient"})


def test_skipped_checks_do_not_run() -> None:
    names = check_transform(Wrong(), data(), skip={"log_det", "forward_gradient"})
    assert "log_det" not in names
    assert "inverse_log_det" in names
    with pytest.raises(UsageError, match=r"skip names unknown checks \['logdet'\]: choose from shapes, round_trip"):
        check_transform(Correct(), data(), skip={"logdet"})


def test_the_transform_its_arguments_and_the_generator_stay_as_they_are() -> None:
    transform, x, state = Correct().train(), data(), torch.get_rng_state()
    before, own = copy.deepcopy(transform.state_dict()), x.clone()
    check_transform(transform, x)
    assert transform.training
    assert transform.log_scale.dtype == torch.float32
    assert transform.log_scale.grad is None
    assert all(torch.equal(value, before[name]) for name, value in transform.state_dict().items())
    assert torch.equal(x, own)
    assert torch.equal(torch.get_rng_state(), state)


def test_arguments_that_cannot_be_checked_are_refused() -> None:
    with pytest.raises(ShapeError, match="with at least 2 items"):
        check_transform(Correct(), data(1))
    with pytest.raises(InputTypeError, match=r"expected a floating tensor x; got torch\.int64"):
        check_transform(Correct(), data().long())
    with pytest.raises(ShapeError, match="expected finite values of x; got 36 that are not"):
        check_transform(Correct(), data() / 0)
    with pytest.raises(ShapeError, match=r"expected z of shape \(3, 2, 2, 3\); got \(3, 2\)"):
        check_transform(Correct(), data(), z=torch.zeros(3, 2))
    large = torch.randn(2, 2, 20, 30)
    with pytest.raises(ShapeError, match="expected at most 1024 values per item, for their Jacobian; got 1200"):
        check_transform(Correct(), large)
    assert check_transform(Correct(), large, skip={"log_det", "inverse_log_det"})


class Shifted(torch.nn.Module):
    """z = x + a context, which may be a dict."""

    def forward(self, x: Tensor, context: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        return x + context["shift"] * context["sign"], x.new_zeros(len(x))

    def inverse(self, z: Tensor, context: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        return z - context["shift"] * context["sign"], z.new_zeros(len(z))


def test_contexts_are_indexed_with_the_batch() -> None:
    context = {"shift": torch.randn(4, 2), "sign": torch.tensor([1.0, -1.0])}
    assert "independence" in check_transform(Shifted(), torch.randn(4, 2), context)
