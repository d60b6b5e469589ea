"""Speed of training on a table, and memory of predictions: ``python benchmarks/tables.py``.

Writes a CSV file of a distribution whose density is known, trains on it with ``configs/table.yaml`` by the command
line, tests, predicts and samples, and compares the NLL with the exact one. Rows per second are those of whole epochs:
loading, steps, logging and callbacks, without validation. On a machine that does other work, rows per CPU second say
more, with ``--fit_only`` and ``OMP_NUM_THREADS=1``: without validation, which counts as well.
"""

import argparse
import csv
import json
import math
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

CLUSTERS, BEND = 10, 0.3


class Warped:
    """A mixture of Gaussians in D dimensions with values warped by x = sinh(b y)/b, of which the density is exact."""

    def __init__(self, size: int, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.means = 2 * torch.randn(CLUSTERS, size, generator=generator, dtype=torch.float64)
        factors = torch.randn(CLUSTERS, size, size, generator=generator, dtype=torch.float64) / math.sqrt(size)
        covariances = factors @ factors.mT + 0.05 * torch.eye(size, dtype=torch.float64)
        self.normals = torch.distributions.MultivariateNormal(self.means, covariances)

    def sample(self, num: int, seed: int) -> Tensor:
        torch.manual_seed(seed)
        cluster = torch.randint(CLUSTERS, (num,))
        rows = torch.cat([self.normals.sample((len(part),)) for part in cluster.split(10_000)])
        chosen = cluster[:, None, None].expand(-1, 1, rows.shape[2])
        return torch.sinh(BEND * rows.gather(1, chosen)[:, 0]) / BEND

    def log_prob(self, x: Tensor) -> Tensor:
        y = torch.asinh(BEND * x) / BEND
        density = torch.logsumexp(self.normals.log_prob(y[:, None]) - math.log(CLUSTERS), dim=1)
        return density - torch.log1p((BEND * x).square()).sum(1) / 2


def command(*arguments: str) -> tuple[float, str]:
    """Run a command; return its seconds and output."""
    start = time.perf_counter()
    found = subprocess.run([sys.executable, "-m", "lightning_flows", *arguments], capture_output=True, text=True)
    if found.returncode:
        raise SystemExit(found.stderr)
    return time.perf_counter() - start, found.stdout


def rows_per_second(run: Path, batch_size: int, steps: int) -> list[float]:
    """Speed of each epoch, from the times of its second and last logged step."""
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    by_epoch: dict[int, list[tuple[int, float]]] = {}
    for each in events.Scalars("train/loss"):
        by_epoch.setdefault(each.step // steps, []).append((each.step, each.wall_time))
    spans = [(logged[1], logged[-1]) for logged in by_epoch.values() if len(logged) > 2]
    return [batch_size * (last[0] - first[0]) / (last[1] - first[1]) for first, last in spans]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--columns", type=int, default=20)
    parser.add_argument("--batch_size", type=int, default=1024)
    parser.add_argument("--fit_only", action="store_true", help="do not validate, test, predict and sample")
    parser.add_argument("options", nargs="*", help="other options of fit, after --")
    arguments = parser.parse_args()
    source = Warped(arguments.columns)
    rows = source.sample(arguments.rows, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        path, runs = Path(folder) / "table.csv", Path(folder) / "runs"
        header = ",".join(f"x{i}" for i in range(arguments.columns))
        np.savetxt(path, rows.numpy(), fmt="%.9g", delimiter=",", header=header, comments="")
        steps = int(0.8 * arguments.rows) // arguments.batch_size
        given = [f"--data.path={path}", f"--data.batch_size={arguments.batch_size}", f"--data.steps_per_epoch={steps}"]
        given += arguments.options
        given += ["--trainer.limit_val_batches=0"] if arguments.fit_only else []
        seconds, _ = command("fit", "--config=table.yaml", f"--trainer.logger.init_args.save_dir={runs}", *given)
        run = runs / "table" / "version_0"
        checkpoint = f"--ckpt_path={run / 'checkpoints' / 'best.ckpt'}"
        speeds = rows_per_second(run, arguments.batch_size, steps)
        print(f"fit: {seconds:.0f} s; {statistics.median(speeds):,.0f} rows per second")
        record = json.loads((run / "runtime.json").read_text())
        trained = len(speeds) * steps * arguments.batch_size
        print(f"{trained / record['cpu_seconds']:,.0f} rows per CPU second, {record['device']}")
        if arguments.fit_only:
            return
        print(command("test", checkpoint)[1])
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        seconds, _ = command("predict", checkpoint, f"--out={folder}/scores.csv")
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        with open(f"{folder}/scores.csv", encoding="utf-8") as file:
            scores = torch.tensor([float(line["log_likelihood"]) for line in csv.DictReader(file)]).double()
        exact = source.log_prob(rows)
        print(f"predict: {seconds:.0f} s; peak memory of fit and test {before:.0f} MiB, with predict {peak:.0f} MiB")
        print(f"all rows: NLL {-scores.mean():.3f}, exact {-exact.mean():.3f} nats per row")
        seconds, _ = command("sample", checkpoint, f"--out={folder}/samples.csv", "--num=10000")
        drawn = torch.from_numpy(np.loadtxt(f"{folder}/samples.csv", delimiter=",", skiprows=1))
        print(f"sample: 10,000 rows in {seconds:.0f} s; exact NLL of samples {-source.log_prob(drawn).mean():.3f}")


if __name__ == "__main__":
    main()
