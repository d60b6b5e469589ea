"""Messages name options as they are typed, and only those that the command has."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lightning_flows.app import commands
from lightning_flows.app.commands import COMMANDS
from lightning_flows.app.option_names import accepted_options, as_typed, for_command, without_refused

ADVICE = [
    "gone does not exist: expected a folder, a .tar or a .zip of images, as in --data.root=FOLDER",
    "a/b.png is not a readable image (empty file): remove or replace it, or add --data.skip_broken=true",
    "three has no images for val (images found: 3): add a val/ folder, or more images, or change --data.val_fraction "
    "and --data.test_fraction, or use --data.seed=5, for which no split is empty",
    "x.csv is empty: pass a table of numbers with --data.path",
    "the host is out of memory: use a smaller --data.batch_size (MemoryError)",
]
"""Errors of data modules, which every command that reads data may raise."""


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_without_a_trainer_advise_only_what_they_accept(command: str) -> None:
    known = accepted_options(command)
    for text in ADVICE:
        shown = for_command(text, [command])
        assert shown.startswith(text.partition(": ")[0])
        for name in re.findall(r"--([\w.]+)", shown):
            assert name in known or name.partition(".")[0] + "." in known


def test_other_advice_is_kept() -> None:
    expected = "three has no images for val (images found: 3): add a val/ folder, or more images"
    assert without_refused(ADVICE[2], "table") == expected
    assert without_refused(ADVICE[1], "table").endswith(": remove or replace it")
    assert without_refused(ADVICE[0], "table").endswith("a .tar or a .zip of images")
    assert without_refused(ADVICE[2], "test") == ADVICE[2]
    bad = "--seed 5 exceeds 64 bits: use a smaller one"
    assert without_refused(bad, "sample") == bad


def own_messages() -> Iterator[tuple[str, str]]:
    """Commands and the options that the texts of their own modules name."""
    for command in COMMANDS.keys() - {"completion"}:  # its text is a script
        source = Path(commands.__file__).with_name(f"{command}.py").read_text()
        for name in re.findall(r"(?<!tensorboard)[\s(]--([a-z]\w+)(?![\w.])", source):
            yield command, name


@pytest.mark.parametrize("command", COMMANDS)
def test_texts_of_a_command_name_its_own_options(command: str) -> None:
    unknown = {name for of, name in own_messages() if of == command} - accepted_options(command)
    assert unknown == set()


@pytest.mark.parametrize(
    ("text", "typed", "expected"),
    [
        ("expected num_held_out of at least 0", ["--num_held_out=-1"], "expected --num_held_out of at least 0"),
        ("expected width of at least 1; got 0", ["--model.flow.width", "0"], "expected --model.flow.width of at least"),
        ("a wide width: omit it", ["--model.flow.width=9"], "a wide width"),
        ("use data of the same shape", ["--data=MyData"], "use data of"),
        ("val_fraction is 2", ["--data.val_fraction=2", "--x.val_fraction=2"], "val_fraction is 2"),  # ambiguous
        ("--data.val_fraction is 2", ["--data.val_fraction=2"], "--data.val_fraction is 2"),
        ("max_time.txt is 2", ["--trainer.max_time=2"], "max_time.txt is 2"),
    ],
)
def test_options_are_named_as_typed(text: str, typed: list[str], expected: str) -> None:
    assert as_typed(text, ["fit", *typed]).startswith(expected)


def test_a_message_names_the_key_and_the_config_that_set_an_argument(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("base: base.yaml\nmodel:\n  init_args:\n    flow:\n      init_args: {num_bins: 0}\n")
    (tmp_path / "base.yaml").write_text("trainer: {devices: 99}\ndata: {val_fraction: 2}\n")
    command = ["fit", "--config", str(own)]
    text = "expected num_bins of at least 1; got 0"
    assert for_command(text, command) == f"model.init_args.flow.init_args.num_bins in {own}: {text}"
    many = "devices is 99: use fewer"
    assert for_command(many, command) == f"trainer.devices in {tmp_path / 'base.yaml'}: {many}"
    assert for_command(text, [*command, "--model.flow.num_bins=0"]) == text.replace("num", "--model.flow.num")
    for other in (
        "expected a flow",
        "expected devices to answer",
        "gone does not exist",
        "expected width of at least 1",
        "",
        "×",
    ):
        assert for_command(other, command) == other
    (tmp_path / "base.yaml").write_text("data: {num_bins: 2}\n")
    assert for_command(text, command) == text  # which of the two is unknown
    assert for_command(text, ["fit", "--config=gone.yaml"]) == text
