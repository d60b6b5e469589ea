"""Checks of settings before anything is built."""

import importlib.util
import inspect
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator

from lightning_flows.app.arguments import CONFIG, options
from lightning_flows.app.configs import load_configs
from lightning_flows.app.error_messages import LOGGERS
from lightning_flows.checkpoints.classes import import_class
from lightning_flows.errors import UsageError

PROCESSES_PER_CORE = 4
PACKAGES = {"WandbLogger": "wandb", "MLFlowLogger": "mlflow"}
"""Packages of loggers, which are optional."""
LINKED = {
    "optimizer": "use --optimizer, or the key optimizer next to model",
    "lr_scheduler": "use --lr_scheduler, or the key lr_scheduler next to model",
    "event_shape": "it is determined by the data",
    "num_levels": "it is determined by the data",
}


def check_trainer(options: Mapping[str, Any]) -> None:
    """Check options that Lightning would accept and fail on later, or reject without a helpful message.

    Args:
        options: arguments of the trainer.
    Raises: UsageError.
    """
    for name in ("accumulate_grad_batches", "check_val_every_n_epoch", "val_check_interval"):
        value = options.get(name)
        if isinstance(value, int | float) and value <= 0:
            raise UsageError(f"{name} is {value}: use a number above 0")
    precision, duration = str(options.get("precision")), options.get("max_time")
    if precision in ("16-true", "bf16-true") or precision.startswith("transformer-engine"):
        raise UsageError(
            f"precision {precision} is not supported, because inverses and log-determinants need 32 bits: use 32-true, "
            f"{'bf16' if 'b' in precision else '16'}-mixed or 64-true"
        )
    if isinstance(duration, str) and not re.fullmatch(r"\d+:\d+:\d+:\d+", duration.strip()):
        raise UsageError(f"max_time is {duration}: use days, hours, minutes and seconds, such as 00:00:10:00")
    _check_device(options.get("accelerator"), options.get("devices"))
    loggers = options.get("logger")
    for logger in loggers if isinstance(loggers, list) else [loggers]:
        if isinstance(logger, Namespace):
            _check_logger(logger)


def _check_logger(logger: Namespace) -> None:
    """Check that the package of a logger is installed, and that MLflow has a place of its own."""
    name = str(logger.get("class_path")).rpartition(".")[2]
    package = PACKAGES.get(name)
    if package is None:
        return
    if importlib.util.find_spec(package) is None:
        raise UsageError(f"{name} needs {package}, which is not installed: run `pip install {package}`")
    if package == "mlflow" and not logger.init_args.get("tracking_uri"):  # its default may be among the run folders
        raise UsageError(f"{name} has no tracking_uri: pass {LOGGERS[package][1]}, or the address of a server")


def check_strategy(strategy: Any) -> None:
    """Raise UsageError for strategies that spawn or fork processes: these fail to start, or to stop on a signal."""
    arguments = strategy.get("init_args") if isinstance(strategy, Namespace) else None
    method = (arguments or Namespace()).get("start_method") or "popen"
    name = strategy if isinstance(strategy, str) else f"a strategy with start_method {method}"
    if method != "popen" or re.search("_(spawn|fork|notebook)", name):
        raise UsageError(f"{name} is not supported on the command line: use ddp")


def _check_device(accelerator: Any, devices: Any) -> None:
    """Check that the accelerator exists, and that the CPU can run as many processes."""
    cuda, mps = CUDAAccelerator.is_available(), MPSAccelerator.is_available()
    if (accelerator == "cuda" and not cuda) or (accelerator == "gpu" and not (cuda or mps)):
        raise UsageError(f"accelerator {accelerator} is not available on this machine: omit it, or use cpu")
    limit = PROCESSES_PER_CORE * (os.cpu_count() or 1)
    if str(devices).isdecimal() and int(devices) > limit and (accelerator == "cpu" or not cuda):
        raise UsageError(f"devices is {devices}, but this machine's CPU runs at most {limit} processes: use fewer")


def check_linked(args: Sequence[str]) -> None:
    """Raise UsageError for arguments of the model that are set elsewhere, so that a value here would have no effect."""
    given = list(options(args))
    section = load_configs(*(option.value for option in given if option.name in CONFIG)).get("model")
    arguments = section.get("init_args") if isinstance(section, dict) else None
    for name, source in LINKED.items():
        typed = [option.name for option in given if re.match(rf"--model\.(init_args\.)?{name}\b", option.name)]
        if typed or (isinstance(arguments, dict) and name in arguments):
            raise UsageError(f"{typed[0] if typed else f'model.init_args.{name}'} is not used: {source}")


def refuse_null(config: Namespace, section: str) -> None:
    """Refuse null for an argument that does not accept it, at any depth; the parser accepts null everywhere.

    Args:
        config: class path and arguments.
        section: their location in the complete config.
    Raises: UsageError.
    """
    parameters: dict[str, inspect.Parameter] = {}
    for kind in reversed(getattr(import_class(config.class_path), "__mro__", ())):
        parameters |= inspect.signature(kind.__init__).parameters if "__init__" in vars(kind) else {}
    for name, value in vars(config.get("init_args") or Namespace()).items():
        parameter = parameters.get(name)
        optional = parameter is None or parameter.default in (None, inspect.Parameter.empty)
        if value is None and not optional and not re.search("None|Optional", str(parameters[name].annotation)):
            raise UsageError(f"{section}.{name} is null: set a value, or omit it to use the default")
        if isinstance(value, Namespace) and "class_path" in value:
            refuse_null(value, f"{section}.{name}")
