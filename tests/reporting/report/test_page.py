"""The page for a few runs; test_report.py tests the command with broken and hostile runs."""

import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from lightning_flows import __version__
from lightning_flows.reporting.report import Report, report_page
from lightning_flows.reporting.tables.runs import read_runs
from tests.reporting.runs import RUNTIME, image_model, write_curve


def report(folder: Path, title: str = "Runs of today") -> Report:
    return report_page(read_runs(folder), title)


def page(folder: Path, title: str = "Runs of today") -> str:
    return report(folder, title).html


def test_a_complete_run_has_no_problems(write_run, tmp_path) -> None:
    folder = write_run("a", runtime={"train_step_seconds": 0.25})
    write_curve(folder, {1: 4.0, 2: 3.0})
    (folder / "samples").mkdir()
    Image.new("RGB", (64, 16)).save(folder / "samples/epoch_0007.png")
    html = page(tmp_path)
    assert "Missing or broken" not in html
    assert "incomplete" not in html
    assert re.search(
        rf"1 run; written \d{{4}}-\d\d-\d\d \d\d:\d\d UTC by lightning_flows {re.escape(__version__)}\.", html
    )
    assert "<figcaption>a, epoch 0007</figcaption>" in html
    assert re.search(r'<figure class="long">\s*<img', html)
    captions = ["Table 1 of the paper", "Results", "Runtimes and versions", "Metrics of the test"]
    assert re.findall("<caption>(.*?)</caption>", html) == captions
    assert "<title>Validation on SamplePhotos: bits per dimension by step</title>" in html
    assert "<title>a, step 2: 3</title>" in html
    assert report(tmp_path).num_incomplete == 0


def test_each_missing_item_of_a_run_is_reported(write_run, tmp_path) -> None:
    (write_run("bare") / "tests.jsonl").unlink()
    html = page(tmp_path)
    missing = html.partition("Missing or broken")[2].partition("</section>")[0]
    assert re.findall(r"<li><b>(.*?)</b>: (.*?): ", missing) == [
        ("bare/version_0", "not tested"),
        ("bare/version_0", "no curves"),
    ]
    assert html.count("incomplete") == 2  # in the header, with a link, and at the run
    assert '1 run, <a href="#problems">1 incomplete</a>; written' in html
    for absent in ("Curves", "Newest samples", "<table", "<img", "<figure"):
        assert absent not in html


def test_a_table_that_cannot_be_built_states_the_reason(write_run, tmp_path) -> None:
    write_run("a", model=image_model("CouplingFlow"))
    write_run("b", model=image_model("ResidualFlow"), trainer={"max_epochs": 5})
    assert re.search(
        r'<p class="note">Table 2 of the paper is omitted: runs of a table may only differ', page(tmp_path)
    )


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("no test", "not tested: run"),
        ("diverged", "diverged: its loss"),
        ("image", "epoch_0.png cannot be read"),
        ("curve", "is damaged"),
        ("record", "run.json is not a plain record: "),
        ("stopped", "it is stopped, not finished: resume it"),
    ],
)
def test_problems_are_listed_at_the_end(write_run, tmp_path, damage: str, message: str) -> None:
    folder = write_run("a")
    events = write_curve(folder, {1: 4.0, 2: 3.0})
    if damage in ("no test", "diverged"):
        (folder / "tests.jsonl").write_text("")
        if damage == "diverged":
            (folder / "run.json").write_text('{"state": "diverged"}')
    elif damage == "image":
        (folder / "samples").mkdir()
        (folder / "samples/epoch_0.png").write_text("no image")
    elif damage == "record":
        (folder / "run.json").write_text('{"broken')
    elif damage == "stopped":
        (folder / "run.json").write_text('{"state": "stopped"}')
    else:
        events.write_bytes(events.read_bytes()[:-3])
    html, num_incomplete = report(tmp_path)
    assert num_incomplete == 1
    last = html.rpartition('<section class="problems"')[2]
    (problem,) = re.findall("<li><b>a/version_0</b>: (.*?)</li>", last)
    assert message in problem


def test_the_newest_image_is_shown(write_run, tmp_path) -> None:
    folder = write_run("a") / "samples"
    folder.mkdir()
    for epoch in (2, 10, 9):
        Image.new("RGB", (8, 8)).save(folder / f"epoch_{epoch:04d}.png")
    assert re.findall("<figcaption>(a, .*?)</figcaption>", page(tmp_path)) == ["a, epoch 0010"]


def test_each_table_has_row_headers_and_scrolls_by_keyboard(write_run, tmp_path) -> None:
    write_run("a")
    html = page(tmp_path)
    regions = re.findall(r'<div class="wide" role="region" aria-label="[^"]+" tabindex="0"><table>', html)
    assert len(regions) == html.count("<table>") == html.count("<caption>")
    for row in re.findall(r"<tr>(?!<th scope=\"col\").*?</tr>", html):
        assert row.startswith('<tr><th scope="row">')


