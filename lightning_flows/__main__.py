"""``python -m lightning_flows``."""

import os

# torch's C++ parts print a stack trace where a process only learns that another one ended; read when torch is imported
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

from lightning_flows.cli import main

if __name__ == "__main__":
    main()
