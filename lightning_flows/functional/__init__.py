"""Stateless mathematics on tensors."""

from lightning_flows.functional.bits import bits_per_dim
from lightning_flows.functional.gaussian_mixture import mixture_from_normal, mixture_to_normal
from lightning_flows.functional.graphs import Graph, check_adjacency, normalized_adjacency
from lightning_flows.functional.norms import conv_norm_bound, matrix_norm_bound
from lightning_flows.functional.precision import full_precision
from lightning_flows.functional.series import linear_exponential, matrix_exponential, remainder_bound, terms_needed

__all__ = [
    "Graph",
    "bits_per_dim",
    "check_adjacency",
    "conv_norm_bound",
    "full_precision",
    "linear_exponential",
    "matrix_exponential",
    "matrix_norm_bound",
    "mixture_from_normal",
    "mixture_to_normal",
    "normalized_adjacency",
    "remainder_bound",
    "terms_needed",
]
