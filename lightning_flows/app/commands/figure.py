"""``figure``: the paper's figures, and ours, as image files."""

from pathlib import Path

from lightning_flows.app.commands.drawings import DRAWINGS, NUMBERS, Request
from lightning_flows.app.commands.options import MAX_PIXELS, check_seed, chosen_device
from lightning_flows.errors import UsageError
from lightning_flows.files import check_new_file, created

SUFFIXES = (".png", ".svg", ".pdf")


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
) -> Path:
    """Draw a figure of the paper, 1 to 5, or another one, into an image file.

    Args:
        name: exponential_matrix (1), convolution_matrix (2), feature_maps (3), series_terms (4; for the layers
            of a checkpoint if given); from a checkpoint of images: samples (5), interpolation (in latent space, of
            test images), nearest (training images next to samples), outliers (likelihoods and ROC curves; prints a
            table); from a checkpoint of graphs: graphs (data, samples, learned density).
        out: file to write, .png, .svg or .pdf; never overwritten. Default: figure_NAME.png.
        ckpt_path: checkpoint of a trained model.
        images: folder or tar of images to use instead of the checkpoint's data: interpolation, nearest, outliers.
        num: number of samples (64), rows of interpolation (6) or nearest (6), images per set of outliers (1000), or
            graphs (256).
        temperature: scale of the noise of samples.
        seed: seed of signals, noise and the choice of images.
        fashion_mnist: folder that contains FashionMNIST/raw, for outliers; not used by default.
        outliers: folder or tar of your own outliers.
        device: device such as cpu or cuda; by default an accelerator if available.
        dpi: pixels per inch of a PNG, which is limited to 67 million pixels.
        model: class path of your own model, if the checkpoint names it.
        data: class path of your own data, likewise.
    """
    known = NUMBERS.get(name, name)
    if known not in DRAWINGS:
        numbered = ", ".join(f"{number} ({each})" for number, each in NUMBERS.items())
        others = ", ".join(each for each in DRAWINGS if each not in NUMBERS.values())
        raise UsageError(f"expected a figure among {numbered}, {others}; got {name!r}")
    path = Path(out or f"figure_{known}.png")
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"expected a file with suffix {', '.join(SUFFIXES)}; got {path}: name another --out")
    if (num is not None and num < 1) or dpi < 1 or not temperature >= 0:
        raise UsageError(
            f"expected num and dpi of at least 1 and a temperature of at least 0; got {num}, {dpi} and {temperature}"
        )
    check_seed(seed)
    check_new_file(path)
    chosen_device(device)
    request = Request(known, ckpt_path, images, num, temperature, seed, fashion_mnist, outliers, device, model, data)
    drawn, kind = DRAWINGS[known](request), path.suffix[1:].lower()
    width, height = (round(inches * dpi) for inches in drawn.get_size_inches())
    if kind == "png" and width * height > MAX_PIXELS:
        raise UsageError(
            f"expected a PNG of at most {MAX_PIXELS / 1e6:.0f} million pixels; got {width} x {height}: use a smaller "
            "--num or --dpi"
        )
    with created(path) as file:
        drawn.savefig(file, format=kind, dpi=dpi)
    print(f"figure: {path}")
    return path
