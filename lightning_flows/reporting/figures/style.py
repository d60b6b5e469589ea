"""What all figures share: colors that differ for color-blind eyes and in grey, and maps of values around zero."""

from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from torch import Tensor

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Hues of Okabe and Ito, 2008."""
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
"""A dash pattern for each color, so that a print in grey can be read too."""


def draw_map(axes: Axes, values: Tensor, limit: float, *, title: str = "", cmap: str = "RdBu_r") -> AxesImage:
    """Draw values ``(H, W)`` on a scale from −limit to limit, without ticks; zero is white in the default colors."""
    image = axes.imshow(values.cpu(), cmap=cmap, vmin=-limit, vmax=limit, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize="medium")
    return image
