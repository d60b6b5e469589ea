from pathlib import Path

import pytest
import torch
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c
from torch.utils.tensorboard import SummaryWriter

from lightning_flows.reporting.tables.events import read_scalars
from tests.reporting.runs import write_curve


def test_curves_are_in_the_order_of_steps(tmp_path: Path) -> None:
    write_curve(tmp_path, {5: 1.0, 2: 2.0})
    scalars = read_scalars(tmp_path)
    assert scalars.curves == {"val/bpd": [(2, 2.0), (5, 1.0)]}
    assert scalars.problems == []


def test_steps_logged_again_after_resuming_count_once(tmp_path: Path) -> None:
    first = write_curve(tmp_path, {1: 4.0, 2: 9.0}, suffix=".a")
    first.rename(tmp_path / "events.out.tfevents.1")
    write_curve(tmp_path, {2: 3.0, 3: 2.0}, suffix=".b").rename(tmp_path / "events.out.tfevents.2")
    assert read_scalars(tmp_path).curves["val/bpd"] == [(1, 4.0), (2, 3.0), (3, 2.0)]


@pytest.mark.parametrize("damage", ["truncated", "flipped", "zeros"])
def test_values_before_the_damage_are_kept_and_the_file_is_named(tmp_path: Path, damage: str) -> None:
    path = write_curve(tmp_path, dict.fromkeys(range(100), 1.0))
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[len(data) // 2] ^= 255
    path.write_bytes(data[: len(data) // 2 + 5] if damage == "truncated" else data)
    if damage == "zeros":
        path.write_bytes(data[: len(data) // 2] + bytes(1000))
    scalars = read_scalars(tmp_path)
    assert 30 < len(scalars.curves["val/bpd"]) < 70
    (problem,) = scalars.problems
    assert path.name in problem
    assert "damaged after" in problem


def test_a_corrupted_value_is_not_used(tmp_path: Path) -> None:
    path = write_curve(tmp_path, {1: 1.0, 2: 2.0})
    data = bytearray(path.read_bytes())
    data[-5] ^= 1  # the last byte before the checksum
    path.write_bytes(data)
    scalars = read_scalars(tmp_path)
    assert scalars.curves["val/bpd"] == [(1, 1.0)]
    assert scalars.problems


def test_a_truncated_image_is_a_problem(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_image("image", torch.rand(3, 64, 64), 1)
    (path,) = tmp_path.glob("events*")
    path.write_bytes(path.read_bytes()[:-100])
    assert read_scalars(tmp_path).problems


def test_images_are_skipped(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_scalar("a", 1.0, 1)
        writer.add_image("image", torch.rand(3, 64, 64), 1)
        writer.add_scalar("a", 2.0, 2)
    assert read_scalars(tmp_path).curves == {"a": [(1, 1.0), (2, 2.0)]}
    assert read_scalars(tmp_path).problems == []


def test_without_event_files_there_are_no_curves(tmp_path: Path) -> None:
    assert read_scalars(tmp_path).curves == {}
    (tmp_path / "events.out.tfevents.1").write_bytes(b"no events at all, only text")
    assert read_scalars(tmp_path).problems


@pytest.mark.parametrize("length", [2**33, 2**63, 2**64 - 1, 2**40])
def test_a_record_that_claims_to_be_huge(tmp_path: Path, length: int) -> None:
    path = write_curve(tmp_path, {1: 1.0})
    head = length.to_bytes(8, "little")
    with path.open("ab") as file:
        file.write(head + masked_crc32c(head).to_bytes(4, "little") + bytes(100))
    scalars = read_scalars(tmp_path)
    assert scalars.curves == {"val/bpd": [(1, 1.0)]}
    assert "damaged after 2 events" in scalars.problems[0]


@pytest.mark.parametrize("limit", ["MAX_EVENTS", "MAX_BYTES"])
def test_larger_files_are_cut_off(tmp_path: Path, limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"lightning_flows.reporting.tables.events.{limit}", 4)
    path = write_curve(tmp_path, dict.fromkeys(range(9), 1.0))
    scalars = read_scalars(tmp_path)
    steps = [step for step, _ in scalars.curves.get("val/bpd", [])]
    assert steps == ([0, 1, 2] if limit == "MAX_EVENTS" else [])  # a file begins with a header event
    assert path.name in scalars.problems[0]
    assert "or larger than" in scalars.problems[0]
