"""Outlier scores of items, p-values calibrated on held-out items, and a page of the strangest images."""
