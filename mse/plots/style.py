"""What all figures share. Colours are told apart by colour-blind readers (Okabe and Ito's palette)."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any

import matplotlib

matplotlib.use("Agg")  # no screen is needed
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from mse.atomic import replacing
from mse.config import Intensity
from mse.errors import UserError
from mse.plots.fonts import font_families

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
COLOURS = [BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", GREY]
ENDINGS = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": None}  # without the date: same bytes again
DPI = 150
MOST_BINS = 31  # of labels
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "svg.hashsalt": "mse",  # same figure, same bytes
    "figure.constrained_layout.use": True,
}


@contextmanager
def drawing(text: str = "", settings: Mapping[Any, Any] = MappingProxyType({})) -> Iterator[None]:
    """Draw in the project's style.

    Args:
        text: what will be written that may be in any script; never read as formulas.
        settings: matplotlib's, over the style's.
    """
    style = {**STYLE, "text.parse_math": False}
    if not text.isascii():
        # Letters stay letters in SVG: whoever opens the file may have a font that is not here.
        style |= {"font.family": font_families(text), "svg.fonttype": "none"}
    with plt.rc_context({**style, **settings}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # font_families has said it
        yield


def label_edges(task: Intensity) -> list[float]:
    """Edges of bins of intensities. They lie between labels, and each bin but the last holds equally many legal ones.

    A bin takes 1, 2, 5, 10, ... of them, so that labels in steps of 0.2 spread evenly, too.
    """
    scale = 10**task.decimals
    first, last = round(task.low * scale), round(task.high * scale)
    widths = (digit * 10**power for power in count() for digit in (1, 2, 5))
    width = next(width for width in widths if (last - first) // width < MOST_BINS)
    return ((np.arange(first, last + width + 1, width) - 0.5) / scale).tolist()


def require_figure(out: Path) -> None:
    """Make sure that a figure can be written under this name.

    Raises:
        UserError: its ending is none of ENDINGS.
    """
    if out.suffix not in ENDINGS:
        raise UserError(f"{out}: a figure's name ends in {', '.join(ENDINGS)}")


def save(figure: Figure, out: Path, dpi: int = DPI) -> None:
    """Write a figure, whole or not at all, and forget it.

    Raises:
        UserError: its ending is none of ENDINGS.
    """
    require_figure(out)
    with replacing(out) as partial:
        figure.savefig(partial, metadata=ENDINGS[out.suffix], dpi=dpi)
    plt.close(figure)
