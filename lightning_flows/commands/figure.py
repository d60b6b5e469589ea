"""``figure``: the paper's figures, and ours, as image files."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from torch.nn.functional import avg_pool2d

from lightning_flows import figures
from lightning_flows.datasets import sample_photo
from lightning_flows.errors import CheckpointError, UsageError
from lightning_flows.files import check_new_file
from lightning_flows.modules import load_model
from lightning_flows.transforms import ConvExponential

SUFFIXES = (".png", ".svg", ".pdf")


@dataclass(frozen=True)
class Request:
    """The options of a figure; see :func:`figure`."""

    ckpt_path: str | None
    seed: int


def figure(name: str, out: str | None = None, ckpt_path: str | None = None, seed: int = 0, dpi: int = 110) -> Path:
    """Draw a figure of the paper, 1 to 5, or one of ours, into an image file.

    Args:
        name: number or name of the figure: exponential_matrix (1), convolution_matrix (2), feature_maps (3),
            series_terms (4; of a checkpoint's layers where one is given).
        out: file to write, .png, .svg or .pdf; an existing one is kept and refused. Default: figure_NAME.png.
        ckpt_path: checkpoint of a trained model.
        seed: of signals, noise and the choice of pictures.
        dpi: pixels an inch of a PNG.
    """
    known = NUMBERS.get(name, name)
    if known not in FIGURES:
        raise UsageError(
            f"expected a figure among {', '.join(f'{number} ({each})' for number, each in NUMBERS.items())}, "
            f"{', '.join(each for each in FIGURES if each not in NUMBERS.values())}; got {name!r}"
        )
    path = Path(out or f"figure_{known}.png")
    if path.suffix.lower() not in SUFFIXES or dpi < 1:
        raise UsageError(
            f"expected a file with suffix {', '.join(SUFFIXES)} and a dpi of at least 1; got {path}, {dpi}"
        )
    check_new_file(path)
    FIGURES[known](Request(ckpt_path, seed)).savefig(path, dpi=dpi)
    print(f"figure: {path}")
    return path


def _feature_maps(request: Request) -> Figure:
    photo = sample_photo("china.jpg").double().mean(0)[None, :384, 128:512]
    return figures.feature_maps_figure(figures.feature_maps(avg_pool2d(photo, 4)[0] / 255 - 0.5))


def _series_terms(request: Request) -> Figure:
    if request.ckpt_path is None:
        return figures.series_terms_figure(
            figures.series_terms(figures.random_kernels(seed=request.seed), seed=request.seed)
        )
    model = load_model(request.ckpt_path)
    kernels = [layer.kernel() for layer in model.modules() if isinstance(layer, ConvExponential)]
    if not kernels:
        raise CheckpointError(
            f"expected a checkpoint with convolution exponentials; got {request.ckpt_path}, whose "
            f"{type(model).__name__} has none: leave --ckpt_path out for random kernels"
        )
    return figures.series_terms_figure(figures.series_terms(kernels, seed=request.seed))


NUMBERS = {"1": "exponential_matrix", "2": "convolution_matrix", "3": "feature_maps", "4": "series_terms"}
FIGURES: dict[str, Callable[[Request], Figure]] = {
    "exponential_matrix": lambda request: figures.exponential_matrix_figure(
        figures.equivalent_matrices(seed=request.seed)
    ),
    "convolution_matrix": lambda request: figures.convolution_matrix_figure(
        figures.equivalent_matrices(seed=request.seed)
    ),
    "feature_maps": _feature_maps,
    "series_terms": _series_terms,
}
