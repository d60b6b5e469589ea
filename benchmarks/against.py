"""Compare this checkout with another revision: ``python benchmarks/against.py REV``.

Each revision has a process of its own with a model of the same kind, sizes and weights. The two take turns of a few
steps, so that a busy machine slows both equally. Prints, for each family, batch size and number of threads, the values
of both and the ratio this/REV: the median over rounds of the ratio within a round, with its quartiles.

train: a step forward and backward, without the optimizer. sample: a batch of images or graphs.
bytes: peak of the bytes that autograd keeps for the backward, parameters and buffers aside.
operators: those of a training step with a fused optimizer, views aside. reads: those of them that wait for the device.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve().parent
WHAT = ("train", "sample", "bytes", "operators")


class Process:
    """A worker of one revision; attributes are the functions of :class:`against_worker.Worker`."""

    def __init__(self, tree: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "against_worker.py")],
            env=os.environ | {"PYTHONPATH": str(tree)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip

    def __call__(self, function: str, **arguments: Any) -> Any:
        """Call a function; ends the comparison if the worker ends."""
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps([function, arguments]), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"error: a worker ended in {function}: see its traceback above")
        return json.loads(answer)

    def close(self) -> None:
        """End the worker."""
        self._process.communicate()


@contextmanager
def revisions(rev: str) -> Iterator[dict[str, Process]]:
    """Workers of this checkout and of a revision, in a temporary worktree."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        git = ["git", "-C", str(HERE), "worktree"]
        added = subprocess.run([*git, "add", "--quiet", "--detach", str(tree), rev], capture_output=True, text=True)
        if added.returncode:
            raise SystemExit(f"error: {added.stderr.strip()}")
        processes = {"ours": Process(HERE.parent), "theirs": Process(tree)}
        try:
            yield processes
        finally:
            for process in processes.values():
                process.close()
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def same_weights(workers: dict[str, Process], name: str) -> str:
    """Give both models the same weights; returns how much their log-densities differ."""
    with tempfile.NamedTemporaryFile(suffix=".pt") as file:
        workers["ours"]("write", name=name, path=file.name)
        refused = workers["theirs"]("read", name=name, path=file.name)
    if refused:
        return f"own weights each: {refused}"
    pairs = list(zip(*(worker("values", name=name) for worker in workers.values()), strict=True))
    return f"log-densities differ by at most {max(abs(a - b) for a, b in pairs):.1e} of {abs(pairs[0][0]):.0f} nats"


def timed(
    workers: dict[str, Process], function: str, name: str, rounds: int, seconds: float
) -> list[tuple[float, float]]:
    """Seconds of both in each round; turns last about ``seconds``."""
    first = {who: worker(function, name=name, steps=1, seed=0) for who, worker in workers.items()}
    first = {who: worker(function, name=name, steps=1, seed=0) for who, worker in workers.items()}
    steps = max(1, round(seconds / max(first.values())))
    found = []
    for turn in range(rounds):
        order = list(workers) if turn % 2 else list(workers)[::-1]
        times = {who: workers[who](function, name=name, steps=steps, seed=turn + 1) for who in order}
        found.append((times["ours"], times["theirs"]))
    return found


def row(label: str, pairs: list[tuple[float, float]], unit: str, scale: float = 1.0) -> str:
    """A line of the table."""
    ours, theirs = (statistics.median(values) * scale for values in zip(*pairs, strict=True))
    ratios = [a / b for a, b in pairs if b]
    ratio = f"{statistics.median(ratios):.3f}" if ratios else "–"
    quartiles = statistics.quantiles(ratios, method="inclusive") if len(ratios) > 1 else []
    spread = f"{quartiles[0]:.3f} to {quartiles[2]:.3f}" if quartiles else ""
    return f"{label:46} {ours:9.1f} {theirs:9.1f} {unit:4} {ratio:>6}  {spread}".rstrip()


def compare(workers: dict[str, Process], family: str, batch: int, threads: int, arguments: argparse.Namespace) -> None:
    """Print the rows of a family."""
    setting = {"name": family, "family": family, "batch": batch, "threads": threads}
    counts = {who: worker("build", **setting) for who, worker in workers.items()}
    print(f"{family}: {counts['ours']:,} and {counts['theirs']:,} parameters; {same_weights(workers, family)}")
    for what in arguments.what:
        label = f"{family}, batch {batch}, {threads} thread{'s' * (threads > 1)}, {what}"
        if what in ("train", "sample"):
            pairs = timed(workers, what, family, arguments.rounds, arguments.turn)
            print(row(label, pairs, "ms", 1e3), flush=True)
        elif threads == arguments.threads[0]:  # counts do not depend on threads
            values = [worker(what, name=family) for worker in workers.values()]
            if what == "bytes":
                print(row(label, [tuple(values)], "MiB", 2**-20), flush=True)
            elif batch == arguments.batch[0]:
                print(row(label, [(values[0][0], values[1][0])], ""), flush=True)
                print(row(label.replace(what, "reads"), [(values[0][1], values[1][1])], ""), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rev", help="revision to compare with, such as 22db688")
    parser.add_argument(
        "--only",
        nargs="+",
        default=["csf", "csf528", "residual", "coupling", "conv1x1", "emerging", "woodbury", "conv_exponential"],
        metavar="FAMILY",
    )
    parser.add_argument("--what", nargs="+", choices=WHAT, default=list(WHAT))
    parser.add_argument("--batch", type=int, nargs="+", default=[16])
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--turn", type=float, default=0.2, help="seconds of a turn, about")
    arguments = parser.parse_args()
    print(f"this checkout / {arguments.rev}; torch {torch.__version__}; {arguments.rounds} rounds")
    print(f"{'':46} {'this':>9} {arguments.rev[:9]:>9} {'':4} {'ratio':>6}  quartiles")
    with revisions(arguments.rev) as workers:
        for family in arguments.only:
            for batch in arguments.batch:
                for threads in arguments.threads:
                    compare(workers, family, batch, threads, arguments)


if __name__ == "__main__":
    main()
