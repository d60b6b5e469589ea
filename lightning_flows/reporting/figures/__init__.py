"""Figures, each in two parts: a function from a model or numbers to data, and one from data to a matplotlib figure.

Nothing here needs a screen or pyplot.
"""

from lightning_flows.reporting.figures.convolution import (
    convolution_matrix_figure,
    equivalent_matrices,
    exponential_matrix_figure,
    feature_maps,
    feature_maps_figure,
)
from lightning_flows.reporting.figures.graphs import graph_figure, nodes_figure
from lightning_flows.reporting.figures.images import (
    interpolate,
    interpolation_figure,
    nearest_images,
    neighbors_figure,
    samples_figure,
)
from lightning_flows.reporting.figures.outliers import Outliers, image_bits, outlier_table, outliers_figure
from lightning_flows.reporting.figures.series import random_kernels, series_terms, series_terms_figure

__all__ = [
    "Outliers",
    "convolution_matrix_figure",
    "equivalent_matrices",
    "exponential_matrix_figure",
    "feature_maps",
    "feature_maps_figure",
    "graph_figure",
    "image_bits",
    "interpolate",
    "interpolation_figure",
    "nearest_images",
    "neighbors_figure",
    "nodes_figure",
    "outlier_table",
    "outliers_figure",
    "random_kernels",
    "samples_figure",
    "series_terms",
    "series_terms_figure",
]
