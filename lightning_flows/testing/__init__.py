"""Checks for any transform or flow: each fault says what is wrong and by how much."""

from lightning_flows.testing.adapters import adapt
from lightning_flows.testing.faults import CheckError, Fault
from lightning_flows.testing.flow import check_flow
from lightning_flows.testing.perturbation import perturb
from lightning_flows.testing.transform import check_transform

__all__ = ["CheckError", "Fault", "adapt", "check_flow", "check_transform", "perturb"]
