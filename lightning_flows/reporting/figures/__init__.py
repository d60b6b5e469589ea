"""Figures, each in two steps: one function computes data, another one draws a matplotlib figure from it.

No display or pyplot is needed.
"""
