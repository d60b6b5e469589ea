from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lightning_flows.callbacks import PredictionWriter
from lightning_flows.errors import OutputError, UsageError
from tests.test_files import full_disk


def write(path: Path, names: list[str]) -> None:
    """Write rows as a trainer on one device would, in reverse order."""
    trainer = SimpleNamespace(
        world_size=1, is_global_zero=True, datamodule=SimpleNamespace(predict_names=lambda: names)
    )
    writer = PredictionWriter(path)
    writer.setup(trainer, None, "predict")
    for index in reversed(range(len(names))):
        batch = {"index": torch.tensor([index]), "bpd": torch.tensor([index / 4])}
        writer.on_predict_batch_end(trainer, None, batch, None, 0)
    assert not path.exists()
    writer.on_predict_epoch_end(trainer, None)


def test_rows_are_in_order_and_names_are_text(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", ["one", "two, with a comma", "caf\udce9.png", "é"])
    content = (tmp_path / "a.csv").read_bytes()
    assert (
        content
        == 'index,name,bpd\r\n0,one,0.0\r\n1,"two, with a comma",0.25\r\n2,caf\\udce9.png,0.5\r\n3,é,0.75\r\n'.encode()
    )


def test_no_file_remains_on_a_full_disk_and_a_retry_works(tmp_path: Path) -> None:
    names = [f"image {i}" for i in range(2000)]
    with full_disk(), pytest.raises(OutputError, match=r"a\.csv could not be written \(File too large\)"):
        write(tmp_path / "a.csv", names)
    assert not list(tmp_path.iterdir())
    write(tmp_path / "a.csv", names)
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 2001


def test_no_file_remains_after_an_error(tmp_path: Path) -> None:
    trainer = SimpleNamespace(world_size=1, is_global_zero=True, datamodule=SimpleNamespace(predict_names=lambda: []))
    writer = PredictionWriter(tmp_path / "a.csv")
    writer.on_predict_batch_end(trainer, None, {"index": torch.tensor([7])}, None, 0)
    with pytest.raises(IndexError):
        writer.on_predict_epoch_end(trainer, None)
    assert not list(tmp_path.iterdir())


def test_rows_of_many_chunks_and_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_flows.callbacks.prediction_writer.CHUNK", 7)
    trainer = SimpleNamespace(
        world_size=1, is_global_zero=True, datamodule=SimpleNamespace(predict_names=lambda: "abc" * 9)
    )
    writer = PredictionWriter(tmp_path / "a.csv")
    for rank in range(2):
        index = torch.arange(rank, 27, 2)
        writer.on_predict_batch_end(
            trainer, None, {"nll": index / 2, "index": index, "log_likelihood": -index}, None, 0
        )
    writer.on_predict_epoch_end(trainer, None)
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines[0] == "index,name,nll,log_likelihood"
    assert lines[1:] == [f"{i},{'abc'[i % 3]},{i / 2},{-i}" for i in range(27)]


@pytest.mark.parametrize(
    ("path", "page", "fact"),
    [("a.txt", None, "a.txt is not a CSV file"), ("a.csv", "b.png", "b.png is not an HTML file")],
)
def test_other_suffixes_are_refused(path: str, page: str | None, fact: str) -> None:
    with pytest.raises(UsageError, match=fact):
        PredictionWriter(path, page=page)
