"""Stateless mathematics on tensors, in a module per subject."""
