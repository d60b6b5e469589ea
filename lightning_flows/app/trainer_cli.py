"""LightningCLI for ``fit``, ``validate``, ``test`` and ``predict``."""

import re
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from jsonargparse import SUPPRESS
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_info

from lightning_flows.app.arguments import options, value_of, with_flags, without
from lightning_flows.app.checks import check_linked, check_strategy, check_trainer, refuse_null
from lightning_flows.app.commands import TRAINER_COMMANDS
from lightning_flows.app.configs import CONFIG_DIR
from lightning_flows.app.default_trainer import default_options, with_atomic_checkpoints
from lightning_flows.app.given_checkpoint import (
    LINKED,
    OF_DATA,
    compare,
    given_checkpoint,
    load_weights,
    with_checkpoint_config,
    without_run,
)
from lightning_flows.app.like_training import folder_arguments
from lightning_flows.app.parser import ShortErrors
from lightning_flows.app.prediction import add_scoring_arguments, prediction_writer
from lightning_flows.app.quiet import hush
from lightning_flows.app.run_config import RunConfig
from lightning_flows.app.versions import accepted, unwrapped_errors
from lightning_flows.data import FlowDataModule
from lightning_flows.errors import CheckpointError, NonFiniteError, UsageError
from lightning_flows.modules import FlowModule
from lightning_flows.modules.checkpoint import no_larger_than, read_checkpoint
from lightning_flows.modules.compiled import CompiledTerms
from lightning_flows.training.run_folder import DIVERGED
from lightning_flows.training.run_placement import Placement, without_place
from lightning_flows.training.signals import Interrupted
from lightning_flows.trust import vetted_imports

CKPT_PATH = {
    "fit": "checkpoint to resume from, or `last` for the newest run of this name, if any.",
    "validate": "checkpoint of a trained model; no other options are needed.",
    "benchmark": "checkpoint of a trained model, instead of a config.",
}
TITLES = {
    "model": "model: `--model.help CLASS` lists the options of a class",
    "data": "data: `--data.help CLASS` lists the options of a class",
    "trainer": "trainer: Lightning's options",
}
PLATEAU = "ReduceLROnPlateau"  # torch, Lightning and this package have a class of this name


class TrainerParser(ShortErrors, LightningArgumentParser):
    """LightningCLI's parser with errors of one or two lines."""

    def format_help(self, *args: Any) -> str:
        """Name the file of defaults, if any, as configs of the package are named, without its folder."""
        names = [str(Path(file).relative_to(CONFIG_DIR)) for file in self.default_config_files]
        of_parser = r"default config file locations:.*?(?=\n\n)"
        short = f"defaults are those of {', '.join(names)}"
        return re.sub(of_parser, short, super().format_help(*args), flags=re.DOTALL)


