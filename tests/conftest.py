import io
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image

from lightning_flows.app.cli import main
from tests.reporting import runs
from tests.versions import lacks


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests of features that the installed versions lack; with the newest versions, none is skipped."""
    for item in items:
        if reason := lacks(item.nodeid):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


TINY = [
    "--config=demo.yaml",
    "--model.flow.steps_per_level=1",
    "--model.flow.num_levels=2",
    "--model.flow.hidden_channels=12",
    "--model.flow.split.depth=1",
    "--model.flow.split.width=8",
    "--model.flow.split.growth=8",
    "--data.batch_size=8",
    "--data.eval_batch_size=52",
    "--data.stride=32",
    "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=3",
    "--trainer.log_every_n_steps=1",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
]


@pytest.fixture(scope="session")
def tiny() -> list[str]:
    """Options that make the demo's config take a second."""
    return TINY


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint of a tiny flow, trained through the command line."""
    folder = tmp_path_factory.mktemp("trained")
    main(["fit", *TINY, f"--trainer.logger.init_args.save_dir={folder}"])
    return folder / "demo/version_0/checkpoints/best.ckpt"


@pytest.fixture(scope="session")
def image_tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tar of 40 noisy images in two classes, 32x32."""
    path = tmp_path_factory.mktemp("images") / "images.tar"
    generator = torch.Generator().manual_seed(0)
    with tarfile.open(path, "w") as tar:
        for i in range(40):
            pixels = torch.randint(256, (32, 32, 3), generator=generator, dtype=torch.uint8).numpy()
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "PNG")
            member = tarfile.TarInfo(f"{'ab'[i % 2]}/{i:02d}.png")
            member.size = buffer.tell()
            buffer.seek(0)
            tar.addfile(member, buffer)
    return path


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[..., Path]:
    """Write a run folder below ``tmp_path``, as ``fit`` and ``test`` leave it."""
    return partial(runs.write_run, tmp_path)
