import torch

from lightning_flows.functional.parts import note_part, noted_parts


def test_notes_end_with_the_block() -> None:
    with noted_parts() as outer:
        with noted_parts() as inner:
            note_part("a", torch.ones(1))
        note_part("b", torch.ones(1))
    note_part("c", torch.ones(1))
    assert (set(outer), set(inner)) == ({"b"}, {"a"})
