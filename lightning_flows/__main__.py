"""``python -m lightning_flows``."""

import os
import signal
import sys

if sys.platform == "win32":  # fcntl, SIGHUP and process groups
    sys.exit("error: Windows lacks the signals and file locks that training needs: use WSL")

from lightning_flows.training.signals import ENDING, end_at_once

if sys.modules.get("__mp_main__", sys.modules["__main__"]) is sys.modules["__main__"]:  # else a data loading worker
    for number in ENDING:  # the imports below take seconds
        signal.signal(number, end_at_once)

# torch's C++ code prints a stack trace when another process exits; this variable is read when torch is imported
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

# `python -m` searches the working directory first, where a torch.py or yaml.py would shadow an installed package
if sys.path and sys.path[0] in ("", os.getcwd()):
    sys.path.append(sys.path.pop(0))

from lightning_flows.app.cli import main

if __name__ == "__main__":
    main()
