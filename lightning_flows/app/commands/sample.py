"""``sample``: images, graphs or rows from a checkpoint."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from lightning_flows.app.commands.options import MAX_PIXELS, check_fits, check_numbers, chosen_device
from lightning_flows.errors import UsageError
from lightning_flows.files import check_new_file, created_together


def sample(
    ckpt_path: str,
    out: str = "samples.png",
    num: int = 64,
    temperature: float = 1.0,
    accuracy: float | Literal["exact"] | None = None,
    seed: int = 0,
    npy: bool = False,
    batch_size: int | None = None,
    device: str | None = None,
    model: str | None = None,
    data: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Draw samples from a checkpoint and save them as a PNG: a grid of images, or a plot of nodes or rows.

    Sizes and edges of graphs are drawn as in training. Rows of a table may also be saved as a CSV file with the names
    of its columns.

    Args:
        ckpt_path: checkpoint of a trained model.
        out: PNG file to write, or for rows a CSV file.
        num: number of samples; a PNG is limited to 67 million pixels and shows only the first ones beyond that.
        temperature: scale of the noise; values below 1 give more likely but less varied samples.
        accuracy: largest error of a value that iterative inverses may leave, in units of the data, or exact for
            round-off; by default 0.01 pixel levels for images and exact for graphs.
        seed: seed of the noise; the same seed, batch size, checkpoint and device give the same samples.
        npy: also write the images as uint8 (num, C, H, W), for a VAE the expected levels as floating-point numbers, the
            nodes (num, N, F) with NaN for padding, or the rows (num, D), to a file of the same name with the suffix
            .npy.
        batch_size: number of samples drawn at once; by default 64, and 4,096 rows.
        device: device such as cpu or cuda; by default an accelerator if available.
        model: class path of your own model, if the checkpoint names it.
        data: class path of your own data module, if the checkpoint names it.
        overwrite: replace existing files.
    """
    check_numbers(seed, temperature, num=num, batch_size=batch_size)
    kind = Path(out).suffix.lower()
    if kind not in (".png", ".csv"):
        raise UsageError(f"{out} is not a PNG or CSV file: choose an --out that ends in .png, or in .csv for rows")
    if npy and kind == ".csv":
        raise UsageError(f"{out} contains the samples already: omit --npy, or choose an --out that ends in .png")
    files = [Path(out), *([Path(out).with_suffix(".npy")] if npy else [])]
    for file in files:
        check_new_file(file, overwrite=overwrite)
    import numpy as np  # these take seconds
    import torch
    from torchvision.utils import save_image
    from tqdm import tqdm

    from lightning_flows.app.commands.sampled_rows import recorded_columns, sample_rows
    from lightning_flows.app.commands.trained import load_graphs
    from lightning_flows.checkpoints import read_checkpoint
    from lightning_flows.checkpoints.averaging import averaging_in
    from lightning_flows.functional.graphs import Graph
    from lightning_flows.functional.streams import stream
    from lightning_flows.modules import GraphFlowModule, VectorFlowModule, load_model

    target = chosen_device(device)
    flow = load_model(ckpt_path, model).to(target)
    batch_size = batch_size or (4096 if isinstance(flow, VectorFlowModule) else 64)
    check_fits(min(num, batch_size), flow.event_shape, "--batch_size")
    options: dict[str, Any] = {"temperature": temperature, "generator": stream(seed, "samples", device=target)}
    options["accuracy"] = accuracy
    checkpoint = read_checkpoint(ckpt_path)
    if kind == ".csv":
        columns = recorded_columns(checkpoint, flow.event_shape[0])
        non_finite = sample_rows(flow, columns, files[0], num, batch_size=batch_size, overwrite=overwrite, **options)
        _report(num, files, non_finite, "not finite", averaging_in(checkpoint))
        return files[0]
    check_fits(num, flow.event_shape, "--num")
    graphs = load_graphs(ckpt_path, data) if isinstance(flow, GraphFlowModule) else None
    structure = Graph() if graphs is None else graphs.draw_structure(num, stream(seed, "structure"))
    batches, non_finite = [], 0
    with tqdm(total=num, unit="sample", desc="sampling") as progress:
        for start in range(0, num, batch_size):
            part = slice(start, min(num, start + batch_size))
            if isinstance(flow, GraphFlowModule):
                options["graph"] = Graph(*(None if each is None else each[part].to(target) for each in structure))
            drawn = flow.sample(part.stop - start, **options)
            non_finite += int((~drawn.isfinite()).sum())
            batches.append(drawn.cpu())
            progress.update(len(drawn))
    values = torch.cat(batches)
    if structure.mask is not None:
        values = values.masked_fill(~structure.mask[..., None], torch.nan)
    shown = values[: max(1, MAX_PIXELS // math.prod(n + 2 for n in values.shape[1:][-2:]))]
    with created_together(files, overwrite=overwrite) as opened:
        save_image(flow.draw(shown) / 255, opened[0], format="png")
        if npy:
            np.save(opened[1], values.numpy())
    if len(shown) < num:
        print(f"{files[0]} shows the first {len(shown)} of {num} samples")
    _report(num, files, non_finite, "not finite and are not drawn", averaging_in(checkpoint))
    return files[0]


def _report(num: int, files: Sequence[Path], non_finite: int, problem: str, averaged: str | None) -> None:
    if non_finite:
        print(f"{non_finite} sampled values are {problem}")
    if averaged:
        print(f"from {averaged}")
    print(f"{num} samples: {', '.join(map(str, files))}")
