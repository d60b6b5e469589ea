"""Subcommands of the command line that need no trainer."""

from lightning_flows.commands.demo import demo
from lightning_flows.commands.figure import figure
from lightning_flows.commands.report import report
from lightning_flows.commands.sample import sample
from lightning_flows.commands.table import table

__all__ = ["demo", "figure", "report", "sample", "table"]
