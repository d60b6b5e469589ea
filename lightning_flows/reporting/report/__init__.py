"""Reports: one HTML page about all runs below a folder."""

from lightning_flows.reporting.report.page import Report, report_page

__all__ = ["Report", "report_page"]
