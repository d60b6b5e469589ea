import ast
from pathlib import Path

import pytest
import torch

import lightning_flows
from lightning_flows.functional.streams import forked, stream, stream_seed

PURPOSES = ("training step", "augmentation", "order of an epoch", "evaluation noise", "training graphs")
PACKAGE = Path(lightning_flows.__file__).parent


def draws(generator: torch.Generator) -> bytes:
    return torch.randint(2**62, (2,), generator=generator).numpy().tobytes()


def test_no_two_purposes_numbers_or_seeds_share_a_seed() -> None:
    seeds = {stream_seed(seed, purpose, n) for seed in (0, 1) for purpose in PURPOSES for n in range(100_000)}
    assert len(seeds) == 2 * len(PURPOSES) * 100_000
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_streams_do_not_collide_where_32_bit_seeds_would() -> None:
    # among as many generators by seeds of 32 bits, some five would be expected to be the same as another
    begun = {draws(stream(seed, purpose, n)) for seed in (0, 1) for purpose in PURPOSES for n in range(20_000)}
    assert len(begun) == 2 * len(PURPOSES) * 20_000


def test_seeds_that_agree_in_32_bits_have_different_streams() -> None:
    assert draws(stream(5, "a")) != draws(stream(5 + 2**32, "a"))
    assert draws(stream(0, "a", 1)) != draws(stream(1, "a", 0))
    assert draws(stream(-1, "a")) != draws(stream(1, "a"))
    assert draws(torch.Generator().manual_seed(stream_seed(0, "a"))) != draws(stream(0, "a"))


def test_a_stream_depends_only_on_seed_purpose_and_number() -> None:
    assert torch.equal(torch.rand(4, generator=stream(1, "a", 2)), torch.rand(4, generator=stream(1, "a", 2)))
    expected = torch.tensor([0.2293154001235962])  # the same in every process and on every machine
    torch.testing.assert_close(torch.rand(1, generator=stream(3, "a", 2)), expected)


def test_the_state_layout_matches_manual_seed() -> None:
    """The state of ``manual_seed(s)``, written by the recurrence of the Mersenne twister's own seeding."""
    words = [7]
    for i in range(1, 624):
        words.append((1812433253 * (words[-1] ^ (words[-1] >> 30)) + i) % 2**32)
    state = torch.Generator().manual_seed(7).get_state()
    assert state[24 : 24 + 8 * 624].view(torch.int64).tolist() == words
    assert stream(0, "a").get_state().shape == state.shape


def test_normals_and_uniforms_of_a_stream_have_their_moments() -> None:
    firsts = torch.stack([torch.rand(2, generator=stream(0, "a", n)) for n in range(4000)])
    assert (firsts.mean(0) - 0.5).abs().max() < 0.02
    assert torch.corrcoef(firsts.T)[0, 1].abs() < 0.05
    normals = torch.randn(100_000, generator=stream(0, "b"))
    assert abs(normals.mean()) < 0.02
    assert abs(normals.std() - 1) < 0.02


def test_forked_restores_the_global_generator() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3), torch.rand(3)
    torch.manual_seed(0)
    first = torch.rand(3)
    with forked(5, "a", 1):
        inside = torch.rand(3)
    assert torch.equal(first, expected[0])
    assert torch.equal(torch.rand(3), expected[1])
    assert torch.equal(inside, torch.rand(3, generator=stream(5, "a", 1)))
    with pytest.raises(KeyError), forked(5, "a"):
        raise KeyError
    torch.manual_seed(0)
    assert torch.equal(torch.rand(3), expected[0])


def test_nothing_else_in_the_package_seeds_a_generator() -> None:
    found = []
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in ("manual_seed", "manual_seed_all"):
                found.append(str(file.relative_to(PACKAGE)))
    # check_transform seeds the global generators, and restores them
    assert set(found) <= {"functional/streams.py", "data/image_folder.py", "testing/surroundings.py"}


def test_each_purpose_is_used_in_one_place() -> None:
    """Callers that share a purpose get the same random numbers; only a figure and the test share one on purpose."""
    places: dict[str, set[str]] = {}
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            called = isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", ""))
            if called in ("stream", "streams", "stream_seed", "forked") and len(node.args) > 1:
                purpose = node.args[1]
                if isinstance(purpose, ast.Constant):
                    places.setdefault(str(purpose.value), set()).add(f"{file.relative_to(PACKAGE)}:{node.lineno}")
    shared = {purpose for purpose, where in places.items() if len(where) > 1}
    assert len(places) >= 10
    assert shared == {"evaluation noise"}
