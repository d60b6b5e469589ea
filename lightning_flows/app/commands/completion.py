"""``completion``: tab completion in a shell."""

from typing import Any, Literal

BASH = """
_lightning_flows_files() { compgen -f -- "$1"; }
_lightning_flows_configs() { compgen -f -- "$1"; IFS=" " compgen -W "%s" -- "$1"; }
"""


def completion(shell: Literal["bash", "zsh", "tcsh"]) -> None:
    """Print a script with which a shell completes commands, options and class names of `lightning-flows`.

    Requires shtab.

    Args:
        shell: bash, zsh or tcsh.
    """
    import shtab

    from lightning_flows.app.completion import command_parser, packaged_configs

    names = " ".join(packaged_configs())
    files = {"bash": "_lightning_flows_files", "zsh": "_files", "tcsh": "f"}
    configs = {
        "bash": "_lightning_flows_configs",
        "zsh": f"_alternative 'files:file:_files' 'configs:packaged config:({names})'",
        "tcsh": "f",
    }
    preamble: Any = {"bash": BASH % names}  # annotated as a string in shtab
    print(shtab.complete(command_parser(files, configs), shell, preamble=preamble))
