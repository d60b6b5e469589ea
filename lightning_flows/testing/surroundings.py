"""What all code of a process shares: the global generators, and the settings of torch and NumPy."""

import random
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from lightning_flows.functional.streams import stream, stream_seed


class Setting(NamedTuple):
    """A value that is global to the process or thread, another value to try, and how to read and set it."""

    name: str
    get: Callable[[], Any]
    set: Callable[[Any], Any]
    other: Callable[[Any], Any] = lambda value: value


def _flag(holder: Any, name: str, label: str) -> Setting:
    return Setting(label, lambda: getattr(holder, name), lambda value: setattr(holder, name, value), lambda on: not on)


def _device() -> torch.device:
    return torch.empty(0).device  # torch 2.6 cannot name the default device once it has been reset


def _set_device(device: torch.device) -> None:
    torch.set_default_device(None if device == torch.device("cpu") else device)  # None: no mode that slows all calls


def _flushes() -> bool:
    return not (torch.tensor(1e-310, dtype=torch.float64, device="cpu") * 1.0).item()


def _settings() -> list[Setting]:
    found = [
        Setting(
            "default dtype",
            torch.get_default_dtype,
            torch.set_default_dtype,
            lambda dtype: torch.float32 if dtype == torch.float64 else torch.float64,
        ),
        Setting("default device", _device, _set_device),
        Setting("grad mode", torch.is_grad_enabled, torch.set_grad_enabled, lambda on: not on),
        Setting(
            "debug mode of deterministic algorithms",
            torch.get_deterministic_debug_mode,
            torch.set_deterministic_debug_mode,
            lambda mode: 1 if mode == 0 else 0,  # which warns: an error would be no fault
        ),
        Setting("number of threads", torch.get_num_threads, torch.set_num_threads),
        Setting(
            "precision of float32 matrix products",
            torch.get_float32_matmul_precision,
            torch.set_float32_matmul_precision,
            lambda precision: "high" if precision == "highest" else "highest",
        ),
        Setting("anomaly detection", torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
        Setting("flushing of denormal numbers", _flushes, torch.set_flush_denormal),
        Setting(
            "autocast on the CPU",
            lambda: torch.is_autocast_enabled("cpu"),
            lambda on: torch.set_autocast_enabled("cpu", on),
        ),
        *(_flag(torch.backends.cudnn, name, f"cuDNN option {name}") for name in ("enabled", "benchmark")),
        _flag(torch.backends.cudnn, "deterministic", "cuDNN option deterministic"),
        Setting("recursion limit", sys.getrecursionlimit, sys.setrecursionlimit, lambda limit: limit + 1),
    ]
    if numpy := sys.modules.get("numpy"):
        found.append(Setting("NumPy's handling of errors", numpy.geterr, lambda value: numpy.seterr(**value)))
    return found


def settings() -> dict[str, Any]:
    """Global settings by name."""
    return {setting.name: setting.get() for setting in _settings()}


def generators() -> dict[str, Any]:
    """States of the global generators of torch, Python and NumPy, which can be compared."""
    states: dict[str, Any] = {"torch": torch.get_rng_state().numpy().tobytes(), "Python": random.getstate()}
    if torch.cuda.is_initialized():
        states["torch on CUDA"] = torch.cuda.get_rng_state().numpy().tobytes()
    if numpy := sys.modules.get("numpy"):
        kind, keys, *rest = numpy.random.get_state()
        states["NumPy"] = (kind, keys.tobytes(), *rest)
    return states


@contextmanager
def restored() -> Iterator[None]:
    """Restore global generators and settings on exit.

    >>> with restored():
    ...     _ = torch.manual_seed(0)
    ...     torch.set_default_dtype(torch.float64)
    >>> torch.get_default_dtype()
    torch.float32
    """
    numpy, own = sys.modules.get("numpy"), torch.get_rng_state()
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    of_python, of_numpy = random.getstate(), numpy.random.get_state() if numpy else None
    values = settings()
    try:
        yield
    finally:
        for setting in _settings():
            if setting.name in values and setting.get() != values[setting.name]:
                setting.set(values[setting.name])
        torch.set_rng_state(own)
        random.setstate(of_python)
        if devices is not None:
            torch.cuda.set_rng_state_all(devices)
        if numpy and of_numpy is not None:
            numpy.random.set_state(of_numpy)


@contextmanager
def reseeded(number: int) -> Iterator[None]:
    """Give global generators states that no usual seed leads to, and restore them on exit."""
    with restored():
        seed = stream_seed(0, "global generators of a check", number)
        torch.set_rng_state(stream(seed, "global generator of torch").get_state())
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed_all(seed)
        random.seed(seed)
        if numpy := sys.modules.get("numpy"):
            numpy.random.seed(seed % 2**32)
        yield


@contextmanager
def otherwise() -> Iterator[None]:
    """Change the global settings that a correct module allows to be changed, and restore them on exit."""
    with restored(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for setting in _settings():
            if (value := setting.get()) != setting.other(value):
                setting.set(setting.other(value))
        yield
