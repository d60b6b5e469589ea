import json
from pathlib import Path

import pytest

from lightning_flows.config_files import CONFIG_DIR, find_configs, load_config, load_configs
from lightning_flows.errors import UsageError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_base_lies_below(here: Path) -> None:
    (here / "one.yaml").write_text("a: {b: 1, c: [1, 2]}\nd: 3\n")
    (here / "two.yaml").write_text("base: one.yaml\na: {c: [4]}\n")
    (here / "three.yaml").write_text("base: two.yaml\nd: null\n")
    assert load_config("three.yaml") == {"a": {"b": 1, "c": [4]}, "d": None}
    (merged,) = find_configs(["--config=three.yaml"])
    assert merged == '--config={"a": {"b": 1, "c": [4]}, "d": null}'
    assert find_configs(["fit", "--config", "one.yaml"]) == ["fit", "--config", "one.yaml"]


def test_a_base_is_looked_for_beside_the_config_and_among_the_packaged(here: Path) -> None:
    (here / "sub").mkdir()
    (here / "sub/one.yaml").write_text("base: two.yaml\n")
    (here / "sub/two.yaml").write_text("a: 1\n")
    assert load_config("sub/one.yaml") == {"a": 1}
    (here / "two.yaml").write_text("a: 2\n")
    assert load_config("sub/one.yaml") == {"a": 1}  # beside it, not here
    (here / "mine.yaml").write_text("base: cpu.yaml\ntrainer: {max_epochs: 9}\n")
    assert load_config("mine.yaml")["trainer"]["max_epochs"] == 9
    assert load_config("mine.yaml")["model"] == load_config("cpu.yaml")["model"]


OVERLAY = "models:\n  One: {size: 1}\n  Two: {width: 2}\nmodel: {init_args: {rate: 3}}\n"


def test_an_overlay_has_sizes_for_each_model(here: Path) -> None:
    (here / "overlay.yaml").write_text(OVERLAY)
    (here / "two.yaml").write_text("model: {class_path: a.b.Two, init_args: {width: 9, depth: 9}}\n")
    (here / "mine.yaml").write_text("model: {init_args: {width: 5}}\n")
    expected = {"class_path": "a.b.Two", "init_args": {"width": 2, "depth": 9, "rate": 3}}
    assert load_configs("two.yaml", "overlay.yaml")["model"] == expected
    _, _, overlay, mine = find_configs(["fit", "--config=two.yaml", "--config=overlay.yaml", "--config=mine.yaml"])
    assert json.loads(overlay.removeprefix("--config=")) == {"model": {"init_args": {"width": 2, "rate": 3}}}
    assert mine == "--config=mine.yaml"


def test_an_overlay_without_sizes(here: Path) -> None:
    (here / "overlay.yaml").write_text("models:\n")
    with pytest.raises(UsageError, match="expected models to give arguments by the name of a model's class; got None"):
        find_configs(["fit", "--config", "overlay.yaml"])


def test_an_overlay_needs_a_model_below(here: Path) -> None:
    (here / "overlay.yaml").write_text(OVERLAY)
    (here / "three.yaml").write_text("model: {class_path: Three}\n")
    with pytest.raises(UsageError, match="among One, Two; got none: give its --config after"):
        find_configs(["fit", "--config", "overlay.yaml"])
    with pytest.raises(UsageError, match="among One, Two; got Three"):
        load_configs("three.yaml", "overlay.yaml")


def test_mistakes(here: Path) -> None:
    (here / "one.yaml").write_text("base: two.yaml\n")
    with pytest.raises(UsageError, match=r"got two\.yaml, which is neither here nor packaged"):
        load_config("one.yaml")
    (here / "two.yaml").write_text("base: one.yaml\n")
    with pytest.raises(UsageError, match=r"one\.yaml, which has itself as base"):
        load_config("one.yaml")
    (here / "sub").mkdir()
    (here / "sub/far.yaml").write_text("base: ../near.yaml\n")
    (here / "near.yaml").write_text("base: sub/far.yaml\n")
    with pytest.raises(UsageError, match=r"near\.yaml, which has itself as base"):
        load_config("near.yaml")


def test_the_file_here_wins_over_the_packaged_one(here: Path) -> None:
    assert find_configs(["--config", "demo.yaml"]) == ["--config", str(CONFIG_DIR / "demo.yaml")]
    (here / "demo.yaml").write_text("# mine\n")
    assert find_configs(["--config", "demo.yaml"]) == ["--config", "demo.yaml"]
    long = '{"a": "' + "x" * 5000 + '"}'
    assert find_configs(["--config", long]) == ["--config", long]


def test_a_config_given_as_text_may_have_a_base(here: Path) -> None:
    (here / "mine.yaml").write_text("a: 1\nb: 2\n")
    assert find_configs(["--config", '{"base": "mine.yaml", "b": 3}']) == ["--config", '{"a": 1, "b": 3}']
