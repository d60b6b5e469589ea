"""Subcommands of the command line that need no trainer."""

from lightning_flows.app.commands.demo import demo
from lightning_flows.app.commands.figure import figure
from lightning_flows.app.commands.report import report
from lightning_flows.app.commands.sample import sample
from lightning_flows.app.commands.table import table

__all__ = ["demo", "figure", "report", "sample", "table"]
