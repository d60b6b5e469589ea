from pathlib import Path

import pytest

from lightning_flows.config_files import CONFIG_DIR, find_configs, load_config
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
