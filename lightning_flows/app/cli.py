"""The command line: ``python -m lightning_flows COMMAND``.

Before torch is imported, the command line handles help, misspelled commands, missing configs and existing files.
"""

import difflib
import inspect
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_flows import __version__
from lightning_flows.app.arguments import CONFIG, options, value_of, with_flags, without
from lightning_flows.app.commands import COMMANDS, TRAINER_COMMANDS, descriptions, function
from lightning_flows.app.commands.data_options import taken_from
from lightning_flows.app.configs import configs_first, find_configs
from lightning_flows.app.error_messages import explain, is_first_to_fail, leave, leave_to_main_thread
from lightning_flows.app.option_names import DATA_OPTIONS, for_command
from lightning_flows.app.parser import CommandParser, program
from lightning_flows.app.terminal import print_any_text
from lightning_flows.errors import ConfigError, UsageError
from lightning_flows.files import check_new_file
from lightning_flows.training.signals import Interrupted, end_children, ended_by, ended_by_signals, is_first_process

HELP = ("-h", "--help")
PRINTING = {*HELP, "--print_config"}
"""Options that make a command print something and exit."""


def main(args: Sequence[str] | None = None) -> None:
    """Run a command; an error meant for the user prints one line to stderr and exits with status 1 or 2.

    Set the environment variable LIGHTNING_FLOWS_DEBUG=1 to see the traceback.
    """
    args = list(sys.argv[1:] if args is None else args)
    print_any_text()
    threading.excepthook = leave_to_main_thread
    with ended_by_signals():
        try:
            run(args)
        except Interrupted as ended:
            if not ended.is_reported and is_first_process():
                print(ended_by(ended.number), file=sys.stderr, flush=True)
            end_children()
            raise
        except Exception as error:
            if isinstance(error, BrokenPipeError) and (PRINTING & set(args) or args[0] not in TRAINER_COMMANDS):
                sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - as in `--help | head`; Python flushes it at exit
                leave(1)
            text = explain(error, args[0] if args else "")
            if text is not None and os.environ.get("LIGHTNING_FLOWS_DEBUG") != "1":
                if is_first_to_fail():
                    print(f"error: {for_command(text, args)}", file=sys.stderr, flush=True)
                end_children()
                leave(2 if isinstance(error, ConfigError) else 1)
            end_children()
            raise


def run(args: Sequence[str]) -> Any:
    """Run a command and return the result of its function, or the ``TrainerCLI`` of a command with a trainer."""
    name = args[0] if args else "--help"
    if name in (*HELP, "help"):
        print(overview())
        raise SystemExit(0 if args else 2)
    if name == "--version":
        print(f"lightning_flows {__version__}")
        raise SystemExit(0)
    if value_of(args, "--ckpt_path") == "":
        raise UsageError("--ckpt_path is empty: pass the path of a checkpoint")
    if name in COMMANDS:
        return _run_function(name, args[1:])
    if name not in TRAINER_COMMANDS:
        close = difflib.get_close_matches(name, [*TRAINER_COMMANDS, *COMMANDS], 1)
        print(
            f"error: {name} is not a command{f'; did you mean {close[0]}?' if close else ''}\n"
            f"tip: `{program()} --help` lists the commands",
            file=sys.stderr,
        )
        raise SystemExit(2)
    if any(not option.value or option.value.startswith("-") for option in options(args) if option.name in CONFIG):
        raise ConfigError("--config requires a file: pass your own, or a packaged one such as demo.yaml")
    args = configs_first(find_configs(args))
    if name == "predict" and not PRINTING & {arg.partition("=")[0] for arg in args}:
        value = value_of(args, "--overwrite")
        overwrite = value is not None and value.lower() in ("", "true", "yes")
        for name in filter(None, (value_of(args, "--out") or "predictions.csv", value_of(args, "--page"))):
            check_new_file(Path(name), overwrite=overwrite)
    if name == "benchmark":
        from lightning_flows.app.benchmark_cli import BenchmarkCLI

        return BenchmarkCLI(args)
    from lightning_flows.app.trainer_cli import TrainerCLI  # imports torch and Lightning, which takes seconds

    return TrainerCLI(args)


def overview() -> str:
    """Return the text of ``--help``."""
    commands = "\n".join(f"  {name:11}{text}" for name, text in descriptions().items())
    return f"""usage: {program()} COMMAND [--OPTION VALUE]...

Train, evaluate, sample and compare normalizing flows.

commands:
{commands}

options:
  --help    Show this message; after a command, its options.
  --version Show the version."""


def _run_function(name: str, args: Sequence[str]) -> Any:
    """Run a command without a trainer."""
    command, positional = function(name), COMMANDS[name]
    parameters, given = inspect.signature(command).parameters.values(), dict[str, Any]()
    if takes_data := any(each.name == DATA_OPTIONS for each in parameters):
        args, given[DATA_OPTIONS] = taken_from(args)
    args = with_flags(args, [f"--{each.name}" for each in parameters if each.default is False])
    if positional and (value := value_of(args, f"--{positional}")):
        args = [value, *without(args, f"--{positional}")]
    parser = CommandParser.of(name, args)(
        usage=f"%(prog)s {(positional or '').upper()} [--OPTION VALUE]...".replace("  ", " "),
        description=(command.__doc__ or "").splitlines()[0],
    )
    parser.add_function_arguments(command, as_group=False, as_positional=positional is not None, skip={DATA_OPTIONS})
    if takes_data:
        parser.epilog = "--data.OPTION VALUE overrides an argument of the data: `fit --data.help CLASS` lists them."
    return command(**parser.parse_args(args).as_dict(), **given)