def test_long_cells_may_wrap_and_numbers_may_not(write_run, tmp_path) -> None:
    write_run("a", model=image_model("ConvSylvesterFlow", ablation="none"))
    html = page(tmp_path)
    assert '<td class="long">Conv<wbr>Sylvester<wbr>Flow</td>' in html
    assert "<td>3.900</td>" in html
    assert "td.long { white-space: normal; overflow-wrap: break-word;" in html  # not within a word


def test_runs_of_one_name_are_told_apart(write_run, tmp_path) -> None:
    first = write_run("photos", runtime=RUNTIME)
    write_curve(first, {1: 4.0, 2: 3.0})
    shutil.copytree(first, first.with_name("version_1"))
    html = page(tmp_path).replace("<wbr>", "")
    for name in ("photos/version_0", "photos/version_1"):
        assert html.count(f'<th scope="row">{name}</th>') == 2  # results and runtimes
        assert f"</svg>{name}</span>" in html  # legend
        assert f"Training and validation of {name}" in html


def test_control_characters_are_escaped(write_run, tmp_path) -> None:
    write_run("a\x1b[31m\u202eb")
    html = page(tmp_path)
    assert "a\\x1b[31m\\u202eb" in html
    assert not set("\x1b\u202e") & set(html)


def test_the_title_is_text(write_run, tmp_path) -> None:
    write_run("a")
    html = page(tmp_path, title="<b>a</b> & 'b'")
    text = "&lt;b&gt;a&lt;/b&gt; &amp; &#39;b&#39;"
    assert f"<title>{text}</title>" in html
    assert f"<h1>{text}</h1>" in html
    assert "<b>a</b>" not in html


@pytest.mark.parametrize("name", ["<i>&", '" onclick="x'])
def test_names_in_attributes_legends_and_links_are_text(write_run, tmp_path, name) -> None:
    for run in ("one", f"{name}_seed0"):
        folder = write_run(f"{name}/{run}")
        write_curve(folder, {1: 4.0, 2: 3.0})
        (folder / "samples").mkdir()
        Image.new("RGB", (8, 8)).save(folder / f"samples/{name}.png")
    write_run("other/a")
    html = page(tmp_path)
    assert html.count(name) == 0
    assert 'alt="grid of images sampled from one, ' in html


def test_experiments_have_links_and_sections(write_run, tmp_path) -> None:
    for name in ("a", "table1/b", "table1/c", "table2/d"):
        write_run(name)
    html = page(tmp_path)
    links = re.findall(r'<a href="#([^"]*)">([^<]*)</a>', html.partition("<nav")[2])
    assert links == [("experiment-1", "other runs"), ("experiment-2", "table1"), ("experiment-3", "table2")]
    sections = re.findall(r'<section id="([^"]*)">\s*<h2>([^<]*)</h2>', html)
    assert sections == [("experiment-1", "Other runs"), ("experiment-2", "table1"), ("experiment-3", "table2")]
    second = html.partition('id="experiment-2"')[2].partition("</section>")[0]
    assert re.findall(r"<summary><b>([^<]*)</b>", second) == ["table1/b/version_0", "table1/c/version_0"]
    assert "4 runs" in html


def test_the_best_runs_come_first_if_there_are_several_models(write_run, tmp_path) -> None:
    write_run("one/a")
    assert "Best runs" not in page(tmp_path)
    write_run("two/b", model=image_model("ResidualFlow"), bpd=3.5)
    html = page(tmp_path)
    assert re.findall("<caption>(.*?)</caption>", html)[0] == "Best runs"
    rows = re.findall(r'<tr><th scope="row">(\w+)</th><td>([\d.]+)</td>', html.partition("<h2>")[0])
    assert rows == [("ResidualFlow", "3.500"), ("GlowFlow", "4.000")]


def test_one_experiment_needs_neither_links_nor_a_heading(write_run, tmp_path) -> None:
    write_run("a")
    html = page(tmp_path)
    assert "<nav" not in html
    assert re.findall("<h2>(.*?)</h2>", html) == ["Missing or broken"]


def test_metrics_are_sorted_with_six_digits_and_other_values_unchanged(write_run, tmp_path) -> None:
    write_run("a", metrics={"test/bpd": 3.14159265, "b": None, "a": "one < two", "c": 12345678.0})
    cells = re.findall(r'<tr><th scope="row">([^<]*)</th><td>([^<]*)</td></tr>', page(tmp_path))
    assert cells == [("a", "one &lt; two"), ("b", "None"), ("c", "1.23457e+07"), ("test/bpd", "3.14159")]
