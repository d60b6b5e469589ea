import json
import os
from pathlib import Path

import pytest

from lightning_flows.app.cli import main
from lightning_flows.app.configs import CONFIG_DIR, find_configs, load_configs
from lightning_flows.errors import ConfigError, UsageError
from tests.parsing import Parsed


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_base_lies_below(here: Path) -> None:
    (here / "one.yaml").write_text("a: {b: 1, c: [1, 2]}\nd: 3\n")
    (here / "two.yaml").write_text("base: one.yaml\na: {c: [4]}\n")
    (here / "three.yaml").write_text("base: two.yaml\nd: null\n")
    assert load_configs("three.yaml") == {"a": {"b": 1, "c": [4]}, "d": None}
    below, above = find_configs(["--config=three.yaml"])  # the parser lays one on the other, as it does any two
    assert (below, above) == ('--config={"a": {"b": 1, "c": [4]}, "d": 3}', '--config={"d": null}')
    assert find_configs(["fit", "--config", "one.yaml"]) == ["fit", "--config", "one.yaml"]


def test_a_base_is_looked_for_beside_the_config_and_among_the_packaged(here: Path) -> None:
    (here / "sub").mkdir()
    (here / "sub/one.yaml").write_text("base: two.yaml\n")
    (here / "sub/two.yaml").write_text("a: 1\n")
    assert load_configs("sub/one.yaml") == {"a": 1}
    (here / "two.yaml").write_text("a: 2\n")
    assert load_configs("sub/one.yaml") == {"a": 1}  # beside it, not here
    (here / "mine.yaml").write_text("base: cpu.yaml\ntrainer: {max_epochs: 9}\n")
    assert load_configs("mine.yaml")["trainer"]["max_epochs"] == 9
    assert load_configs("mine.yaml")["model"] == load_configs("cpu.yaml")["model"]


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
    with pytest.raises(
        UsageError, match=r"one\.yaml has the base 'two\.yaml', which is neither beside it nor packaged.*csf_small"
    ):
        load_configs("one.yaml")
    (here / "two.yaml").write_text("base: one.yaml\n")
    with pytest.raises(UsageError, match=r"one\.yaml has itself as base"):
        load_configs("one.yaml")
    (here / "sub").mkdir()
    (here / "sub/far.yaml").write_text("base: ../near.yaml\n")
    (here / "near.yaml").write_text("base: sub/far.yaml\n")
    with pytest.raises(UsageError, match=r"near\.yaml has itself as base"):
        load_configs("near.yaml")


def test_the_file_here_wins_over_the_packaged_one(here: Path) -> None:
    assert find_configs(["--config", "demo.yaml"]) == ["--config", str(CONFIG_DIR / "demo.yaml")]
    (here / "demo.yaml").write_text("# mine\n")
    assert find_configs(["--config", "demo.yaml"]) == ["--config", "demo.yaml"]
    long = '{"a": "' + "x" * 5000 + '"}'
    assert find_configs(["--config", long]) == ["--config", long]


def test_a_config_given_as_text_may_have_a_base(here: Path) -> None:
    (here / "mine.yaml").write_text("a: 1\nb: 2\n")
    assert find_configs(["--config", '{"base": "mine.yaml", "b": 3}']) == [
        "--config",
        '{"a": 1, "b": 2}',
        "--config",
        '{"b": 3}',
    ]


def test_a_base_follows_the_parser_s_rules(here: Path) -> None:
    """Another class drops the other's arguments, ``callbacks+`` of base and child append, 1e-3 is a number."""
    (here / "below.yaml").write_text(
        "model: {class_path: lightning_flows.modules.CSF, init_args: {num_levels: 2, learning_rate: 1e-3}}\n"
        "trainer: {callbacks+: {class_path: lightning.pytorch.callbacks.Timer}}\n"
    )
    (here / "above.yaml").write_text(
        "base: below.yaml\nmodel: {class_path: lightning_flows.modules.CouplingFlow, init_args: {learning_rate: 2e-3}}\n"  # noqa: E501
        "trainer: {callbacks+: {class_path: lightning.pytorch.callbacks.DeviceStatsMonitor}}\n"
    )
    config = load_configs("above.yaml")
    assert config["model"]["init_args"] == {"learning_rate": 0.002}
    assert [each["class_path"].rpartition(".")[2] for each in config["trainer"]["callbacks+"]] == [
        "Timer", "DeviceStatsMonitor"
    ]  # fmt: skip
    by_base = parsed(["fit", "--config=demo.yaml", "--config=above.yaml"])
    stacked = ["fit", "--config=demo.yaml", "--config=below.yaml", "--config=plain.yaml"]
    (here / "plain.yaml").write_text((here / "above.yaml").read_text().partition("\n")[2])
    assert by_base == parsed(stacked)
    assert (
        len(by_base["trainer"]["callbacks"]) == len(parsed(["fit", "--config=demo.yaml"])["trainer"]["callbacks"]) + 2
    )


def parsed(args: list[str]) -> dict:
    config = Parsed(find_configs(args)).config.as_dict()
    config.pop("config")
    return config


def test_errors_name_file_and_line(here: Path) -> None:
    (here / "bad.yaml").write_text("a: 1\nb: [1\nc: 3\n")
    with pytest.raises(ConfigError, match=r"bad\.yaml, line 3"):
        find_configs(["fit", "--config=bad.yaml"])
    (here / "child.yaml").write_text("base: bad.yaml\n")
    with pytest.raises(ConfigError, match=r"bad\.yaml, line 3"):
        find_configs(["fit", "--config=child.yaml"])
    (here / "typo.yaml").write_text("base: csf_smal.yaml\n")
    with pytest.raises(ConfigError, match=r"typo\.yaml has the base 'csf_smal\.yaml'.*did you mean csf_small\.yaml"):
        find_configs(["fit", "--config=typo.yaml"])


BOMB = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(9 * ['*' + chr(97 + i)])}]\n" for i in range(9)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "stands for more than 100,000 values"),
        ("a: " + "[" * 3000 + "]" * 3000, "nested more than 40 levels"),
        ("a: " + "{b: " * 60 + "1" + "}" * 60, "nested more than 40 levels"),
        ("a: " + "x" * 2**21, "a config has at most"),
        ("just text\n", "holds no keys"),
        ("a: \0\n", "no YAML"),
        ("base: [1, 2]\n", "a base that is no name"),
        ('base: "one\\0two"\n', "neither beside it nor packaged"),
        (f"base: {'x' * 5000}\n", "neither beside it nor packaged"),
        ("base: /dev/zero\n", "no regular file"),
        ("base: fifo\n", "no regular file"),
        ("base: /etc/passwd\n", "passwd"),
    ],
)
def test_a_config_made_to_exhaust_is_one_line(
    text: str, message: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(here / "fifo")
    (here / "evil.yaml").write_text(text)
    with pytest.raises(SystemExit) as info:
        main(["fit", "--config=evil.yaml"])
    assert info.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert len(line) < 700
    assert "root:" not in line  # of what another file holds nothing is shown


@pytest.mark.parametrize("name", ["/dev/zero", "fifo"])
def test_what_is_no_file_is_not_read(name: str, here: Path) -> None:
    os.mkfifo(here / "fifo")
    with pytest.raises(ConfigError, match="no regular file"):
        find_configs(["fit", "--config", name])
