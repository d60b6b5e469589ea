"""Time and size of a report: ``python benchmarks/report.py`` writes 30 runs to a temporary folder, then their report.

Each run has 1,000 logged steps of twelve curves, 50 validations, and ten grids of 64 images of noise, which compresses
worst, in its event file and as PNG.
"""

import json
import tempfile
import time
from pathlib import Path

import torch
import yaml
from torch.utils.tensorboard import SummaryWriter
from torchvision.utils import make_grid, save_image

from lightning_flows.app.commands.report import report
from lightning_flows.app.configs import load_configs

UNIFORM = {"dequantization": "lightning_flows.dequantization.UniformDequantization"}
NUM_RUNS, STEPS, CURVES, VALIDATIONS, GRIDS = 30, 1000, 12, 50, 10


def write_run(folder: Path, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    config = load_configs("defaults/fit.yaml", "csf_small.yaml") | {"seed_everything": seed}
    (folder / "samples").mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "runtime.json").write_text(json.dumps({"train_step_seconds": 0.5, "device": "none", "batch_size": 32}))
    test = {
        "metrics": {"test/bpd": 3.3 + torch.rand((), generator=generator).item() / 100},
        "model": config["model"] | {"init_args": config["model"]["init_args"] | UNIFORM}, "data": config["data"],
        "num_items": 10_000, "num_parameters": 27_600_000, "checkpoint": "best.ckpt",
        "global_step": STEPS * 50, "time": 0.0, "torch": torch.__version__,
    }  # fmt: skip
    (folder / "tests.jsonl").write_text(json.dumps(test) + "\n")
    with SummaryWriter(str(folder)) as writer:
        for step in range(STEPS):
            for curve in range(CURVES):
                noise = torch.randn((), generator=generator).item()
                writer.add_scalar(
                    "train/bpd" if curve == 0 else f"train/{curve}", 3 + 5 / (step + 1) + noise / 20, step
                )
        for epoch in range(VALIDATIONS):
            writer.add_scalar("val/bpd", 3.3 + 2 / (epoch + 1), epoch * STEPS // VALIDATIONS)
        for epoch in range(GRIDS):
            grid = make_grid(torch.randint(256, (64, 3, 32, 32), generator=generator, dtype=torch.uint8))
            writer.add_image("samples", grid, epoch)
            save_image(grid / 255, folder / "samples" / f"epoch_{epoch:04d}.png")


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        runs, page = Path(temporary) / "runs", Path(temporary) / "report.html"
        for seed in range(NUM_RUNS):
            write_run(runs / f"csf_seed{seed}" / "version_0", seed)
        start = time.perf_counter()
        report(str(runs), str(page))
        seconds, size = time.perf_counter() - start, page.stat().st_size / 1e6
        print(f"{NUM_RUNS} runs: {seconds:.1f} seconds, {size:.2f} MB")


if __name__ == "__main__":
    main()
