import torch

from lightning_flows.flows import GraphNormalizingFlow
from lightning_flows.functional.parts import note_part, noted_parts
from tests.modules.test_base import make


def test_parts_sum_to_the_density() -> None:
    flow, x = GraphNormalizingFlow((4, 2), width=8, num_heads=2).eval(), torch.randn(3, 4, 2)
    with noted_parts() as parts:
        log_prob = flow.log_prob(x)
    torch.testing.assert_close(parts["latents"] + parts["log_det"], log_prob)
    assert not any(part.requires_grad for part in parts.values())


def test_parts_of_images() -> None:
    model = make(dequantization="variational", dequantization_steps=1).eval().model
    images = torch.randint(256, (3, 1, 8, 8), dtype=torch.uint8)
    with noted_parts() as parts:
        bound = model.elbo(images)
    torch.testing.assert_close(sum(parts.values()), bound)
    assert parts["dequantization"].abs().min() > 0


def test_notes_end_with_the_block() -> None:
    with noted_parts() as outer:
        with noted_parts() as inner:
            note_part("a", torch.ones(1))
        note_part("b", torch.ones(1))
    note_part("c", torch.ones(1))
    assert (set(outer), set(inner)) == ({"b"}, {"a"})
