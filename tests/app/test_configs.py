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


def test_bases_are_read_before_the_config(here: Path) -> None:
    """Each is passed as one more --config, so that the parser merges them by its own rules."""
    (here / "one.yaml").write_text("a: {b: 1, c: [1, 2]}\nd: 3\n")
    (here / "two.yaml").write_text("base: one.yaml\na: {c: [4]}\n")
    (here / "three.yaml").write_text("d: 5\n")
    (here / "four.yaml").write_text("base: [two.yaml, three.yaml]\nd: null\n")
    two, four = f'# {here / "two.yaml"}\n{{"a": {{"c": [4]}}}}', '# four.yaml\n{"d": null}'
    expected = [here / "one.yaml", two, here / "three.yaml", four]
    assert find_configs(["fit", "--config=four.yaml"]) == ["fit", *(f"--config={each}" for each in expected)]
    assert find_configs(["fit", "--config", "one.yaml", "-c", "three.yaml", "--x"]) == [
        "fit", "--config=one.yaml", "--config=three.yaml", "--x",
    ]  # fmt: skip
    assert load_configs("four.yaml") == {"a": {"b": 1, "c": [4]}, "d": None}


def test_a_base_is_searched_next_to_the_config_and_among_packaged_configs(here: Path) -> None:
    (here / "sub").mkdir()
    (here / "sub/one.yaml").write_text("base: two.yaml\n")
    (here / "sub/two.yaml").write_text("a: 1\n")
    (here / "two.yaml").write_text("a: 2\n")
    assert load_configs("sub/one.yaml") == {"a": 1}
    (here / "mine.yaml").write_text("base: size/cpu.yaml\ntrainer: {max_epochs: 9}\n")
    assert load_configs("mine.yaml") == load_configs("size/cpu.yaml") | {
        "trainer": load_configs("size/cpu.yaml")["trainer"] | {"max_epochs": 9}
    }


def test_invalid_arguments(here: Path) -> None:
    (here / "one.yaml").write_text("base: two.yaml\n")
    with pytest.raises(
        UsageError, match=r"one\.yaml has the base 'two\.yaml', which is neither next to it nor packaged.*csf_small"
    ):
        find_configs(["--config=one.yaml"])
    (here / "two.yaml").write_text("base: [one.yaml]\n")
    with pytest.raises(UsageError, match=r"one\.yaml is its own base"):
        find_configs(["--config=one.yaml"])
    (here / "sub").mkdir()
    (here / "sub/far.yaml").write_text("base: ../near.yaml\n")
    (here / "near.yaml").write_text("base: sub/far.yaml\n")
    with pytest.raises(UsageError, match=r"near\.yaml is its own base"):
        find_configs(["--config=near.yaml"])
    with pytest.raises(UsageError, match=r"'dmo\.yaml' does not exist here.*did you mean demo\.yaml"):
        find_configs(["--config=dmo.yaml"])


def test_a_local_file_takes_precedence_over_a_packaged_one(here: Path) -> None:
    assert find_configs(["--config", "demo.yaml"]) == [f"--config={CONFIG_DIR / 'demo.yaml'}"]
    (here / "demo.yaml").write_text("a: 1\n")
    assert find_configs(["--config", "demo.yaml"]) == ["--config=demo.yaml"]
    long = '{"a": "' + "x" * 5000 + '"}'
    assert find_configs(["--config", long]) == [f"--config={long}"]


def test_a_config_passed_as_text_may_have_a_base(here: Path) -> None:
    (here / "mine.yaml").write_text("a: 1\nb: 2\n")
    found = find_configs(["--config", '{"base": "mine.yaml", "b": 3}'])
    assert found == ["--config=mine.yaml", '--config={"b": 3}']


def test_a_base_is_merged_by_the_parser_s_rules(here: Path) -> None:
    """A different class drops arguments that it lacks, ``callbacks+`` of each file appends, 1e-3 is a number."""
    (here / "below.yaml").write_text(
        "base: demo.yaml\nmodel: {init_args: {flow: {init_args: {num_levels: 2, ablation: no_basis}}}}\n"
        "optimizer: {init_args: {lr: 1e-2}}\n"
        "trainer: {callbacks+: {class_path: lightning.pytorch.callbacks.Timer}}\n"
    )
    (here / "above.yaml").write_text(
        "base: below.yaml\nmodel: {init_args: {flow: {class_path: CouplingFlow}}}\nlr_scheduler: null\n"
        "trainer: {callbacks+: {class_path: lightning.pytorch.callbacks.DeviceStatsMonitor}}\n"
    )
    config, demo = parsed(["fit", "--config=above.yaml"]), parsed(["fit", "--config=demo.yaml"])
    flow = config["model"]["init_args"]["flow"]
    assert flow["class_path"].endswith(".CouplingFlow")
    assert flow["init_args"]["num_levels"] == 2
    assert "ablation" not in flow["init_args"]
    assert (config["optimizer"]["init_args"]["lr"], config["lr_scheduler"]) == (0.01, None)
    added = [each["class_path"] for each in config["trainer"]["callbacks"][len(demo["trainer"]["callbacks"]) :]]
    assert [each.rpartition(".")[2] for each in added] == ["Timer", "DeviceStatsMonitor"]


