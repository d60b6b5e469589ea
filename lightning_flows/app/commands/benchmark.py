"""``benchmark``: speed and memory of a model on this device, as it is trained by default and with each option."""

import os
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from json import dumps
from typing import Any, NamedTuple

import torch

from lightning_flows.app.bench import Bench, Variant
from lightning_flows.app.commands.options import check_numbers, chosen_device
from lightning_flows.app.terminal import plain
from lightning_flows.data import FlowDataModule
from lightning_flows.errors import UsageError
from lightning_flows.modules import FlowModule
from lightning_flows.modules.compiled import CompiledTerms
from lightning_flows.progress import progress
from lightning_flows.reporting.tables.table import NONE, Table

VARIANTS = {
    "eager": "the default of fit",
    "compile": "the loss compiled, --compile=true",
    "recompute": "activations recomputed in the backward, --model.recompute=true",
    "bf16": "nets in bfloat16, --trainer.precision=bf16-mixed",
    "tf32": "nets in TensorFloat-32, torch.set_float32_matmul_precision('high')",
}
SECONDS_ON_CPU = 60.0
"""Approximate time of a benchmark on a CPU, unless ``--batch_size`` is given."""
SAMPLED = ("eager",)
"""Variants whose sampling is measured: the others do not affect it."""
HEADER = ["variant", "items per second", "step, ms", "of eager", "memory, MiB", "sampling, ms per item"]


class Row(NamedTuple):
    """What was measured: seconds per step and per sampled item, bytes, and seconds until it was ready."""

    steps: list[float]
    samples: list[float]
    memory: int
    first: float


def benchmark(
    module: FlowModule,
    data: FlowDataModule,
    *,
    batch_size: int | None = None,
    device: str | None = None,
    rounds: int = 5,
    only: list[str] | None = None,
    json: bool = False,
) -> dict[str, Row]:
    """Measure the variants in turns, print a table or JSON, and return the measurements."""
    check_numbers(0, 1.0, rounds=rounds, batch_size=batch_size)
    if unknown := [name for name in only or () if name not in VARIANTS]:
        raise UsageError(f"--only {unknown[0]} is not a variant: choose among {', '.join(VARIANTS)}")
    bench = Bench(module, data, chosen_device(device))
    names = dict.fromkeys(["eager", *(only or VARIANTS)])
    reasons = {name: reason for name in names if (reason := _unavailable(name, bench, only))}
    variants = {name: _variant(name, bench) for name in names if name not in reasons}
    _fill(bench, batch_size, rounds * len(variants))
    found: dict[str, Row] = {}
    shown = progress(total=len(variants) * (rounds + 1), unit="step", desc="measuring", leave=False, delay=1)
    try:
        for name, variant in variants.items():
            try:
                first = bench.seconds(partial(bench.warm_up, variant))
                found[name] = Row([], [], bench.memory(variant), first)
            except torch.OutOfMemoryError:
                reasons[name] = "out of memory"
            except UsageError as error:  # of a layer that cannot be compiled or recomputed
                reasons[name] = str(error)
            shown.update()
        for turn in range(1, rounds + 1):
            for name in [*found]:
                try:
                    found[name].steps.append(bench.seconds(partial(bench.step, variants[name], turn)))
                except torch.OutOfMemoryError:
                    reasons[name] = "out of memory"
                    del found[name]
                    continue
                if name in SAMPLED and "sampling" not in reasons:
                    try:
                        found[name].samples.append(bench.sample(variants[name]))
                    except torch.OutOfMemoryError:
                        reasons["sampling"] = "out of memory"
                shown.update()
    finally:  # an interrupted benchmark shows what it has
        shown.close()
        rows = {name: row for name, row in found.items() if row.steps}
        if rows or reasons.keys() & variants.keys():
            print(_as_json(bench, rows, reasons) if json else plain(_table(bench, rows, reasons).markdown()))
    return found


