"""``python -m lightning_flows``."""

import os
import sys

# torch's C++ parts print a stack trace where a process only learns that another one ended; read when torch is imported
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

# `python -m` looks into the working folder first, where a file torch.py or yaml.py would stand in for an installed one
if sys.path and sys.path[0] in ("", os.getcwd()):
    sys.path.append(sys.path.pop(0))

from lightning_flows.cli import main

if __name__ == "__main__":
    main()
