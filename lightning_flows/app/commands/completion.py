"""``completion``: tab completion in a shell."""

import re
from typing import Any, Literal, get_args

Shell = Literal["bash", "zsh", "tcsh"]
SHELLS: tuple[str, ...] = get_args(Shell)
CONFIGS = "_lightning_flows_configs"
"""Function of a script that completes configs."""

BASH = """
_lightning_flows_files() { compgen -f -- "$1"; }
_lightning_flows_configs() { compgen -f -- "$1"; IFS=" " compgen -W "%s" -- "$1"; }
"""

ZSH = """
_lightning_flows_configs() { _alternative 'files:file:_files' 'configs:packaged config:(%s)' }
"""

BASH_END = """
# bash splits --option=value and --option+=value at the equals sign: complete them as --option value
_lightning_flows() {
  local words=() word
  for word in "${COMP_WORDS[@]:0:COMP_CWORD+1}"; do
    case $word in =) ;; --*+) words+=("${word%+}") ;; *) words+=("$word") ;; esac
  done
  [[ $word == = ]] && words+=("")
  local COMP_WORDS=("${words[@]}") COMP_CWORD=$((${#words[@]} - 1))
  _shtab_lightning_flows "$@"
}

complete -o bashdefault -o default -F _lightning_flows lightning-flows"""


def completion(shell: Shell) -> None:
    """Print a script with which a shell completes commands, options and class names of `lightning-flows`.

    Requires shtab.

    Args:
        shell: bash, zsh or tcsh.
    """
    import shtab

    from lightning_flows.app.completion import command_parser, packaged_configs

    names = " ".join(packaged_configs())
    files = {"bash": "_lightning_flows_files", "zsh": "_files", "tcsh": "f"}
    configs = {"bash": CONFIGS, "zsh": CONFIGS, "tcsh": "f"}
    preamble: Any = {"bash": BASH % names, "zsh": ZSH % names}  # annotated as a string in shtab
    script = shtab.complete(command_parser(files, configs), shell, preamble=preamble)
    if shell == "bash":
        # without shtab's advice, which names another place than ours
        script = re.sub(r"(?m)\A(#.*\n)+", "# written by shtab\n", script) + BASH_END
    elif shell == "zsh":
        # _arguments takes the value of --option= from the same word or from the next
        script = re.sub(r'(?m)^(  "--[\w.]+)(?=\[[^]]*\]:)', r"\1=", script)
    print(script)