def _unavailable(name: str, bench: Bench, only: Sequence[str] | None) -> str | None:
    """Why a variant is skipped; None if it is measured."""
    device = bench.device
    if name == "recompute" and not hasattr(bench.module.model, "recompute"):
        return "the model cannot recompute activations"
    if name == "tf32" and (device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0)):
        return f"{device.type} has no TensorFloat-32"
    if name == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        return "this GPU has no bfloat16"
    if name == "compile" and device.type == "cpu" and only is None:
        return "takes minutes to compile on a CPU: add --only=[compile]"
    if name == "compile":
        try:
            CompiledTerms().check(device)
        except UsageError as error:
            return str(error)
    return None


def _variant(name: str, bench: Bench) -> Variant:
    contexts: dict[str, Callable[[], AbstractContextManager[Any]]] = {
        "bf16": lambda: torch.autocast(bench.device.type, torch.bfloat16),
        "tf32": _tf32,
    }
    compiled = CompiledTerms() if name == "compile" else None

    @contextmanager
    def context() -> Iterator[None]:
        with _recomputing(bench.module, name == "recompute"), contexts.get(name, nullcontext)():
            yield

    return Variant(context, partial(bench.loss, compiled=compiled))


@contextmanager
def _recomputing(module: FlowModule, recompute: bool) -> Iterator[None]:
    """Recompute activations or not, whatever the config says, in a model that can."""
    model: Any = module.model
    before = getattr(model, "recompute", None)
    try:
        if before is not None:
            model.recompute = recompute
        yield
    finally:
        if before is not None:
            model.recompute = before


@contextmanager
def _tf32() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _fill(bench: Bench, chosen: int | None, turns: int) -> None:
    """Set the batch size: the chosen one or that of the data, reduced on a slow CPU; print the expected time.

    Raises: UsageError if a chosen batch exceeds the memory.
    """
    size = chosen or bench.data.hparams.get("batch_size", 64)
    if bench.device.type == "cpu":
        eager = _variant("eager", bench)
        seconds = 2 * turns * min(bench.seconds(partial(bench.step, eager, turn)) for turn in range(2)) / bench.size
        item, memory = bench.memory(eager) / bench.size, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if chosen and size * item > memory:
            raise UsageError(
                f"a step with a batch of {size} keeps {size * item / 2**30:.3g} GiB, but this machine has "
                f"{memory / 2**30:.3g} GiB: use a smaller --batch_size"
            )
        fits = max(1, int(min(SECONDS_ON_CPU / seconds, memory / (2 * item + 1))))
        if fits < size and not chosen:
            print(f"batch size reduced from {size} to {fits}: pass --batch_size {size} to keep it", file=sys.stderr)
            size = fits
        print(f"takes about {seconds * size:.0f} seconds; Ctrl-C prints what has been measured so far", file=sys.stderr)
    bench.fill(size)


def _table(bench: Bench, rows: dict[str, Row], reasons: dict[str, str]) -> Table:
    cells = []
    for name, row in rows.items():
        step = statistics.median(row.steps)
        eager = rows["eager"].steps if "eager" in rows else []
        ratio = f"{statistics.median(a / b for a, b in zip(row.steps, eager, strict=False)):.2f}" if eager else NONE
        sample = f"{1e3 * statistics.median(row.samples):.1f}" if row.samples else NONE
        cells.append(
            [name, f"{bench.size / step:.1f}", f"{1e3 * step:.1f}", ratio, f"{row.memory / 2**20:.1f}", sample]
        )
    cells += [[name, reason, *[NONE] * (len(HEADER) - 2)] for name, reason in reasons.items()]
    compiled = f"Compiled in {rows['compile'].first:.0f} seconds. " if "compile" in rows else ""
    note = f"{compiled}Medians of turns, with random data. A trained flow may take longer to sample: see --ckpt_path."
    return Table(HEADER, cells, f"{bench.describe()} {note}")


def _as_json(bench: Bench, rows: dict[str, Row], reasons: dict[str, str]) -> str:
    record: dict[str, Any] = {"setting": bench.describe(), "batch_size": bench.size, "skipped": reasons}
    for name, row in rows.items():
        step = statistics.median(row.steps)
        sample = statistics.median(row.samples) if row.samples else None
        record[name] = {"items_per_second": bench.size / step, "step_seconds": step}
        record[name] |= {"sample_seconds_per_item": sample, "memory_bytes": row.memory, "first_seconds": row.first}
    return dumps(record, indent=2)
