"""Suppress messages of Lightning and torch that require no action."""

import logging
import warnings

from lightning_flows.app.terminal import print_short_warnings

MESSAGES = (
    ".*LeafSpec.*",  # torch's pytrees, inside Lightning
    ".*does not have many workers.*",  # images are in memory already
    ".*callbacks used to create the checkpoint.*",  # evaluation needs none of them
    ".*is not resumable.*",  # training graphs follow from the step; shuffled images from the epoch
    ".*It is recommended to use `self.log.*sync_dist.*",  # callbacks intentionally log values of the first process
    ".*Grad strides do not match bucket view.*",  # 1x1 kernels have the same layout either way
    ".*Checkpoint directory .* exists and is not empty.*",  # of a resumed run
    ".*Experiment logs directory .* exists and is not empty.*",  # whose curves have been renamed
    ".*SWA is currently only supported every epoch.*",  # a schedule per step ends when averaging begins
    ".*number of training batches.*smaller than the logging interval.*",
)
"""Warnings of Lightning and torch that require no action."""


def hush() -> None:
    """Suppress these messages for the rest of the process, and print warnings of this package as one line."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_no_tip)
    for message in MESSAGES:
        warnings.filterwarnings("ignore", message)
    print_short_warnings()


def _is_no_tip(record: logging.LogRecord) -> bool:
    return "Tip:" not in record.msg
