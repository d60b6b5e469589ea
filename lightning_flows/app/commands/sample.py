"""``sample``: images, graphs or rows from a checkpoint."""

import math
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from lightning_flows.app.commands.options import MAX_PIXELS, check_fits, check_numbers, chosen_device
from lightning_flows.errors import UsageError
from lightning_flows.files import check_new_file, created_together
from lightning_flows.progress import progress


def sample(
    ckpt_path: str,
    out: str = "samples.png",
    num: int = 64,
    temperature: float | list[float] = 1.0,
    scale: int = 1,
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
        temperature: scale of the noise; values below 1 give more likely but less varied samples. With several, such as
            '[0.7,1.0]', the same noise is used at each, and the names of the files end in _temperature_0.7 and so on.
        scale: side of the square that shows a pixel of an image in the PNG.
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
    temperatures = list(temperature) if isinstance(temperature, list) else [temperature]
    for each in temperatures:
        check_numbers(seed, each, num=num, scale=scale, batch_size=batch_size)
    outputs = output_files(Path(out), temperatures, npy)
    for path in (files := list(chain(*outputs))):
        check_new_file(path, overwrite=overwrite)
    import numpy as np  # these take seconds
    import torch
    from torchvision.utils import save_image

    from lightning_flows.app.commands.sampled_rows import recorded_columns, sample_rows
    from lightning_flows.app.commands.trained import load_graphs
    from lightning_flows.checkpoints import read_checkpoint
    from lightning_flows.checkpoints.averaging import averaging_in
    from lightning_flows.functional.graphs import Graph
    from lightning_flows.functional.streams import stream
    from lightning_flows.modules import GraphFlowModule, ImageFlowModule, VAEModule, VectorFlowModule, load_model

    target = chosen_device(device)
    flow = load_model(ckpt_path, model).to(target)
    if data is not None and not isinstance(flow, GraphFlowModule):
        raise UsageError("--data has no effect on samples other than graphs: omit it")
    batch_size = batch_size or (4096 if isinstance(flow, VectorFlowModule) else 64)
    check_fits(min(num, batch_size), flow.event_shape, "--batch_size")
    sizes = {} if scale == 1 else {"scale": scale}
    if sizes and not isinstance(flow, ImageFlowModule | VAEModule):
        raise UsageError(f"--scale is for images, and {ckpt_path} has events of shape {flow.event_shape}: omit --scale")
    pixels = math.prod(scale * n + 2 for n in flow.event_shape[-2:])
    if sizes and pixels > MAX_PIXELS:
        raise UsageError(f"--scale {scale} makes a single image larger than {MAX_PIXELS} pixels: use a smaller one")
    checkpoint, as_rows = read_checkpoint(ckpt_path), files[0].suffix.lower() == ".csv"
    if not as_rows:
        check_fits(num, flow.event_shape, "--num")
    graphs = load_graphs(ckpt_path, data) if isinstance(flow, GraphFlowModule) else None
    structure = Graph() if graphs is None else graphs.draw_structure(num, stream(seed, "structure"))
    shown, non_finite = max(1, MAX_PIXELS // pixels), 0
    with (
        created_together(files, overwrite=overwrite) as opened,
        progress(total=num * len(temperatures), unit="sample", desc="sampling") as counted,
    ):
        handles = iter(opened)
        for each, paths in zip(temperatures, outputs, strict=True):
            file, *array = (next(handles) for _ in paths)
            options: dict[str, Any] = {"temperature": each, "generator": stream(seed, "samples", device=target)}
            options["accuracy"] = accuracy
            if as_rows:
                columns = recorded_columns(checkpoint, flow.event_shape[0])
                options |= {"batch_size": batch_size, "progress": counted.update}
                non_finite += sample_rows(flow, columns, file, num, **options)
                continue
            batches = []
            for start in range(0, num, batch_size):
                part = slice(start, min(num, start + batch_size))
                if isinstance(flow, GraphFlowModule):
                    options["graph"] = Graph(*(None if x is None else x[part].to(target) for x in structure))
                drawn = flow.sample(part.stop - start, **options)
                non_finite += int((~drawn.isfinite()).sum())
                batches.append(drawn.cpu())
                counted.update(len(drawn))
            values = torch.cat(batches)
            if structure.mask is not None:
                values = values.masked_fill(~structure.mask[..., None], torch.nan)
            save_image(flow.draw(values[:shown], **sizes) / 255, file, format="png")
            if npy:
                np.save(array[0], values.numpy())
    if not as_rows and shown < num:
        print(f"{', '.join(str(paths[0]) for paths in outputs)} shows the first {shown} of {num} samples")
    _report(num, files, non_finite, "not finite" + " and are not drawn" * (not as_rows), averaging_in(checkpoint))
    return files[0]


def output_files(out: Path, temperatures: Sequence[float], npy: bool) -> list[list[Path]]:
    """The files of each temperature: a PNG or CSV file, and the array if it is asked for.

    >>> [str(path) for path, in output_files(Path("a/b.png"), [0.7, 1.0], npy=False)]
    ['a/b_temperature_0.7.png', 'a/b_temperature_1.0.png']

    Raises: UsageError for another suffix, an array next to a CSV file, and no or equal temperatures.
    """
    kind = out.suffix.lower()
    if kind not in (".png", ".csv"):
        raise UsageError(f"{out} is not a PNG or CSV file: choose an --out that ends in .png, or in .csv for rows")
    if npy and kind == ".csv":
        raise UsageError(f"{out} contains the samples already: omit --npy, or choose an --out that ends in .png")
    if not temperatures or len({float(each) for each in temperatures}) < len(temperatures):
        fact = "contains the same value twice" if temperatures else "has no values"
        raise UsageError(f"--temperature {fact}: pass different ones, such as '[0.7,1.0]'")
    if len(temperatures) > 1:
        paths = [out.with_name(f"{out.stem}_temperature_{float(each)}{out.suffix}") for each in temperatures]
    else:
        paths = [out]
    return [[path, *([path.with_name(f"{path.stem}.npy")] if npy else [])] for path in paths]


def _report(num: int, files: Sequence[Path], non_finite: int, problem: str, averaged: str | None) -> None:
    if non_finite:
        print(f"{non_finite} sampled values are {problem}")
    if averaged:
        print(f"from {averaged}")
    print(f"{num} sample{'' if num == 1 else 's'}: {', '.join(map(str, files))}")
