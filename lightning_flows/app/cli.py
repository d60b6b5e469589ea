"""The command line: ``python -m lightning_flows SUBCOMMAND``."""

import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from typing import Any

from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from lightning_flows.app import commands
from lightning_flows.app.configs import CONFIG_DIR
from lightning_flows.app.error_messages import explain, is_first_to_fail, leave, leave_to_main_thread
from lightning_flows.app.given_checkpoint import compare, given_checkpoint, with_checkpoint_config, without_run
from lightning_flows.app.parser import PROGRAM, FlowArgumentParser, read_configs, refuse_null
from lightning_flows.app.run_config import RunConfig
from lightning_flows.app.terminal import print_any_text
from lightning_flows.app.trainer import FlowTrainer
from lightning_flows.data import FlowDataModule
from lightning_flows.errors import CheckpointError
from lightning_flows.modules import FlowModule
from lightning_flows.modules.checkpoint import no_larger_than, read_checkpoint
from lightning_flows.training.run_placement import Placement, is_first_process, without_place
from lightning_flows.training.signals import Interrupted, end_children, ended_by, ended_by_signals
from lightning_flows.trust import vetted_imports

PLAIN_COMMANDS: dict[str, Callable[..., Any]] = {name: getattr(commands, name) for name in commands.__all__}
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
        self.placement: Placement | None = None
        try:
            self._run(args)
        except BaseException as error:
            self._end_run("stopped" if isinstance(error, Interrupted) else "failed")
            raise
        self._end_run("finished")

    def _run(self, args: Sequence[str]) -> None:
        def defaults(name: str) -> dict[str, Any]:  # a new one each time, as Lightning adds a description to it
            return {"default_config_files": [str(CONFIG_DIR / "defaults" / name)]}

        self.checkpoint = given_checkpoint(args)
        super().__init__(
            FlowModule,
            FlowDataModule,
            trainer_class=FlowTrainer,
            seed_everything_default=0,
            parser_class=FlowArgumentParser,
            parser_kwargs={
                "prog": PROGRAM,
                "description": DESCRIPTION,
                "fit": defaults("fit.yaml"),
                "validate": defaults("evaluate.yaml"),
                "test": defaults("evaluate.yaml"),
                "predict": defaults("evaluate.yaml"),
            },
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            args=without_run(with_checkpoint_config(args, self.checkpoint)),
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Trainer methods and their arguments that are not options."""
        skip = {"model", "train_dataloaders", "val_dataloaders", "dataloaders", "datamodule", "weights_only"}
        return {"fit": skip, "validate": skip, "test": skip, "predict": skip}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The model learns the shape of images or graphs from the data."""
        parser.add_argument(
            "--allow_split_change",
            type=bool,
            default=False,
            help="take a checkpoint although its data would be split in another way than in its training.",
        )
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
        with vetted_imports(args):
            self.config = parser.parse_args(args)

    def _parse_ckpt_path(self) -> None:
        """Nothing: the checkpoint's arguments come before those of the command line, not after."""

    def _set_seed(self) -> None:
        if self.config["subcommand"] not in PLAIN_COMMANDS:
            super()._set_seed()

    def before_instantiate_classes(self) -> None:
        """Choose the run's folder, or find the run to resume."""
        self.save_config_callback: Any = None  # evaluation writes no files
        if self.subcommand == "fit":
            config = self.config.fit
            given = without_place(config)
            self.placement = Placement(config)
            self.save_config_callback = partial(RunConfig, placement=self.placement, given=given)
            if self.placement.resumed is not None:
                self.checkpoint = read_checkpoint(self.placement.resumed)

    def _end_run(self, state: str) -> None:
        """Release the run's folder; remove it if the run produced nothing."""
        if self.placement is None:
            return
        trainer = getattr(self, "trainer", None)
        run = self.placement.run
        self.placement.release(state)
        if run is not None and state != "finished" and (trainer is None or trainer.global_step == 0):
            for logger in trainer.loggers if trainer is not None else []:
                with suppress(Exception):  # its files are about to be removed
                    logger.experiment.close()
            run.drop()

    def instantiate_classes(self) -> None:
        """Build data, model and trainer; compare them with the checkpoint."""
        if self.subcommand in PLAIN_COMMANDS:
            return
        bounded = nullcontext() if self.checkpoint is None else no_larger_than(self.checkpoint)
        with vetted_imports(self.parser.args), bounded:
            refuse_null(self.config[self.subcommand])
            super().instantiate_classes()
        if self.checkpoint is not None:
            allowed = self.config[self.subcommand].allow_split_change
            compare(self.checkpoint, self.model, self.datamodule, allow_split_change=allowed)
            self.checkpoint = None  # the optimizer's state would stay in memory
        elif self.config[self.subcommand].ckpt_path is not None:
            raise CheckpointError("a checkpoint is named before the subcommand: give --ckpt_path FILE after it")
        elif self.subcommand != "fit":
            raise CheckpointError(
                f"{self.subcommand} needs a checkpoint, or it would score an untrained model: give --ckpt_path FILE"
            )

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
    return FlowCLI(read_configs(args))


def main(args: Sequence[str] | None = None) -> None:
    """Run a subcommand. Errors meant for the person are one line on stderr and exit status 1.

    The environment variable LIGHTNING_FLOWS_DEBUG=1 shows the traceback.
    """
    args = sys.argv[1:] if args is None else args
    _hush()
    print_any_text()
    threading.excepthook = leave_to_main_thread
    with ended_by_signals():
        try:
            run(args)
        except Interrupted as ended:
            if ended.code == 128 + ended.number and is_first_process():  # stopped training has already reported it
                print(ended_by(ended.number), file=sys.stderr, flush=True)
            end_children()
            raise
        except Exception as error:
            text = explain(error, args[0] if args else "")
            if text is not None and os.environ.get("LIGHTNING_FLOWS_DEBUG") != "1":
                if is_first_to_fail():
                    print(f"error: {text}", file=sys.stderr, flush=True)
                end_children()
                leave()
            end_children()
            raise


def _hush() -> None:
    """Drop Lightning's messages that a person can do nothing about."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(lambda record: "Tip:" not in record.msg)
    for message in (
        ".*LeafSpec.*",  # torch's pytrees, inside Lightning
        ".*does not have many workers.*",  # images lie in memory already
        ".*callbacks used to create the checkpoint.*",  # evaluation needs none of them
        ".*is not resumable.*",  # training graphs follow from the step; shuffled images from the epoch
        ".*It is recommended to use `self.log.*sync_dist.*",  # what callbacks log is of the first process, and so meant
        ".*Grad strides do not match bucket view.*",  # of 1x1 kernels, whose two layouts are the same
        ".*Checkpoint directory .* exists and is not empty.*",  # of a run that goes on
        ".*number of training batches.*smaller than the logging interval.*",
    ):
        warnings.filterwarnings("ignore", message)
