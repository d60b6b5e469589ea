"""Figures: functions from numbers to matplotlib figures."""

from lightning_flows.figures.graphs import graph_figure, nodes_figure

__all__ = ["graph_figure", "nodes_figure"]
