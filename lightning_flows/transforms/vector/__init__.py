"""Bijections of vectors ``(B, D)``."""

from lightning_flows.transforms.actnorm import VectorActNorm

__all__ = ["VectorActNorm"]
