"""Compare this checkout with another revision: ``python benchmarks/against.py REV``.

Each revision runs in its own process, with a model of the same kind, sizes and weights. The two take turns of a few
steps, so that a busy machine slows both equally. Prints, for each family, batch size and number of threads, the values
of both and the ratio this/REV: the median over rounds of the ratio within a round, with its quartiles.

train: time of a forward and a backward pass, without the optimizer. sample: time of a batch of images or graphs.
bytes: peak of those that a forward keeps for the backward, excluding parameters and buffers.
operators: those of a training step with a fused optimizer, excluding views. reads: operators that wait for the device.
peak: largest number of bytes of all tensors that exist at the same time in that step, including gradients.

``--checkpoint FILE`` instead decodes the same latents with a trained flow of images in both revisions, and prints the
errors against float64.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve().parent
WHAT = ("train", "sample", "bytes", "operators")
RECOMPUTE = " recompute"
FAMILIES = ["csf", "csf528", "residual", "coupling", "conv1x1", "emerging", "woodbury", "conv_exponential"]


class Process:
    """A worker of one revision, called with the name and arguments of a method of :class:`against_worker.Worker`."""

    def __init__(self, tree: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "against_worker.py")],
            env=os.environ | {"PYTHONPATH": str(tree)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip

    def __call__(self, function: str, **arguments: Any) -> Any:
        """Call a method; exit if the worker has ended."""
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps([function, arguments]), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"error: a worker failed in {function}: see its traceback above")
        return json.loads(answer)

    def close(self) -> None:
        """End the worker."""
        self._process.communicate()


@contextmanager
def revisions(rev: str) -> Iterator[tuple[Process, Process]]:
    """Workers of this checkout and of a revision, in a temporary worktree."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        git = ["git", "-C", str(HERE), "worktree"]
        added = subprocess.run([*git, "add", "--quiet", "--detach", str(tree), rev], capture_output=True, text=True)
        if added.returncode:
            raise SystemExit(f"error: {added.stderr.strip()}")
        workers = Process(HERE.parent), Process(tree)
        try:
            yield workers
        finally:
            for worker in workers:
                worker.close()
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def share_weights(source: Process, target: Process, name: str, other: str) -> str:
    """Copy data and weights from one model to another; return how much their log-densities differ."""
    with tempfile.NamedTemporaryFile(suffix=".pt") as file:
        source("write", name=name, path=file.name)
        refused = target("read", name=other, path=file.name)
    pairs = list(zip(source("values", name=name), target("values", name=other), strict=True))
    difference = max(abs(a - b) for a, b in pairs)
    note = f"log-densities differ by at most {difference:.1e} of {abs(pairs[0][0]):.0f} nats"
    return f"{note}; different weights: {refused}" if refused else note


Parties = dict[str, Callable[..., float]]
"""Functions of ``steps`` and ``seed`` that return seconds and take turns; the last one is the reference."""


