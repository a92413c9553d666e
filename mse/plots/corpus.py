"""What a corpus is like, and its features."""

import math
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from mse.config import Classes
from mse.corpus import SPLITS
from mse.data import ClipDataset, task_of
from mse.errors import UserError
from mse.metrics import Values
from mse.plots.measured import MEASURED
from mse.plots.style import BLUE, GREEN, ORANGE, drawing, label_edges, save
from mse.quality import read_quality

COLUMNS = 3  # of panels
DRAWN = ("snr_db", "loudness_dbfs", "asr_confidence", "speech_rate")  # columns of quality.csv


def labels(dataset_path: Path, out: Path) -> None:
    """How often each label stands in each split.

    Args:
        dataset_path: dataset.h5.
        out: the figure.
    """
    with ClipDataset(dataset_path) as dataset:
        task = task_of(dataset)
        of_split = {split: dataset.labels[dataset.indices(split)] for split in SPLITS}
    with drawing("".join(task.names) if isinstance(task, Classes) else ""):
        figure, axes = plt.subplots(1, len(SPLITS), figsize=(10, 2.8))
        for axis, (split, values), colour in zip(axes, of_split.items(), (BLUE, ORANGE, GREEN), strict=True):
            if isinstance(task, Classes):
                counts = np.bincount(values.astype(int), minlength=len(task.names))
                axis.bar(range(len(task.names)), counts, color=colour)
                axis.set_xticks(range(len(task.names)), task.names, rotation=45, ha="right")
            else:
                edges = label_edges(task)
                axis.hist(values, bins=edges, color=colour)
                axis.set_xlim(edges[0], edges[-1])
            axis.set(title=f"{split}: {len(values)} clips", ylabel="clips")
        save(figure, out)


def quality(quality_path: Path, out: Path) -> None:
    """How much of each clip's sound and face was measured, and how good sound and words are; what there is of it.

    Args:
        quality_path: quality.csv.
        out: the figure.

    Raises:
        UserError: the corpus has neither sound nor picture.
    """
    table = read_quality(quality_path)
    covered = [
        (name, colour) for name, colour in (("acoustic", BLUE), ("facial", ORANGE)) if f"{name}_coverage" in table
    ]
    measured = [name for name in DRAWN if name in table and table[name].notna().any()]
    if not (covered or measured):
        raise UserError(f"{quality_path}: the corpus has neither sound nor picture; nothing was measured")
    panels = len(covered) + len(measured)
    rows, columns = math.ceil(panels / COLUMNS), min(panels, COLUMNS)
    with drawing():
        figure, grid = plt.subplots(rows, columns, figsize=(3.4 * columns, 2.7 * rows), squeeze=False)
        axes = grid.flat
        for axis, (name, colour) in zip(axes, covered, strict=False):
            _coverage(axis, np.sort(table[f"{name}_coverage"].dropna().to_numpy())[::-1], name, colour)
        for axis, name in zip(axes[len(covered) :], measured, strict=False):
            values = table[name].dropna().to_numpy(np.float64)
            axis.hist(values[np.isfinite(values)], bins=25, color=GREEN)
            axis.set(title=MEASURED[name].title, ylabel="clips", xlabel=f"median {np.median(values):.3g}")
        for axis in axes[panels:]:
            axis.set_axis_off()
        save(figure, out)


def _coverage(axis: Axes, shares: Values, name: str, colour: str) -> None:
    clips = np.arange(1, len(shares) + 1)
    axis.fill_between(clips, shares, color=colour, alpha=0.3, step="mid")
    axis.step(clips, shares, color=colour, where="mid")
    full = (shares >= 0.999).sum()
    axis.set(
        title=f"{name}: {full} of {len(shares)} complete",
        xlabel="clips, best first",
        ylabel="frames measured",
        ylim=(0, 1.05),
    )
