"""Round trip of a trained flow on its test pictures: ``python benchmarks/round_trip.py CHECKPOINT [float64]``.

Encodes 64 dequantised test pictures in float32 (or float64) and decodes their latents; prints the largest error in
pixel levels (range 0 to 256) and the iterations of the inverse in each Sylvester layer.
"""

import sys

import torch

from lightning_flows import datamodules
from lightning_flows.modules import load_model, read_checkpoint
from lightning_flows.transforms import GeneralizedSylvester

NUM_PICTURES = 64


@torch.no_grad()
def main(path: str, dtype: str = "float32") -> None:
    model = load_model(path).model.to(getattr(torch, dtype))
    record = read_checkpoint(path)["lightning_flows"]["data"]
    datamodule = getattr(datamodules, record["class_path"].rpartition(".")[2])(**record["init_args"])
    datamodule.prepare_data()
    datamodule.setup("test")
    images = datamodule.dataset("test").images[:NUM_PICTURES]
    u, _ = model.dequantization.sample(images, generator=torch.Generator().manual_seed(0))
    v = (images + u).to(getattr(torch, dtype)).contiguous(memory_format=torch.channels_last)
    error = (model.flow.decode(model.flow.encode(v)) - v).abs()
    reports = [m.report for m in model.modules() if isinstance(m, GeneralizedSylvester) and m.report is not None]
    print(f"{len(images)} pictures, {v.dtype}: largest error {error.max():.2e} pixel levels, mean {error.mean():.2e}")
    for i, report in enumerate(reports):
        print(f"layer {i:2}: {report.iterations.max():3} iterations at most, residual {report.residual.max():.1e}")


if __name__ == "__main__":
    main(sys.argv[1], *sys.argv[2:3])
