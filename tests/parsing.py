"""Command lines that are parsed but not run."""

from collections.abc import Sequence
from functools import wraps
from typing import Any

from lightning_flows.app import cli
from lightning_flows.app.benchmark_cli import BenchmarkCLI
from lightning_flows.app.commands import COMMANDS, function
from lightning_flows.app.configs import find_configs
from lightning_flows.app.trainer_cli import TrainerCLI


class Parsed(TrainerCLI):
    """A command with a trainer that builds and runs nothing."""

    def start(self) -> None:
        pass

    before_instantiate_classes = instantiate_classes = check_checkpoint = start


class ParsedBenchmark(Parsed, BenchmarkCLI):
    """A benchmark that neither builds nor runs anything."""


def parsed(args: Sequence[str], monkeypatch: Any) -> dict[str, Any]:
    """The arguments that a command would run with."""
    if args[0] not in COMMANDS:
        return (ParsedBenchmark if args[0] == "benchmark" else Parsed)(find_configs(args)).config.as_dict()

    def stub(name: str) -> Any:
        return wraps(function(name))(lambda **arguments: arguments)

    monkeypatch.setattr(cli, "function", stub)
    return cli.run(args)
