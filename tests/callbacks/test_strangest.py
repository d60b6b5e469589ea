import torch

from lightning_flows.callbacks.strangest import Strangest


def test_the_highest_scores_of_all_batches_are_kept_with_their_images() -> None:
    scores = torch.tensor([1.0, 5.0, 5.0, 0.0, 9.0, 2.0])
    images = torch.arange(6, dtype=torch.uint8)[:, None, None, None]
    strangest = Strangest(4)
    for part in (torch.tensor([5, 2]), torch.tensor([4, 3, 0]), torch.tensor([1])):
        strangest.add(scores[part], part, images[part])
    found = strangest.gathered()
    assert found is not None
    assert found.score.tolist() == [9, 5, 5, 2]
    assert found.number.tolist() == found.images.flatten().tolist() == [4, 1, 2, 5]


def test_nothing_was_added() -> None:
    assert Strangest(4).gathered() is None
