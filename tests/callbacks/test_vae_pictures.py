"""Reconstructions and walks through latent space."""

from pathlib import Path

import pytest
import torch
from torchvision.io import read_image

from lightning_flows.callbacks import LatentWalk, Reconstructions, RoundTrip
from lightning_flows.callbacks.latent_walk import latent_grid
from lightning_flows.errors import UsageError
from tests.modules.test_vae import Binary, module
from tests.small_modules import trainer

HEIGHT, WIDTH = 4 + 1, 8 + 1  # of an image and the line next to it


def tile(path: Path, row: int, column: int) -> torch.Tensor:
    """The image at a place of a grid."""
    image = read_image(str(path))
    top, left = row * HEIGHT + 1, column * WIDTH + 1
    return image[:1, top : top + 4, left : left + 8]


def test_reconstructions_are_next_to_their_images(tmp_path: Path) -> None:
    vae = module()
    trainer(tmp_path, max_epochs=3, callbacks=[Reconstructions(num_items=6, every_n_epochs=5)]).fit(vae, Binary())
    files = sorted((tmp_path / "reconstructions").iterdir())
    assert [file.stem for file in files] == ["epoch_0000", "epoch_0002"]  # the last epoch is drawn
    batch = next(iter(Binary().val_dataloader()))
    decoded = vae.eval().pixels(vae.decode(vae.encode(batch), batch))
    for i, (row, column) in enumerate([(0, 0), (0, 2), (1, 0), (1, 2), (2, 0), (2, 2)]):
        assert tile(files[-1], row, column).equal(batch["image"][i] * 255)
        assert tile(files[-1], row, column + 1).equal(decoded[i])


def test_walks_begin_and_end_at_reconstructions(tmp_path: Path) -> None:
    vae = module()
    trainer(tmp_path, callbacks=[LatentWalk(num_paths=3, num_steps=5)]).fit(vae, Binary())
    file = tmp_path / "latent_walk" / "epoch_0000.png"
    assert read_image(str(file)).shape == (3, 3 * HEIGHT + 1, 5 * WIDTH + 1)
    batch = next(iter(Binary().val_dataloader()))
    decoded = vae.eval().pixels(vae.decode(vae.encode(batch), batch))
    for row in range(3):
        assert (tile(file, row, 0).int() - decoded[row].int()).abs().max() <= 1
        assert (tile(file, row, 4).int() - decoded[row + 3].int()).abs().max() <= 1


def test_two_latents_are_shown_on_a_grid(tmp_path: Path) -> None:
    vae = module(latent_size=2)
    trainer(tmp_path, callbacks=[LatentWalk(num_steps=5)]).fit(vae, Binary())
    file = tmp_path / "latent_walk" / "epoch_0000.png"
    decoded = vae.eval().pixels(vae.decode([latent_grid(5)], {}))
    assert tile(file, 2, 3).equal(decoded[2 * 5 + 3])


@pytest.mark.parametrize("kind", [Reconstructions, LatentWalk])
def test_one_image_is_enough(kind: type, tmp_path: Path) -> None:
    assert trainer(tmp_path, callbacks=[kind(1)], fast_dev_run=True).fit(module(), Binary()) is None
    with pytest.raises(UsageError, match="every_n_epochs is 0"):
        kind(every_n_epochs=0)


def test_a_vae_has_no_round_trip(tmp_path: Path) -> None:
    run = trainer(tmp_path, callbacks=[RoundTrip()])
    run.fit(module(), Binary())
    assert not any(name.startswith("inverse/") for name in run.callback_metrics)
