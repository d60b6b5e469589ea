"""The config saved in a run's folder."""

from contextlib import suppress
from enum import Enum
from typing import Any

import yaml
from jsonargparse import Namespace
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, SaveConfigCallback

from lightning_flows.files import replaced
from lightning_flows.training.run_placement import Placement

# defaults of some callbacks, such as Timer, are enums
yaml.SafeDumper.add_multi_representer(Enum, lambda dumper, value: dumper.represent_data(value.value))


class RunConfig(SaveConfigCallback):
    """Write ``config.yaml`` into the run's folder just before training starts, and nothing if training is refused.

    It contains neither the folder nor the checkpoint, so that passing it to ``--config`` starts another run.

    Args:
        parser: parser of ``fit``.
        config: config in use; the one written is ``given``.
        placement: placement of the run.
        given: config before placement.
    """

    def __init__(
        self,
        parser: LightningArgumentParser,
        config: Namespace,
        *,
        placement: Placement,
        given: Namespace,
        **kwargs: Any,
    ) -> None:
        super().__init__(parser, config, **kwargs)
        self.placement, self.given = placement, given

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Do nothing yet: the checkpoint may belong to another model."""

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.on_train_start(trainer, pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.already_saved or self.placement.run is None or self.placement.folder is None:
            return
        text = self.parser.dump(self.given, skip_none=False)
        with replaced(self.placement.folder / self.config_filename) as file:
            file.write(text.encode())
        with suppress(OSError):  # TensorBoardLogger keeps an existing file, with old arguments
            (self.placement.folder / "hparams.yaml").unlink()
        self.already_saved = True
