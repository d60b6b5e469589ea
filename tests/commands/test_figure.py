"""Every figure renders without a screen; mistakes are told."""

from pathlib import Path

import pytest
from PIL import Image

from lightning_flows.cli import main
from lightning_flows.commands.figure import NUMBERS


def draw(tmp_path: Path, name: str, *options: str) -> Path:
    out = tmp_path / "figure.png"
    main(["figure", name, f"--out={out}", "--dpi=40", *options])
    return out


def error(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    with pytest.raises(SystemExit) as exit_info:
        main(["figure", *args])
    assert exit_info.value.code == 1
    return capsys.readouterr().err


def shows_something(path: Path) -> bool:
    with Image.open(path) as image:
        return min(image.size) > 100 and len(image.convert("RGB").getcolors(1 << 20)) > 10


@pytest.mark.parametrize("name", ["1", "2", "3", "4", "exponential_matrix"])
def test_figures_of_the_paper_need_no_checkpoint(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    out = draw(tmp_path, name)
    assert shows_something(out)
    assert f"figure: {out}" in capsys.readouterr().out


@pytest.mark.parametrize(("suffix", "start"), [("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_the_suffix_says_which_kind_of_file(suffix: str, start: bytes, tmp_path: Path) -> None:
    main(["figure", "2", f"--out={tmp_path}/figure.{suffix}"])
    assert (tmp_path / f"figure.{suffix}").read_bytes().startswith(start)


def test_terms_of_a_trained_flow(trained: Path, tmp_path: Path) -> None:
    assert shows_something(draw(tmp_path, "4", f"--ckpt_path={trained}"))


def test_mistakes_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = error(capsys, "7")
    assert "got '7'" in message
    assert all(f"{number} ({name})" in message for number, name in NUMBERS.items())
    assert ".jpg" in error(capsys, "1", f"--out={tmp_path}/figure.jpg")
    existing = tmp_path / "figure.png"
    existing.write_text("precious")
    assert str(existing) in error(capsys, "1", f"--out={existing}")
    assert existing.read_text() == "precious"
    assert "nowhere.ckpt" in error(capsys, "4", f"--out={tmp_path}/a.png", "--ckpt_path=nowhere.ckpt")
