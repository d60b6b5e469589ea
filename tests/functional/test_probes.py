from contextlib import suppress

import torch

from lightning_flows.functional.probes import fixed_probes, probes_by_item

X = torch.zeros(3, 2, 4, 4, dtype=torch.float64)


def by_item(numbers: list[int], num: int = 1, seed: int = 0) -> torch.Tensor:
    """Probes ``(num, B, 4096)``."""
    with probes_by_item(numbers):
        return torch.stack(fixed_probes(torch.zeros(len(numbers), 4096), num, seed))


def test_items_share_their_probes_by_default() -> None:
    probes = fixed_probes(X, 2)
    assert all(probe.dtype == X.dtype and probe.shape == X.shape for probe in probes)
    assert all(torch.equal(probe, probe[:1].expand_as(X)) for probe in probes)
    assert not torch.equal(*probes)
    with probes_by_item([0]):
        assert torch.equal(fixed_probes(X[:1], 1)[0], probes[0][:1])


def test_probes_are_signs_that_are_uncorrelated_between_items_draws_and_seeds() -> None:
    probes = torch.cat([by_item([1, 2, 2**40], num=3, seed=seed).flatten(0, 1) for seed in (0, 1)])
    assert torch.equal(probes.abs(), torch.ones_like(probes))
    covariance = probes @ probes.T / probes.shape[1]
    torch.testing.assert_close(covariance, torch.eye(18), rtol=0, atol=4 / 64)  # four standard errors
    assert probes.mean(1).abs().max() < 4 / 64


def test_probes_of_an_item_depend_on_its_number_alone() -> None:
    many = by_item([5, 9, 5, 0], num=2)
    assert torch.equal(many[:, 0], many[:, 2])
    for place, number in enumerate([5, 9, 5, 0]):
        assert torch.equal(by_item([number], num=2)[:, 0], many[:, place])


def test_the_scope_ends_with_an_error_and_may_be_nested() -> None:
    shared = fixed_probes(X, 1)[0]
    with probes_by_item(torch.tensor([1, 2, 3])):
        outer = fixed_probes(X, 1)[0]
        with suppress(RuntimeError), probes_by_item([4, 5, 6]):
            assert not torch.equal(fixed_probes(X, 1)[0], outer)
            raise RuntimeError
        assert torch.equal(fixed_probes(X, 1)[0], outer)
    assert torch.equal(fixed_probes(X, 1)[0], shared)


def test_parts_of_items_share_their_probes() -> None:
    with probes_by_item([1, 2]):
        parts = fixed_probes(torch.zeros(6, 16), 1)[0]
    assert torch.equal(parts, fixed_probes(torch.zeros(6, 16), 1)[0])