def timed(parties: Parties, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Seconds of each party in each round; a turn takes about ``seconds``."""
    for call in parties.values():
        call(steps=1, seed=0)
    slowest = max(call(steps=1, seed=0) for call in parties.values())
    steps = max(1, round(seconds / slowest))
    found: dict[str, list[float]] = {label: [] for label in parties}
    for turn in range(rounds):
        for label in list(parties) if turn % 2 else list(parties)[::-1]:
            found[label].append(parties[label](steps=steps, seed=turn + 1))
    return found


def show(title: str, values: dict[str, list[float]], unit: str, scale: float = 1.0) -> None:
    """Print a line for each value but the last, relative to the last."""
    *names, reference = values
    theirs = values[reference]
    for name in names:
        ratios = [a / b for a, b in zip(values[name], theirs, strict=True) if b]
        ratio = f"{statistics.median(ratios):.3f}" if ratios else "–"
        quartiles = statistics.quantiles(ratios, method="inclusive") if len(ratios) > 1 else []
        spread = f"{quartiles[0]:.3f} to {quartiles[2]:.3f}" if quartiles else ""
        medians = (scale * statistics.median(each) for each in (values[name], theirs))
        numbers = " ".join(f"{value:9.1f}" for value in medians)
        print(f"{title + name:52} {numbers} {unit:4} {ratio:>6}  {spread}".rstrip(), flush=True)


def compare(ours: Process, theirs: Process, family: str, batch: int, threads: int, options: argparse.Namespace) -> None:
    """Print the rows of a family."""
    setting = {"family": family, "batch": batch, "steps_per_level": options.steps}
    if family in ("gnf", "set_autoregressive", "graph_coupling"):
        del setting["steps_per_level"]
    for process in (ours, theirs):
        process("start", threads=threads)
    counts = [process("build", name="plain", **setting) for process in (ours, theirs)]
    note = share_weights(ours, theirs, "plain", "plain")
    print(f"{family}: {counts[0]:,} and {counts[1]:,} parameters; {note}")
    descents = [process("descend", name="plain") for process in (ours, theirs)]
    print(f"  gradient descent lowers the loss by {descents[0]:.4f} and {descents[1]:.4f} nats")
    parties: dict[str, Callable[..., Any]] = {"": partial(ours, name="plain")}
    if options.recompute:
        ours("build", name="recompute", recompute=True, **setting)
        share_weights(ours, ours, "plain", "recompute")
        parties[RECOMPUTE] = partial(ours, name="recompute")
    parties["theirs"] = partial(theirs, name="plain")
    title = f"{family}, batch {batch}, {threads} thread{'s' * (threads > 1)}, "
    for what in options.what:
        if what in ("train", "sample"):
            calls: Parties = {label: partial(worker, what) for label, worker in parties.items()}
            if what == "sample":
                calls.pop(RECOMPUTE, None)
            found = timed(calls, options.rounds, options.turn)
            show(title + what, found, "ms", 1e3)
            if RECOMPUTE in found:
                show(title + what, {f"{RECOMPUTE} / without": found[RECOMPUTE], "without": found[""]}, "ms", 1e3)
        elif threads == options.threads[0] and what == "bytes":
            show(title + what, {label: [worker("bytes")] for label, worker in parties.items()}, "MiB", 2**-20)
        elif threads == options.threads[0]:  # counts do not depend on threads
            counted = {label: worker("counts") for label, worker in parties.items()}
            for i, (count, unit, scale) in enumerate([("operators", "", 1), ("reads", "", 1), ("peak", "MiB", 2**-20)]):
                show(title + count, {label: [values[i]] for label, values in counted.items()}, unit, scale)


def compare_decoding(ours: Process, theirs: Process, threads: int, options: argparse.Namespace) -> None:
    """Print the rows of a trained flow."""
    for process in (ours, theirs):
        process("start", threads=threads)
    arguments = ours("load", name="flow", path=options.checkpoint, num=16)
    theirs("build", name="flow", batch=1, **arguments)
    print(f"{options.checkpoint}: {share_weights(ours, theirs, 'flow', 'flow')}")
    for batch in options.batch:
        with tempfile.NamedTemporaryFile(suffix=".pt") as file:
            ours("latents", name="flow", num=batch, path=file.name)
            parties = {
                ", default accuracy": partial(ours, name="flow", path=file.name),
                ", exact": partial(ours, name="flow", path=file.name, accuracy="exact"),
                "theirs": partial(theirs, name="flow", path=file.name),
            }
            title = f"decode {batch}, {threads} thread{'s' * (threads > 1)}"
            calls: Parties = {label: partial(worker, "decode") for label, worker in parties.items()}
            show(title, timed(calls, options.rounds, options.turn), "ms", 1e3)
            for label, worker in parties.items():
                largest, mean = worker("error")
                who = label.replace("theirs", f", {options.rev}")
                print(f"  {title}{who}: error {largest:.1e} at most, {mean:.1e} on average", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rev", help="revision to compare with, such as 22db688")
    parser.add_argument(
        "--only", nargs="+", default=FAMILIES, metavar="FAMILY", help="also residual_autograd, gnf, set_autoregressive"
    )
    parser.add_argument("--what", nargs="+", choices=WHAT, default=list(WHAT))
    parser.add_argument("--batch", type=int, nargs="+", default=[16])
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--steps", type=int, default=2, help="steps per level")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--turn", type=float, default=0.2, help="approximate seconds of a turn")
    parser.add_argument("--recompute", action="store_true", help="also measure this checkout with recomputation")
    parser.add_argument("--checkpoint", help="checkpoint of this revision: only compare its decoding")
    options = parser.parse_args()
    print(f"this checkout / {options.rev}; torch {torch.__version__}; {options.rounds} rounds")
    print(f"{'':52} {'this':>9} {options.rev[:9]:>9} {'':4} {'ratio':>6}  quartiles")
    with revisions(options.rev) as (ours, theirs):
        for threads in options.threads:
            if options.checkpoint:
                compare_decoding(ours, theirs, threads, options)
                continue
            for family in options.only:
                for batch in options.batch:
                    compare(ours, theirs, family, batch, threads, options)


if __name__ == "__main__":
    main()
