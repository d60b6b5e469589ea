"""Subcommands of the command line that need no trainer."""

from lightning_flows.commands.demo import demo
from lightning_flows.commands.sample import sample

__all__ = ["demo", "sample"]
