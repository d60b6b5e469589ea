"""Command line of ``benchmark``: that of the trainer's commands, but the model is measured instead of trained."""

from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser

from lightning_flows.app.commands.benchmark import VARIANTS, benchmark
from lightning_flows.app.trainer_cli import TrainerCLI


class BenchmarkCLI(TrainerCLI):
    """Build the model of a config or a checkpoint, and measure it; data are not read."""

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_default_arguments_to_parser(parser)
        parser.add_argument("--batch_size", type=int | None, help="items per step; by default the data's batch size.")
        parser.add_argument("--device", type=str | None, help="device such as cpu or cuda; by default an accelerator.")
        parser.add_argument("--rounds", type=int, default=5, help="turns of each variant.")
        parser.add_argument(
            "--only", type=list[str] | None, help=f"variants among {', '.join(VARIANTS)}; by default all of them."
        )
        parser.add_argument("--json", type=bool, default=False, help="print JSON instead of a table.")

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        return None  # type: ignore[return-value]  # nothing is trained

    def check_checkpoint(self) -> None:
        """Load the weights of the checkpoint, if any."""
        if self.checkpoint is not None:
            self.model.load_state_dict(self.checkpoint["state_dict"])
            self.checkpoint = None

    def start(self) -> None:
        options = self.config_init
        names = ("batch_size", "device", "rounds", "only", "json")
        benchmark(self.model, self.datamodule, **{name: options[name] for name in names})
