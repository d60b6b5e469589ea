"""Hostile files in a run's folder: each gives one sentence immediately, and nothing outside is read."""

import os
import socket
from pathlib import Path

import pytest

from lightning_flows.errors import DataError
from lightning_flows.reporting.tables import run_files
from lightning_flows.reporting.tables.run_files import parse_json, parse_yaml, read_bytes, read_text

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


def test_regular_files_and_links_within_the_folder_are_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("é")
    (tmp_path / "b").symlink_to("a")
    for name in ("a", "b"):
        assert read_text(tmp_path / name, tmp_path, 2) == "é"
    with pytest.raises(DataError, match="is larger than 1 bytes"):
        read_bytes(tmp_path / "a", tmp_path, 1)
    folder = tmp_path / "link"
    folder.symlink_to(tmp_path)  # the run's folder itself may be one
    assert read_text(folder / "b", folder, 2) == "é"


@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "folder", "nothing", "loop", "nul", "secret", "text"])
def test_other_files_are_refused(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    run.mkdir()
    path = run / "config.yaml"
    (tmp_path / "secret").write_text("secret")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        monkeypatch.chdir(run)  # socket paths must be short
        socket.socket(socket.AF_UNIX).bind("config.yaml")
    elif kind == "folder":
        path.mkdir()
    elif kind == "text":
        path.write_bytes(b"\xff\xfe")
    elif kind == "nul":
        path = run / "a\0b"
    elif kind != "nothing":
        path.symlink_to({"device": "/dev/zero", "loop": "config.yaml", "secret": "../secret"}[kind])
    with pytest.raises(DataError, match=r"config\.yaml|a.*b") as error:
        read_text(path, run, 100)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 3000, "{a: " * 100 + "1" + "}" * 100, "- " * 200, "a: [", LAUGHS, "a: &a [*a]", "a: *b", "\t", "a: \0",
        "a: 9" + "9" * 400, "a: 0x" + "f" * 400, "a: " + "59:" * 5000 + "59", "a: 2026-13-45", "a: !!int ''",
        "a: !!python/object/apply:os.system [x]", "? [a]\n: b", "a: !!binary 'é'", "a: !!timestamp x", "a: !!set x",
        "[" + "a, " * 100_001 + "]",
    ],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_yaml_that_is_not_a_config(text: str) -> None:
    with pytest.raises(DataError, match=r"config\.yaml") as error:
        parse_yaml(text, "config.yaml")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def test_yaml_with_references(monkeypatch: pytest.MonkeyPatch) -> None:
    for loader in {run_files.LOADER, run_files.yaml.SafeLoader}:
        monkeypatch.setattr(run_files, "LOADER", loader)
        assert parse_yaml("a: &a {b: [1, 2.5, null, true]}\nc: *a", "x")["c"] == {"b": [1, 2.5, None, True]}
        with pytest.raises(DataError, match="more than 100000 values"):
            parse_yaml(LAUGHS, "x")


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a": ' * 70 + "1" + "}" * 70, "{", "", "1" * 400, "9" * 5000, "[1e5, -9223372036854775809]"],
)
def test_json_that_is_not_a_record(text: str) -> None:
    with pytest.raises(DataError, match=r"line 3 of tests\.jsonl"):
        parse_json(text, "line 3 of tests.jsonl")
