"""The page of a few runs; what the command writes, with broken and hostile runs, is in test_report.py."""

import re
from pathlib import Path

import pytest
from PIL import Image

from lightning_flows import __version__
from lightning_flows.reporting.report import read_trainings
from lightning_flows.reporting.report.page import report_page
from tests.reporting.tables.test_events import write


def page(folder: Path, title: str = "Runs of today") -> str:
    return report_page(read_trainings(folder), title)


def test_a_whole_run_lacks_nothing(write_run, tmp_path) -> None:
    folder = write_run("a", runtime={"train_step_seconds": 0.25})
    write(folder, {1: 4.0, 2: 3.0})
    (folder / "samples").mkdir()
    Image.new("RGB", (64, 16)).save(folder / "samples/epoch_0007.png")
    html = page(tmp_path)
    assert "Missing or broken" not in html
    assert "incomplete" not in html
    assert re.search(rf"1 run, lightning_flows {re.escape(__version__)}\.", html)
    assert "<figcaption>a, epoch 0007</figcaption>" in html
    assert re.search(r'<figure class="long">\s*<figcaption>a, epoch', html)
    assert html.count("<h3>Table 1</h3>") == 1
    assert "Validation, SamplePhotosDataModule: bits per dimension" in html


def test_of_an_empty_run_each_thing_that_is_missing_is_a_sentence(tmp_path) -> None:
    (tmp_path / "bare/version_0").mkdir(parents=True)
    (tmp_path / "bare/version_0/config.yaml").write_text("")
    html = page(tmp_path)
    missing = html.partition("Missing or broken")[2].partition("</section>")[0]
    assert re.findall(r"<li><b>(.*?)</b>: (.*?): ", missing) == [
        ("bare/version_0", "no test"),
        ("bare/version_0", "no curves"),
    ]
    assert html.count("incomplete") == 1
    for absent in ("Curves", "Newest samples", "<h3>Table", "<img", "<figure", "<pre>"):
        assert absent not in html


def test_a_table_that_cannot_be_made_says_why(write_run, tmp_path) -> None:
    write_run("a")
    write_run("b", max_epochs=5)
    assert re.search(r'<p class="problem">No table: expected runs that differ in mixing', page(tmp_path))


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
        write(folder, {1: 4.0, 2: 3.0})
        (folder / "samples").mkdir()
        Image.new("RGB", (8, 8)).save(folder / f"samples/{name}.png")
    write_run("other/a")
    html = page(tmp_path)
    assert html.count(name) == 0
    assert 'alt="samples of one"' in html


def test_experiments_have_links_and_sections(write_run, tmp_path) -> None:
    for name in ("a", "table1/b", "table1/c", "table2/d"):
        write_run(name)
    html = page(tmp_path)
    links = re.findall(r'<a href="#([^"]*)">([^<]*)</a>', html)
    assert links == [("experiment-1", "other runs"), ("experiment-2", "table1"), ("experiment-3", "table2")]
    sections = re.findall(r'<section id="([^"]*)">\s*<h2>([^<]*)</h2>', html)
    assert sections == [("experiment-1", "Runs"), ("experiment-2", "table1"), ("experiment-3", "table2")]
    second = html.partition('id="experiment-2"')[2].partition("</section>")[0]
    assert re.findall(r"<summary><b>([^<]*)</b>", second) == ["table1/b/version_0", "table1/c/version_0"]
    assert "4 runs" in html


def test_one_experiment_needs_no_links(write_run, tmp_path) -> None:
    write_run("a")
    assert "<nav>" not in page(tmp_path)


def test_metrics_are_sorted_with_six_digits_and_what_is_no_number_as_it_is(write_run, tmp_path) -> None:
    write_run("a", metrics={"test/bpd": 3.14159265, "b": None, "a": "one < two", "c": 12345678.0})
    cells = re.findall(r"<tr><td>([^<]*)</td><td>([^<]*)</td></tr>", page(tmp_path))
    assert cells == [("a", "one &lt; two"), ("b", "None"), ("c", "1.23457e+07"), ("test/bpd", "3.14159")]
