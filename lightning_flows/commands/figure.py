"""``figure``: the paper's figures, and ours, as image files."""

from pathlib import Path

from lightning_flows.commands.drawings import DRAWINGS, NUMBERS, Request
from lightning_flows.commands.options import MAX_PIXELS, check_seed, chosen_device
from lightning_flows.errors import UsageError
from lightning_flows.files import check_new_file, created

SUFFIXES = (".png", ".svg", ".pdf")


def figure(
    name: str,
    out: str | None = None,
    ckpt_path: str | None = None,
    pictures: str | None = None,
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
    """Draw a figure of the paper, 1 to 5, or one of ours, into an image file.

    Args:
        name: exponential_matrix (1), convolution_matrix (2), feature_maps (3), series_terms (4; of a checkpoint's
            layers where one is given); from a checkpoint of pictures: samples (5), interpolation (in latent space, of
            test pictures), nearest (training pictures beside samples), outliers (likelihoods and ROC curves; prints a
            table); from one of graphs: graphs (data, samples, learned density).
        out: file to write, .png, .svg or .pdf; an existing one is kept and refused. Default: figure_NAME.png.
        ckpt_path: checkpoint of a trained model.
        pictures: folder or tar of pictures in place of the checkpoint's data: interpolation, nearest, outliers.
        num: samples (64), rows of interpolation (6) or nearest (6), pictures of each set of outliers (1000), or
            graphs (256).
        temperature: factor on the noise of samples.
        seed: of signals, noise and the choice of pictures.
        fashion_mnist: folder that holds FashionMNIST/raw, for outliers; it is left out by default.
        outliers: folder or tar of outliers of your own.
        device: such as cpu or cuda; by default an accelerator where there is one.
        dpi: pixels an inch of a PNG, which has room for 67 million.
        model: class path of a model of your own that the checkpoint may name.
        data: class path of data of your own, likewise.
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
    request = Request(known, ckpt_path, pictures, num, temperature, seed, fashion_mnist, outliers, device, model, data)
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
