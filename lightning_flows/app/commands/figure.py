"""``figure``: figures of the paper, and additional ones, as image files."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_flows.app.commands.options import MAX_PIXELS, check_numbers, chosen_device
from lightning_flows.errors import UsageError
from lightning_flows.files import check_new_file, created

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")
NUMBERS = {
    "1": "exponential_matrix",
    "2": "convolution_matrix",
    "3": "feature_maps",
    "4": "series_terms",
    "5": "samples",
}
"""Figures of the paper."""
OF_FOLDER = ("ImageFolderDataModule", "lightning_flows.data.ImageFolderDataModule")
OTHERS = ("interpolation", "nearest", "outliers", "graphs", "density")
USES = {
    "series_terms": ("ckpt_path", "model"),
    "samples": ("ckpt_path", "model", "num", "temperature"),
    "interpolation": ("ckpt_path", "model", "data", "images", "num", "data.OPTION"),
    "nearest": ("ckpt_path", "model", "data", "images", "num", "temperature", "data.OPTION"),
    "outliers": ("ckpt_path", "model", "data", "images", "num", "fashion_mnist", "outliers", "data.OPTION"),
    "graphs": ("ckpt_path", "model", "data", "num", "temperature", "data.OPTION"),
    "density": ("ckpt_path", "model", "data", "num", "temperature", "data.OPTION"),
}
"""What determines the content of a figure, besides its seed."""


def figure(
    name: str,
    out: str | None = None,
    ckpt_path: str | None = None,
    images: str | None = None,
    num: int | None = None,
    temperature: float = 1.0,
    seed: int = 0,
    fashion_mnist: str | None = None,
    outliers: str | None = None,
    device: str | None = None,
    dpi: int = 110,
    model: str | None = None,
    data: str | None = None,
    overwrite: bool = False,
    data_options: dict[str, Any] | None = None,
) -> Path:
    """Draw a figure of the paper, 1 to 5, or an additional one, to an image file.

    Args:
        name: exponential_matrix (1), convolution_matrix (2), feature_maps (3), series_terms (4; with a
            checkpoint, of its layers); from a checkpoint of images: samples (5), interpolation (in latent space, of
            test images), nearest (training images next to samples), outliers (likelihoods and ROC curves; prints a
            table); from a checkpoint of graphs: graphs (data, samples, learned density);
            from a checkpoint of vectors of two values: density (data, samples, learned density).
        out: file to write, .png, .svg or .pdf. Default: figure_NAME.png.
        ckpt_path: checkpoint of a trained model.
        images: folder, tar or zip of images to use instead of the checkpoint's data: interpolation, nearest, outliers.
        num: number of samples (64), rows of interpolation (6) or nearest (6), images per set of outliers (1000),
            graphs (256) or points (3000).
        temperature: scale of the noise of samples.
        seed: seed of signals, noise and the choice of images.
        fashion_mnist: folder that contains FashionMNIST/raw, for outliers; not used by default.
        outliers: folder, tar or zip of your own outliers; broken files are skipped.
        device: device such as cpu or cuda; by default an accelerator if available.
        dpi: pixels per inch of a PNG, which is limited to 67 million pixels.
        model: class path of your own model, if the checkpoint names it.
        data: class path of your own data module, if the checkpoint names it.
        overwrite: replace an existing file.
        data_options: arguments that override those of the data, on the command line --data.OPTION.
    """
    known = NUMBERS.get(name, name)
    if known not in (*NUMBERS.values(), *OTHERS):
        numbered = ", ".join(f"{number} ({each})" for number, each in NUMBERS.items())
        raise UsageError(f"{name} is not a figure: choose {numbered}, {', '.join(OTHERS)}")
    path = Path(out or f"figure_{known}.png")
    check_numbers(seed, temperature, num=num, dpi=dpi)
    given = {
        "ckpt_path": ckpt_path, "images": images, "num": num, "temperature": temperature != 1 or None,
        "fashion_mnist": fashion_mnist, "outliers": outliers, "data.OPTION": data_options or None,
        "model": model, "data": data,
    }  # fmt: skip
    for option, value in given.items():
        if value is not None and option not in USES.get(known, ()):
            raise UsageError(f"--{option} has no effect on the figure {known}: omit it")
    check_image_file(path, "--out", overwrite=overwrite)
    from lightning_flows.app.commands.drawings import DRAWINGS, Request  # imports torch

    chosen_device(device)
    options = dict(data_options or {})
    if data in OF_FOLDER and "root" in options:  # the long form of --images
        images, data = str(options.pop("root")), None
    request = Request(
        known, ckpt_path, images, num, temperature, seed, fashion_mnist, outliers, device, model, data, options
    )
    write_figure(DRAWINGS[known](request), path, dpi=dpi, overwrite=overwrite)
    print(f"figure: {path}")
    return path


def check_image_file(path: Path, option: str, *, overwrite: bool) -> None:
    """Raise UsageError unless a figure can be written to the path that an option gives."""
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path} is not an image file: {option} must end in {', '.join(SUFFIXES)}")
    check_new_file(path, overwrite=overwrite)


def write_figure(drawn: "Figure", path: Path, *, dpi: int = 110, overwrite: bool = False) -> None:
    """Write a figure to a file, in the format of its suffix. Raises: UsageError for more than 67 million pixels."""
    kind = path.suffix[1:].lower()
    width, height = (round(inches * dpi) for inches in drawn.get_size_inches())
    if kind == "png" and width * height > MAX_PIXELS:
        raise UsageError(
            f"a PNG of {width} x {height} pixels exceeds the limit of {MAX_PIXELS / 1e6:.0f} million: use a smaller "
            "--num or --dpi"
        )
    with created(path, overwrite=overwrite) as file:
        drawn.savefig(file, format=kind, dpi=dpi)
