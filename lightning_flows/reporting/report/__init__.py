"""Reports: one HTML page about all runs below a folder."""

from lightning_flows.reporting.report.page import report_page
from lightning_flows.reporting.report.runs import Training, read_trainings

__all__ = ["Training", "read_trainings", "report_page"]
