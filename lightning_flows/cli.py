"""The command line: ``python -m lightning_flows SUBCOMMAND``."""

import copy
import json
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_info

from lightning_flows import commands
from lightning_flows.config_files import CONFIG_DIR, find_configs
from lightning_flows.datamodules import FlowDataModule
from lightning_flows.errors import CheckpointError
from lightning_flows.failures import explain, is_first_to_fail, leave, leave_to_main_thread
from lightning_flows.files import check_writable
from lightning_flows.modules import FlowModule
from lightning_flows.modules.base import check_state_dict, describe
from lightning_flows.modules.checkpoint import checkpoint_config, read_checkpoint
from lightning_flows.parser import FlowArgumentParser
from lightning_flows.trainer import FlowTrainer

PLAIN_COMMANDS: dict[str, Callable[..., Any]] = {name: getattr(commands, name) for name in commands.__all__}
PROGRAM = "python -m lightning_flows"
DESCRIPTION = "Train, evaluate, sample and compare normalizing flows."
POSITIONAL = {"figure", "table"}
"""Those whose required argument goes without a name."""


class FlowCLI(LightningCLI):
    """LightningCLI with subcommands that work from a checkpoint alone.

    A checkpoint given as ``--ckpt_path FILE`` supplies model and data as if they were the first config; what the
    command line says wins over it, and each difference is told. ``fit --ckpt_path last`` goes on in the folder of the
    newest run of that name, or starts the first.
    """

    def __init__(self, args: Sequence[str]) -> None:
        defaults = {"default_config_files": [str(CONFIG_DIR / "defaults" / "fit.yaml")]}
        others = {"default_config_files": [str(CONFIG_DIR / "defaults" / "evaluate.yaml")]}
        self.checkpoint = _given_checkpoint(args)
        super().__init__(
            FlowModule,
            FlowDataModule,
            trainer_class=FlowTrainer,
            save_config_kwargs={"overwrite": True},  # only ever its own: a fit without `last` gets a new folder
            seed_everything_default=0,
            parser_class=FlowArgumentParser,
            parser_kwargs={
                "prog": PROGRAM,
                "description": DESCRIPTION,
                "fit": defaults,
                "validate": others,
                "test": others,
                "predict": others,
            },
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            args=_with_checkpoint_config(args, self.checkpoint),
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Trainer methods and their arguments that are not options."""
        skip = {"model", "train_dataloaders", "val_dataloaders", "dataloaders", "datamodule", "weights_only"}
        return {"fit": skip, "validate": skip, "test": skip, "predict": skip}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The model learns the shape of pictures or graphs from the data."""
        parser.link_arguments("data.event_shape", "model.init_args.event_shape", apply_on="instantiate")

    def _add_subcommands(self, parser: LightningArgumentParser, **kwargs: Any) -> None:
        super()._add_subcommands(parser, **kwargs)
        for name in self.subcommands():
            self._subcommand_parsers[name].arrange_help(name)  # type: ignore[attr-defined]
        for name, function in PLAIN_COMMANDS.items():
            description = (function.__doc__ or "").splitlines()[0]
            subparser = FlowArgumentParser(description=description)
            subparser.add_function_arguments(function, as_group=False, as_positional=name in POSITIONAL)
            self._subcommand_parsers[name] = subparser
            parser._subcommands_action.add_subcommand(name, subparser, help=description)  # type: ignore[union-attr]

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse without Lightning's remark on arguments given from Python."""
        self.config = parser.parse_args(args)

    def _parse_ckpt_path(self) -> None:
        """Nothing: the checkpoint's arguments come before those of the command line, not after."""

    def _set_seed(self) -> None:
        if self.config["subcommand"] not in PLAIN_COMMANDS:
            super()._set_seed()

    def before_instantiate_classes(self) -> None:
        """Find the run to resume and make sure that its folder can be written."""
        if self.subcommand != "fit":
            self.save_config_callback = None  # evaluation leaves no files behind
            return
        config = self.config.fit
        folder = _run_folder(config)
        if config.ckpt_path == "last":
            config.ckpt_path = None
            last = _newest_last_checkpoint(folder) if folder else None
            if last is None:
                rank_zero_info(f"no earlier run in {folder}: starting the first")
            else:
                rank_zero_info(f"resuming {last}")
                config.ckpt_path = str(last)
                config.trainer.logger.init_args.version = last.parent.parent.name
                self.checkpoint = read_checkpoint(last)
        if folder:
            check_writable(folder)

    def instantiate_classes(self) -> None:
        """Build data, model and trainer; compare them with the checkpoint."""
        if self.subcommand in PLAIN_COMMANDS:
            return
        super().instantiate_classes()
        if self.checkpoint is not None:
            _compare(self.checkpoint, self.model)

    def _run_subcommand(self, subcommand: str) -> None:
        if subcommand in PLAIN_COMMANDS:
            arguments = self.config[subcommand].as_dict()
            arguments.pop("config", None)
            PLAIN_COMMANDS[subcommand](**arguments)
        else:
            super()._run_subcommand(subcommand)

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        kwargs = super()._prepare_subcommand_kwargs(subcommand)
        return kwargs if subcommand == "predict" else kwargs | {"weights_only": True}


def run(args: Sequence[str]) -> FlowCLI:
    """Run a subcommand and return what it ran with: ``trainer``, ``model`` and ``datamodule``."""
    return FlowCLI(find_configs(args))


def main(args: Sequence[str] | None = None) -> None:
    """Run a subcommand. Errors meant for the person are one line on stderr and exit status 1.

    The environment variable LIGHTNING_FLOWS_DEBUG=1 shows the traceback.
    """
    _hush()
    threading.excepthook = leave_to_main_thread
    try:
        run(sys.argv[1:] if args is None else args)
    except Exception as error:
        message = explain(error)
        if message is None or os.environ.get("LIGHTNING_FLOWS_DEBUG") == "1":
            raise
        if is_first_to_fail():
            print(f"error: {message}", file=sys.stderr, flush=True)
        leave()


def _hush() -> None:
    """Drop Lightning's messages that a person can do nothing about."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(lambda record: "Tip:" not in record.msg)
    for message in (
        ".*LeafSpec.*",  # torch's pytrees, inside Lightning
        ".*does not have many workers.*",  # pictures lie in memory already
        ".*callbacks used to create the checkpoint.*",  # evaluation needs none of them
        ".*is not resumable.*",  # training graphs follow from the step; shuffled pictures from the epoch
        ".*It is recommended to use `self.log.*sync_dist.*",  # what callbacks log is of the first process, and so meant
        ".*Grad strides do not match bucket view.*",  # of 1x1 kernels, whose two layouts are the same
        ".*Checkpoint directory .* exists and is not empty.*",  # of a run that goes on
        ".*number of training batches.*smaller than the logging interval.*",
    ):
        warnings.filterwarnings("ignore", message)


def _given_checkpoint(args: Sequence[str]) -> dict[str, Any] | None:
    """The checkpoint that ``--ckpt_path FILE`` names for a trainer's subcommand."""
    if not args or args[0] in PLAIN_COMMANDS:
        return None
    for i, arg in enumerate(args):
        path = arg.removeprefix("--ckpt_path=") if arg.startswith("--ckpt_path=") else None
        if arg == "--ckpt_path" and i + 1 < len(args):
            path = args[i + 1]
        if path == "last" and args[0] != "fit":
            raise CheckpointError("expected a checkpoint file; got 'last', which only fit can resume: name the file")
        if path not in (None, "last", "null"):
            return read_checkpoint(str(path))
    return None


def _with_checkpoint_config(args: Sequence[str], checkpoint: dict[str, Any] | None) -> list[str]:
    if checkpoint is None:
        return list(args)
    config = copy.deepcopy(checkpoint_config(checkpoint))
    config["model"]["init_args"].pop("event_shape")  # the data tells it
    for section in config.values():
        if not section["class_path"].startswith("lightning_flows."):
            raise CheckpointError(
                f"expected classes of lightning_flows; the checkpoint names {section['class_path']}: "
                "a class of your own must be given with --model or --data"
            )
    return [args[0], "--config", json.dumps(config), *args[1:]]


def _compare(checkpoint: dict[str, Any], model: FlowModule) -> None:
    """Refuse a checkpoint that does not fit the model; tell which arguments differ from those it was saved with."""
    before, now = dict(checkpoint_config(checkpoint)["model"]["init_args"]), describe(model)["init_args"]
    shape = before.pop("event_shape")
    if list(shape) != now.pop("event_shape"):
        raise CheckpointError(
            f"expected data of shape {tuple(shape)}, as the checkpoint was trained on; got {model.event_shape}"
        )
    check_state_dict(model, checkpoint)
    for key, value in now.items():
        old = before.get(key, value)
        if old != value:
            rank_zero_info(f"{key}: {old} in the checkpoint, {value} given; {value} is used")


def _run_folder(config: Namespace) -> Path | None:
    """Folder of all runs of the configured name, if the logger is one that writes files."""
    logger = config.trainer.logger
    init = logger.init_args if isinstance(logger, Namespace) and "init_args" in logger else None
    return Path(init.save_dir) / (init.name or "") if init and "save_dir" in init and "name" in init else None


def _newest_last_checkpoint(folder: Path) -> Path | None:
    found = folder.glob("version_*/checkpoints/last.ckpt")
    return max(found, key=lambda path: int(path.parent.parent.name.removeprefix("version_")), default=None)
