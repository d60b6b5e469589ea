"""Round trip of a trained flow on its test images: ``python benchmarks/round_trip.py CHECKPOINT [float64]``.

Encodes 64 dequantized test images in float32 (or float64) and decodes their latents exactly. Prints the largest error
in pixel levels (range 0 to 256) and the seconds of decoding, with layers in the images' own dtype and in float64; and
the iterations of the inverse in each Sylvester layer or residual block.
"""

import sys
import time
from typing import Any

import torch
from models import with_test_images

NUM_IMAGES = 64


@torch.no_grad()
def main(path: str, dtype: str = "float32") -> None:
    model, x = with_test_images(path, NUM_IMAGES)
    model.to(getattr(torch, dtype))
    v = x.to(getattr(torch, dtype)).contiguous(memory_format=torch.channels_last)
    print(f"{len(v)} images, {v.dtype}")
    for inner in (v.dtype, torch.float64):
        latents = model.flow.encode(v, dtype=inner)
        start = time.perf_counter()
        error = (model.flow.decode(latents, dtype=inner, accuracy="exact") - v).abs()
        seconds = time.perf_counter() - start
        print(f"layers in {inner}: largest error {error.max():.2e}, mean {error.mean():.2e}; {seconds:.1f} s")
    _, reports = model.flow.decode_reported(model.flow.encode(v), accuracy="exact")
    report: Any
    for i, report in enumerate(reports):
        print(f"layer {i:2}: {report.iterations.max():3} iterations at most, residual {report.residual.max():.1e}")


if __name__ == "__main__":
    main(sys.argv[1], *sys.argv[2:3])