class TrainerCLI(LightningCLI):
    """Build model, data and the stock trainer from configs and options, and run one command.

    A checkpoint given as ``--ckpt_path FILE`` supplies model and data as if it were the first config; options on the
    command line override it, and each difference is reported. ``fit --ckpt_path last`` resumes in the folder of the
    newest run of that name, or starts the first.

    Args:
        args: the command and its arguments, with configs first.
    """

    def __init__(self, args: Sequence[str]) -> None:
        hush()
        check_linked(args)
        if args[0] != "fit" and value_of(args, "--compile") is not None:
            raise UsageError(f"--compile has no effect on {args[0]}: it is an option of fit")
        self.command = args[0]
        self.placement: Placement | None = None
        self.first_step = 0
        self.checkpoint = given_checkpoint(args)
        args = without_run(with_checkpoint_config(args, self.checkpoint))
        args = [re.sub(f"^(--lr_scheduler=)?{PLATEAU}$", rf"\1lightning_flows.modules.{PLATEAU}", arg) for arg in args]
        flags = ["--allow_split_change", "--compile", "--overwrite", "--json"]
        args = with_flags(self._with_images(args[1:]), flags, positional=False)
        defaults = "fit.yaml" if self.command in ("fit", "benchmark") else "evaluate.yaml"
        try:
            with vetted_imports(args) as finder:
                super().__init__(
                    FlowModule,
                    FlowDataModule,
                    save_config_callback=RunConfig if self.command == "fit" else None,
                    seed_everything_default=0,
                    parser_class=TrainerParser.of(self.command, args, finder),
                    parser_kwargs={
                        "usage": "%(prog)s [--config FILE]... [--ckpt_path FILE] [--SECTION.OPTION VALUE]...",
                        "description": TRAINER_COMMANDS[self.command],
                        "default_config_files": [str(CONFIG_DIR / "defaults" / defaults)],
                        "allow_abbrev": False,  # other code looks for options by their full names
                    },
                    subclass_mode_model=True,
                    subclass_mode_data=True,
                    args=args,
                    run=False,
                    auto_configure_optimizers=False,
                    **accepted(LightningCLI.__init__, load_from_checkpoint_support=False),
                )
            self.check_checkpoint()
            self.start()
        except BaseException as error:
            self._end_run(_state_after(error))
            raise
        self._end_run("finished")

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--seed_everything",
            type=bool | int,
            default=self.seed_everything_default,
            help="seed of all random numbers, or true for a random one.",
        )
        help_text = CKPT_PATH.get(self.command, CKPT_PATH["validate"])
        parser.add_argument("--ckpt_path", type=str | None, help=help_text)
        parser.add_argument(
            "--allow_split_change",
            type=bool,
            default=False,
            help="accept a checkpoint whose data would be split differently than in training.",
        )
        weights = "checkpoint whose weights to start from, with a new optimizer." if self.command == "fit" else SUPPRESS
        parser.add_argument("--weights_from", type=str | None, help=weights)  # configs for fit may set it
        parser.add_argument(
            "--images",
            type=str | None,
            help="folder, tar or zip of images as data: short for --data ImageFolderDataModule --data.root IMAGES.",
        )
        backend = "compile the training step: true, or a backend of torch.compile other than inductor."
        shown = backend if self.command == "fit" else SUPPRESS  # configs for fit may set it
        parser.add_argument("--compile", type=bool | str, default=False, help=shown)
        if self.command == "predict":
            parser.add_argument("--out", default="predictions.csv", help="CSV file to write.")
            parser.add_argument("--overwrite", type=bool, default=False, help="replace an existing file.")
            add_scoring_arguments(parser)

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the arguments; the long list of the trainer's options comes last in the help."""
        parser.add_lightning_class_args(FlowModule, "model", subclass_mode=True)
        parser.add_lightning_class_args(FlowDataModule, "data", subclass_mode=True)
        parser.add_argument(
            "--optimizer",
            type=OptimizerCallable,
            default="torch.optim.Adam",
            help="optimizer of the parameters: `--optimizer AdamW --optimizer.lr 1e-3`.",
        )
        parser.add_argument(
            "--lr_scheduler",
            type=LRSchedulerCallable | None,
            default=None,
            help="schedule of the learning rate, or null for a constant one.",
        )
        parser.add_lightning_class_args(Trainer, "trainer")
        for name, title in TITLES.items():
            (parser.groups or {})[name].title = title

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Link the model's event_shape, and its num_levels if it has one, to those of the data."""
        for name in OF_DATA:
            parser.link_arguments(f"data.{name}", f"model.init_args.{name}", apply_on="instantiate")
        for name in LINKED:
            parser.link_arguments(name, f"model.init_args.{name}")

    def _with_images(self, args: Sequence[str]) -> list[str]:
        """Replace ``--images`` by the data module that it stands for, with images of the model's shape."""
        images = value_of(args, "--images")
        if images is None:
            return list(args)
        arguments: dict[str, Any] = {"root": images}
        if self.checkpoint is not None:
            record = self.checkpoint["lightning_flows"]
            shape = record["model"]["init_args"]["event_shape"]
            if len(shape) != 3:
                raise UsageError("--images only works with models of images: omit it")
            arguments = folder_arguments(images, shape, record.get("data"))
        data = ["--data=ImageFolderDataModule", *(f"--data.{name}={value}" for name, value in arguments.items())]
        chosen, rest = value_of(args, "--data"), without(args, "--images")
        if chosen is not None and chosen.rpartition(".")[2] != "ImageFolderDataModule":
            raise UsageError(f"--images is for ImageFolderDataModule, and --data is {chosen}: omit one of them")
        if value_of(rest, "--data.root", "--data.init_args.root") is not None:
            raise UsageError(f"--images {images} and --data.root are two places of the data: omit one of them")
        start = min((each.start for each in options(rest) if each.name.startswith("--data.")), default=len(rest))
        return [*rest[:start], *data, *rest[start:]]  # other options of the data override these

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse without Lightning's warning about arguments passed from Python."""
        self.config = parser.parse_args(args)

    def before_instantiate_classes(self) -> None:
        """Choose the run's folder, or find the run to resume."""
        check_trainer(self.config.trainer)
        check_strategy(self.config.trainer.strategy)
        if self.command != "fit":
            return
        given, self.placement = without_place(self.config), (placement := Placement(self.config))
        self.save_config_kwargs = {"placement": placement, "given": given}
        if placement.resumed is not None:
            self.checkpoint = read_checkpoint(placement.resumed)
            self.first_step = self.checkpoint.get("global_step", 0)

    def instantiate_classes(self) -> None:
        for section in ("model", "data"):
            refuse_null(self.config[section], section)
        with nullcontext() if self.checkpoint is None else no_larger_than(self.checkpoint), unwrapped_errors():
            super().instantiate_classes()
        if self.command == "fit" and (backend := self.config_init.compile):
            self.model.compiled_terms = CompiledTerms("inductor" if backend is True else backend)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build Lightning's trainer with the callbacks of every run."""
        options = default_options(self.config_init.trainer)
        if self.command == "predict":
            writer = prediction_writer(self.config_init, self.checkpoint, self.model, self.datamodule)
            options["callbacks"].insert(0, writer)  # scores held-out items before the bar of a terminal appears
        return with_atomic_checkpoints(super().instantiate_trainer(**options | kwargs))

    def check_checkpoint(self) -> None:
        """Compare model and data with the checkpoint, then release it."""
        if self.checkpoint is not None:
            if self.placement is not None and self.config_init.weights_from and self.placement.resumed is None:
                load_weights(self.checkpoint, self.model)
            else:
                allowed = self.config_init.allow_split_change
                compare(self.checkpoint, self.model, self.datamodule, allow_split_change=allowed)
            self.checkpoint = None
        elif self.command != "fit":
            raise CheckpointError(
                f"{self.command} needs a checkpoint, or it would score an untrained model: pass --ckpt_path FILE"
            )

    def start(self) -> None:
        options = accepted(
            Trainer.fit, ckpt_path=self.config_init.ckpt_path, weights_only=True
        )  # from Lightning 2.6 on
        if self.command in ("validate", "test"):
            options["verbose"] = False  # ResultTable prints
        elif self.command == "predict":
            options["return_predictions"] = False
        getattr(self.trainer, self.command)(self.model, datamodule=self.datamodule, **options)
        if self.command in ("validate", "test") and not self.trainer.callback_metrics:
            rank_zero_info(f"nothing was scored: the options limit {self.command} to no batch")

    def _end_run(self, state: str) -> None:
        """Release the run's folder; remove it if the run produced nothing."""
        if self.placement is None:
            return
        trainer = getattr(self, "trainer", None)
        run = self.placement.run
        self.placement.release(state, trained=trainer is not None and trainer.global_step > self.first_step)
        if run is not None and state != DIVERGED and (trainer is None or trainer.global_step == 0):
            for logger in trainer.loggers if trainer is not None else []:
                if isinstance(logger, TensorBoardLogger):
                    with suppress(Exception):  # its files are about to be removed
                        logger.experiment.close()
            run.drop()


def _state_after(error: BaseException) -> str:
    """State of a run that an exception ended."""
    ended = {Interrupted: "stopped", NonFiniteError: DIVERGED}
    return next((state for kind, state in ended.items() if isinstance(error, kind)), "failed")
