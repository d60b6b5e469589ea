"""Tables and reports start quickly: neither imports PyTorch."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["reporting.tables", "reporting.report"])
def test_slow_packages_are_not_imported(module: str) -> None:
    code = f"import sys, lightning_flows.{module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "lightning_flows" in loaded
    assert not {"torch", "lightning", "matplotlib", "torchmetrics"} & set(loaded)
