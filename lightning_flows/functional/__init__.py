"""Stateless math on tensors, one module per subject."""
