import os
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer

from lightning_flows.app.cli import run
from lightning_flows.checkpoints import read_checkpoint
from lightning_flows.errors import CheckpointError, FlowsError
from lightning_flows.modules import load_model
from tests.versions import WEIGHTS_ONLY


@pytest.fixture(scope="module")
def checkpoint(trained: Path) -> dict[str, Any]:
    return torch.load(trained, weights_only=True)


def saved(checkpoint: Any, path: Path) -> Path:
    torch.save(checkpoint, path)
    return path


def test_files_that_are_not_checkpoints_are_refused_in_one_line(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0 JFIF weights")
    (tmp_path / "cut.ckpt").write_bytes(trained.read_bytes()[:20_000])
    (tmp_path / "empty.ckpt").write_bytes(b"")
    cases = {
        trained.parents[1]: rf"is a folder: pass {trained}",
        tmp_path: "is a folder: pass a checkpoint in it",
        tmp_path / "fifo": "is not a regular file",
        "/dev/zero": "is not a regular file",
        "/etc/passwd": "is not a checkpoint",
        tmp_path / "photo.jpg": "is not a checkpoint",
        tmp_path / "empty.ckpt": "is not a checkpoint",
        tmp_path / "cut.ckpt": "truncated",
        tmp_path / "none.ckpt": "does not exist",
        "best": "does not exist",
        "s3://bucket/a.ckpt": "is a URL",
        "a\0b": "cannot be read",
        "x" * 5000: "cannot be read",
    }
    for path, message in cases.items():
        with pytest.raises(CheckpointError, match=message) as info:
            read_checkpoint(path)
        assert "\n" not in str(info.value)
        assert len(str(info.value)) < 500

    def deny(self: Path, *args: Any, **kwargs: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", deny)
    with pytest.raises(CheckpointError, match=r"cannot be read \(Permission denied\)"):
        read_checkpoint(trained)


def test_values_beyond_the_limits(checkpoint: dict[str, Any], tmp_path: Path) -> None:
    deep: Any = 0
    for _ in range(60):
        deep = [deep]
    wide: Any = [1]
    for _ in range(40):
        wide = [wide, wide]
    cases = {
        "claims a tensor of": torch.zeros(1).expand(1 << 38),
        "sparse, quantized": torch.empty(1 << 38, device="meta"),
        "levels deep": deep,
        "more than 2,000,000 values": wide,
    }
    for message, value in cases.items():
        path = saved({**checkpoint, "extra": value}, tmp_path / "a.ckpt")
        with pytest.raises(CheckpointError, match=message):
            read_checkpoint(path)
    path = saved({**checkpoint, "extra": torch.sparse_coo_tensor([[0]], torch.ones(1), (1 << 38,))}, path)
    with pytest.raises(CheckpointError):
        read_checkpoint(path)


def test_a_file_that_unpacks_to_more_than_its_size_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"\x80\x02" + b"N0" * 50_000_000 + b"N.")
    with pytest.raises(CheckpointError, match="unpacks to more than its size"):
        read_checkpoint(tmp_path / "a.ckpt")


def test_tensors_stay_in_the_file(trained: Path) -> None:
    whole = read_checkpoint(trained)
    storages = [each.untyped_storage() for each in whole["state_dict"].values()]
    first = min(storage.data_ptr() for storage in storages)
    assert all(storage.data_ptr() - first < trained.stat().st_size for storage in storages)  # one mapping of the file


STRANGE = [
    None,
    True,
    -1,
    2**70,
    1e400,
    "x",
    b"x",
    [],
    {},
    [1],
    {"a": 1},
    {1: 2},
    "os.system",
    "../../x",
    torch.zeros(3),
]


def places(value: Any, path: tuple = ()) -> list[tuple]:
    """Paths to all values in a checkpoint, but only to the first one of tensor dicts and long lists."""
    found = [path] if path else []
    if isinstance(value, dict):
        keys = list(value)[:3] if len(value) > 40 or path[-1:] == ("state",) else list(value)
        found += [each for key in keys for each in places(value[key], (*path, key))]
    elif isinstance(value, list):
        found += [each for i in range(min(2, len(value))) for each in places(value[i], (*path, i))]
    return found


def changed(value: Any, path: tuple, new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(copy[path[0]], path[1:], new)
    return copy


def without(value: Any, path: tuple) -> Any:
    copy = dict(value) if isinstance(value, dict) else list(value)
    if len(path) == 1:
        del copy[path[0]]
    else:
        copy[path[0]] = without(copy[path[0]], path[1:])
    return copy


def test_malformed_checkpoints_load_or_raise_one_error(checkpoint: dict[str, Any], tmp_path: Path) -> None:
    """A malformed checkpoint never raises a Python error."""
    chance, spots = random.Random(0), places(checkpoint)
    record = [
        path for path in spots if path[0] in ("lightning_flows", "state_dict", "epoch", "pytorch-lightning_version")
    ]
    for i in range(150):
        path = chance.choice(record)
        other = without(checkpoint, path) if i % 5 == 0 else changed(checkpoint, path, chance.choice(STRANGE))
        file = saved(other, tmp_path / "a.ckpt")
        error = error_of(lambda file=file: load_model(file))
        assert error is None or (isinstance(error, FlowsError) and "\n" not in str(error)), (path, error)


def error_of(function: Callable[[], Any]) -> Exception | None:
    try:
        function()
    except Exception as error:
        return error
    return None


@pytest.fixture(scope="module")
def resumable(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Model, data and a checkpoint to resume from; nothing is left to train."""
    folder = tmp_path_factory.mktemp("resumable")
    cli = run(["fit", *tiny, "--trainer.logger=false", f"--trainer.default_root_dir={folder}"])
    cli.trainer.save_checkpoint(folder / "a.ckpt")
    return cli.model, cli.datamodule, torch.load(folder / "a.ckpt", weights_only=True)


def test_malformed_training_states_resume_or_raise_one_error(resumable: Any, tmp_path: Path) -> None:
    model, data, whole = resumable
    chance = random.Random(1)
    parts = ("optimizer_states", "lr_schedulers", "loops", "callbacks", "global_step")
    spots = [path for path in places(whole) if path[0] in parts]
    options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    refused = 0
    for i in range(60):
        path = chance.choice(spots)
        other = without(whole, path) if i % 4 == 0 else changed(whole, path, chance.choice(STRANGE))
        file = saved(other, tmp_path / "a.ckpt")
        trainer = Trainer(
            **options, max_epochs=2, default_root_dir=tmp_path, limit_train_batches=1, limit_val_batches=0
        )
        error = error_of(lambda t=trainer, f=file: t.fit(model, datamodule=data, ckpt_path=f, **WEIGHTS_ONLY))
        assert error is None or (isinstance(error, CheckpointError) and "\n" not in str(error)), (path, error)
        refused += error is not None
    assert refused > 10
