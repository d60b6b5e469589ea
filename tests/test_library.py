"""The names that `import lightning_flows` provides."""

import subprocess
import sys
from importlib import import_module

import pytest

import lightning_flows


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout


def test_importing_the_package_imports_neither_torch_nor_lightning() -> None:
    code = "import sys, lightning_flows; print({'torch', 'lightning', 'numpy'} & sys.modules.keys())"
    assert run(code) == "set()\n"


def test_flows_do_not_need_lightning() -> None:
    code = "import sys; from lightning_flows import DequantizedFlow, Flow, Compose; print('lightning' in sys.modules)"
    assert run(code) == "False\n"


NAMES = [(home, name) for home, names in lightning_flows.EXPORTS.items() for name in names.split()]


@pytest.mark.parametrize(("home", "name"), NAMES)
def test_names_are_those_of_their_modules(home: str, name: str) -> None:
    assert getattr(lightning_flows, name) is getattr(import_module(f"lightning_flows.{home}"), name)
    assert name in dir(lightning_flows)


def test_subpackages_are_attributes() -> None:
    code = (
        "import lightning_flows; print(lightning_flows.transforms.Flip.__name__, lightning_flows.functional.__name__)"
    )
    assert run(code) == "Flip lightning_flows.functional\n"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'lightning_flows' has no attribute 'GlowFlaw'"):
        _ = lightning_flows.GlowFlaw
    with pytest.raises(ImportError, match="cannot import name 'GlowFlaw'"):
        exec("from lightning_flows import GlowFlaw")


def test_every_family_is_exported() -> None:
    from lightning_flows import flows

    families = {name for name in flows.__all__ if name.endswith("Flow")}
    assert families <= set(lightning_flows.__all__)


def test_windows_is_refused_with_advice() -> None:
    code = "import sys; sys.platform = 'win32'; import lightning_flows.__main__"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 1
    assert result.stderr.startswith("error: Windows lacks the signals")
    assert len(result.stderr.splitlines()) == 1
