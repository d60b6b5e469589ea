"""``python -m lightning_flows``."""

from lightning_flows.cli import main

if __name__ == "__main__":
    main()
