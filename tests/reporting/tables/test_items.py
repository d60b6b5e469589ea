"""Results of items are read as they were written, and any other file is an error in one sentence."""

import io
import json
import os
import zipfile

import numpy as np
import pytest

from lightning_flows.errors import DataError, OutputError
from lightning_flows.reporting.tables import items
from lightning_flows.reporting.tables.items import read_items, write_items
from lightning_flows.reporting.tables.runs import read_run
from tests.reporting.runs import write_items_of
from tests.test_files import full_disk

LOSS = np.array([3.5, 4.0, 5.25])


@pytest.fixture
def folder(write_run):
    """A run whose test had three items."""
    folder = write_run("a")
    write_items_of(folder, {"loss": LOSS, "nll_bpd": LOSS - 0.125})
    return folder


def test_what_was_written_is_read(folder):
    found = read_items(read_run(folder))
    assert found.index.tolist() == [0, 1, 2]
    assert found.values["loss"].tolist() == LOSS.tolist()
    assert found.values["nll_bpd"].tolist() == [3.375, 3.875, 5.125]
    assert (found.digest, found.seed) == ("a", 0)


def test_a_run_without_results_of_items_is_read(write_run):
    assert read_items(read_run(write_run("a"))) is None


def test_no_file_is_overwritten(tmp_path):
    (tmp_path / "items_1.npz").write_text("mine")
    (tmp_path / "items_3.npz").symlink_to("nowhere")
    names = [write_items(tmp_path, np.arange(3), {"loss": LOSS + i}) for i in range(3)]
    assert names == ["items_0.npz", "items_2.npz", "items_4.npz"]
    assert (tmp_path / "items_1.npz").read_text() == "mine"
    with np.load(tmp_path / "items_2.npz") as file:
        assert file["loss"].tolist() == (LOSS + 1).tolist()


def test_two_writers_at_once_have_their_own_files(tmp_path, monkeypatch):
    def first(path):
        monkeypatch.setattr(items, "created", created)
        write_items(tmp_path, np.arange(3), {"loss": LOSS})
        return created(path)

    created = items.created
    monkeypatch.setattr(items, "created", first)
    assert write_items(tmp_path, np.arange(3), {"loss": LOSS}) == "items_1.npz"


def test_a_full_disk_leaves_no_file(tmp_path):
    with full_disk(), pytest.raises(OutputError):
        write_items(tmp_path, np.arange(9000), {"loss": np.zeros(9000)})
    assert not list(tmp_path.iterdir())


def test_more_items_than_can_be_read_are_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(items, "MAX_ITEMS", 2)
    with pytest.raises(OutputError, match="3 items with 1 results do not fit in a file"):
        write_items(tmp_path, np.arange(3), {"loss": LOSS})


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"index": np.arange(2), "loss": LOSS}, "has index of shape 2, not 3"),
        ({"index": np.arange(3), "loss": LOSS[:, None]}, "has loss of shape 3 x 1, not 3"),
        ({"index": np.arange(3.0), "loss": LOSS}, "index is float64, not int64"),
        ({"index": np.arange(3), "loss": LOSS.astype(np.float32)}, "loss is float32, not float64"),
        ({"index": np.array([0, 2, 2]), "loss": LOSS}, "index does not increase"),
        ({"index": np.array([1, 0, 2]), "loss": LOSS}, "index does not increase"),
        ({"index": np.array([-1, 0, 2]), "loss": LOSS}, "index does not increase from 0"),
        ({"index": np.arange(3), "loss": np.array([3.5, np.nan, 5.25])}, "loss is not finite"),
        ({"index": np.arange(3), "loss": LOSS + 1e-3}, r"the mean of loss is 4\.251, but test/loss is 4\.25"),
        ({"index": np.arange(3), "kl": LOSS}, "the record has no test/kl"),
        ({"loss": LOSS}, "index"),
        ({"index": np.arange(3), "loss": np.array([None] * 3)}, "has loss of object, not of numbers"),
        ({"index": np.arange(3), **{f"a{i}": LOSS for i in range(8)}}, "it has 9 arrays"),
    ],
)
def test_other_arrays_are_an_error(folder, arrays, message):
    np.savez(folder / "items_0.npz", **arrays)
    with pytest.raises(
        DataError, match=rf"items_0\.npz does not contain the results of 3 items: .*{message}.*; rerun the"
    ):
        read_items(read_run(folder))


@pytest.mark.parametrize("kind", ["missing", "text", "short", "long", "link", "bomb", "claims", "pipe"])
def test_other_files_are_an_error(folder, tmp_path, kind):
    path = folder / "items_0.npz"
    content = path.read_bytes()
    path.unlink()
    if kind == "link":
        (tmp_path / "other.npz").write_bytes(content)
        path.symlink_to(tmp_path / "other.npz")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind in ("bomb", "claims"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in ("index", "loss"):
                buffer = io.BytesIO()
                np.save(buffer, np.zeros(3, np.int64 if name == "index" else np.float64))
                num = b"99999999999" if kind == "claims" else b"3"
                archive.writestr(f"{name}.npy", buffer.getvalue().replace(b"(3,)", b"(" + num + b",)") + bytes(10**7))
    elif kind != "missing":
        path.write_bytes({"text": b"hello", "short": content[:-30], "long": content + bytes(9000)}[kind])
    with pytest.raises(DataError, match=r"items_0\.npz") as error:
        read_items(read_run(folder))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["../items_0.npz", "items_0.npz/..", "/etc/passwd", "items_0.npz\n", ""])
def test_the_file_must_be_in_the_folder(folder, name):
    record = json.loads((folder / "tests.jsonl").read_text())
    record["items"]["file"] = name
    (folder / "tests.jsonl").write_text(json.dumps(record))
    with pytest.raises(DataError, match="rerun the test") as error:
        read_items(read_run(folder))
    assert "\n" not in str(error.value)


def test_repeated_items_may_change_the_mean(folder):
    record = json.loads((folder / "tests.jsonl").read_text())
    record["metrics"]["test/loss"] = 4.3
    record["items"]["num_repeated"] = 1
    (folder / "tests.jsonl").write_text(json.dumps(record))
    assert read_items(read_run(folder)).values["loss"].mean() == 4.25
