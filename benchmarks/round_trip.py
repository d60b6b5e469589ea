"""Round trip of a trained flow on its test images: ``python benchmarks/round_trip.py CHECKPOINT [float64]``.

Encodes 64 dequantized test images in float32 (or float64) and decodes their latents. Prints the largest error in
pixel levels (range 0 to 256) and the seconds of decoding, with layers in the images' own precision and in float64,
which is the default; and the iterations of the inverse in each Sylvester layer or residual block.
"""

import sys
import time

import torch

from lightning_flows import data as datamodules
from lightning_flows.modules import load_model, read_checkpoint
from lightning_flows.transforms import GeneralizedSylvester, ResidualBlock

NUM_IMAGES = 64


@torch.no_grad()
def main(path: str, dtype: str = "float32") -> None:
    model = load_model(path).model.to(getattr(torch, dtype))
    record = read_checkpoint(path)["lightning_flows"]["data"]
    datamodule = getattr(datamodules, record["class_path"].rpartition(".")[2])(**record["init_args"])
    datamodule.prepare_data()
    datamodule.setup("test")
    images = datamodule.dataset("test").images[:NUM_IMAGES]
    u, _ = model.dequantization.sample(images, generator=torch.Generator().manual_seed(0))
    v = (images + u).to(getattr(torch, dtype)).contiguous(memory_format=torch.channels_last)
    print(f"{len(images)} images, {v.dtype}")
    for exact in (False, True):
        latents = model.flow.encode(v, exact=exact)
        start = time.perf_counter()
        error = (model.flow.decode(latents, exact=exact) - v).abs()
        seconds = time.perf_counter() - start
        name = "in float64" if exact else f"in {dtype}"
        print(f"layers {name}: largest error {error.max():.2e} pixel levels, mean {error.mean():.2e}; {seconds:.1f} s")
    reports = [m.report for m in model.modules() if isinstance(m, GeneralizedSylvester | ResidualBlock) and m.report]
    for i, report in enumerate(reports):
        print(f"layer {i:2}: {report.iterations.max():3} iterations at most, residual {report.residual.max():.1e}")


if __name__ == "__main__":
    main(sys.argv[1], *sys.argv[2:3])
