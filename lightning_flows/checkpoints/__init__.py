"""Checkpoint files: read as data only, and validated against what they are loaded into."""

from lightning_flows.checkpoints.classes import find_class, public_path
from lightning_flows.checkpoints.file import read_checkpoint, read_file
from lightning_flows.checkpoints.plain import construct, describe

__all__ = ["construct", "describe", "find_class", "public_path", "read_checkpoint", "read_file"]