def test_a_short_name_of_several_classes_is_that_of_ours() -> None:
    scheduler = parsed(["fit", "--config=demo.yaml", "--lr_scheduler=ReduceLROnPlateau"])["lr_scheduler"]
    assert scheduler["class_path"] == "lightning_flows.modules.ReduceLROnPlateau"
    assert scheduler["init_args"]["monitor"] == "val/loss"
    other = "torch.optim.lr_scheduler.ReduceLROnPlateau"
    assert parsed(["fit", "--config=demo.yaml", f"--lr_scheduler={other}"])["lr_scheduler"]["class_path"] == other


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--config=child.yaml"], "flow.init_args.hiden in child.yaml is not an option"),
        (["--config=late.yaml", "--config=demo.yaml"], "model has init_args before it has a class_path"),
        (["--config=model/gnf.yaml", "--model.flow=GlowFlow"], "is GlowFlow, which the class in use does not take"),
    ],
)
def test_errors_of_stacked_configs_name_the_file(args: list[str], message: str, here: Path, capsys) -> None:
    late = "model: {init_args: {num_importance_samples: 3}}\n"
    (here / "late.yaml").write_text(late)
    (here / "child.yaml").write_text("base: demo.yaml\nmodel: {init_args: {flow: {init_args: {hiden: 3}}}}\n")
    with pytest.raises(SystemExit):
        parsed(["fit", *args])
    assert message in capsys.readouterr().err


def test_an_empty_config_is_refused(here: Path) -> None:
    (here / "empty.yaml").write_text("# nothing\n")
    with pytest.raises(ConfigError, match=r"empty\.yaml has no keys with values"):
        find_configs(["fit", "--config=empty.yaml"])


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
        (BOMB, "expands to more than 100,000 values"),
        ("a: " + "[" * 3000 + "]" * 3000, "nested more than 40 levels"),
        ("a: " + "{b: " * 60 + "1" + "}" * 60, "nested more than 40 levels"),
        ("a: " + "x" * 2**21, "a config may have at most"),
        ("just text\n", "has no keys"),
        ("a: \0\n", "not YAML"),
        ("base: [1, 2]\n", "a base that is neither a file name"),
        ('base: "one\\0two"\n', "neither next to it nor packaged"),
        (f"base: {'x' * 5000}\n", "neither next to it nor packaged"),
        ("base: /dev/zero\n", "not a regular file"),
        ("base: fifo\n", "not a regular file"),
        ("base: /etc/passwd\n", "passwd"),
    ],
)
def test_a_config_that_exhausts_resources_is_refused(
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
    assert "root:" not in line  # the content of the other file is not shown


@pytest.mark.parametrize("name", ["/dev/zero", "fifo"])
def test_only_regular_files_are_read(name: str, here: Path) -> None:
    os.mkfifo(here / "fifo")
    with pytest.raises(ConfigError, match="not a regular file"):
        find_configs(["fit", "--config", name])


def test_a_key_that_occurs_twice_is_refused(here: Path) -> None:
    """Its first value would be lost."""
    (here / "twice.yaml").write_text(
        "trainer:\n  max_epochs: 2\ndata: {a: [{b: 1}, {b: 2}]}\ntrainer:\n  max_steps: 5\n"
    )
    with pytest.raises(ConfigError, match=r"^\S*twice.yaml, line 4: the key trainer occurs twice: merge its values"):
        load_configs("twice.yaml")
    with pytest.raises(ConfigError, match="line 1: the key b occurs twice"):
        find_configs(["fit", '--config={"a": {"b": 1, "b": 2}}'])
    (here / "values.yaml").write_text("a: b\nb: a\nc: {a: b, b: b}\nd: &x {a: 1}\ne: {<<: *x, b: 2}\n")
    assert load_configs("values.yaml")["e"] == {"a": 1, "b": 2}


def test_empty_sections_have_no_effect(here: Path) -> None:
    (here / "empty.yaml").write_text("trainer:\n#  max_epochs: 2\ndata:\nlr_scheduler:\n")
    assert load_configs("empty.yaml") == {"lr_scheduler": None}  # which disables it
    assert find_configs(["fit", "-c=empty.yaml"]) == ["fit", '--config=# empty.yaml\n{"lr_scheduler": null}']
    (here / "number.yaml").write_text("trainer: 5\n")
    with pytest.raises(ConfigError, match=r"trainer in \S*number.yaml is 5: give it keys"):
        load_configs("number.yaml")
