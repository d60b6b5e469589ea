import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from lightning_flows.app.cli import main
from tests.reporting.runs import write_curve

EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>"


class Tags(HTMLParser):
    """Tags and attributes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture
def page(write_run, tmp_path: Path, capsys) -> str:
    """A report on a complete run, an untested one, a broken one, and one with hostile names and config."""
    whole = write_run("table1/conv1x1_seed0", runtime={"train_step_seconds": 0.5, "device": "CPU", "torch": "2.0"})
    (whole / "samples").mkdir()
    Image.new("RGB", (64, 64)).save(whole / "samples/epoch_0000.png")
    write_curve(whole, {1: 4.0, 2: 3.0})
    untested = write_run("table1/untested")
    (untested / "tests.jsonl").unlink()
    broken = write_curve(write_run("table1/broken_seed1", seed=1), {1: 4.0, 2: 3.0})
    broken.write_bytes(broken.read_bytes()[:-3])
    evil = write_run("table1/" + EVIL.replace("/", "∕"), seed=2, metrics={"test/bpd": 4.0, EVIL: 1.0})
    write_curve(evil, {1: 4.0})
    with (evil / "config.yaml").open("a") as file:
        file.write(f"note: '</pre>{EVIL}'\n")
    (evil / "samples").mkdir()
    (evil / "samples/epoch_0000.png").write_text("no image")
    main(["report", f"--runs={tmp_path}", f"--out={tmp_path}/page.html"])
    assert "4 runs, 3 incomplete" in capsys.readouterr().out
    return (tmp_path / "page.html").read_text(encoding="utf-8")


def test_contents_of_the_page(page: str) -> None:
    for text in ("Table 1", "3.285 ± 0.008", "4.000", "Newest samples", "0.500", "seed_everything: 0", "torch"):
        assert text in page
    assert page.count('<details class="run">') == 4
    missing = page.partition("Missing or broken")[2].partition("</section>")[0]
    assert "table1/untested/version_0</b>: not tested" in missing
    assert re.search(r"table1/broken_seed1/version_0</b>: events\S+ is damaged", missing)
    assert "epoch_0000.png cannot be read as PNG" in missing


def test_names_and_configs_are_escaped(page: str) -> None:
    tags = Tags(page).found
    assert [tag for tag, _ in tags].count("script") == 1  # the page's own
    assert not {"iframe", "object", "link", "base", "form"} & {tag for tag, _ in tags}
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]
    assert [attributes["src"][:22] for tag, attributes in tags if tag == "img"] == ["data:image/webp;base64"]
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 2  # in the config and in the metrics
    assert "default-src 'none'" in page


def test_only_the_page_s_own_script_runs(page: str) -> None:
    """A browser runs a script only if its hash is that of the policy; handlers and evaluated text have none."""
    (script,) = re.findall("<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert re.findall('script-src ([^;"]*)', page) == [f"'sha256-{digest}'"]
    assert not re.search("innerHTML|eval|Function|fetch|import", script)


def test_the_page_loads_nothing(page: str) -> None:
    assert not re.search(r"https?://|url\(|@import", page)
    assert {attributes["href"][0] for tag, attributes in Tags(page).found if tag == "a"} <= {"#"}


def test_dark_mode_and_narrow_screens(page: str) -> None:
    assert "prefers-color-scheme: dark" in page
    assert "width=device-width" in page
    assert page.count('<div class="wide"') == page.count("<table>") > 1


def test_an_existing_file_is_kept_unless_overwritten(write_run, tmp_path: Path, capsys) -> None:
    write_run("a")
    out = tmp_path / "page.html"
    out.write_text("mine")
    with pytest.raises(SystemExit) as error:
        main(["report", f"--runs={tmp_path}", f"--out={out}"])
    assert error.value.code == 1
    assert "page.html exists: choose another file, or add --overwrite" in capsys.readouterr().err
    assert out.read_text() == "mine"
    main(["report", f"--runs={tmp_path}", f"--out={out}", "--overwrite"])
    assert "<html" in out.read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--runs={}/nowhere"], "nowhere is not a folder"),
        (["--runs={}"], "there are no runs below"),
        (["--runs={}", "--out={}/a.png"], "a.png is not an HTML file"),
    ],
)
def test_wrong_usage(tmp_path: Path, capsys, options: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as error:
        main(["report", f"--out={tmp_path}/page.html", *(option.format(tmp_path) for option in options)])
    assert error.value.code == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
