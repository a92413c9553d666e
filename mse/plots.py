"""Figures. Colours are told apart by colour-blind readers (Okabe and Ito's palette)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # no screen is needed
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mse.atomic import replacing
from mse.metrics import pearson
from mse.predict import read_predictions
from mse.quality import read_quality
from mse.tables import read_table

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "svg.hashsalt": "mse",  # same figure, same bytes
    "figure.constrained_layout.use": True,
}


def _save(figure: Figure, out: Path) -> None:
    with replacing(out) as partial:
        figure.savefig(partial, metadata={"Date": None} if out.suffix == ".svg" else None, dpi=150)
    plt.close(figure)


def training(histories: Sequence[Path], out: Path) -> None:
    """Training loss, and validation MAE and correlation, by epoch: each seed thin, their mean thick.

    Args:
        histories: history.csv of each seed.
        out: the figure.
    """
    tables = [read_table(path, (), ("valid_corr",), "mse train") for path in histories]
    panels = [("train_loss", "training loss", BLUE), ("valid_mae", "validation MAE", ORANGE)]
    panels.append(("valid_corr", "validation correlation r", GREEN))
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, 3, figsize=(10, 3))
        for axis, (column, title, colour) in zip(axes, panels, strict=True):
            for table in tables:
                axis.plot(table["epoch"], table[column], color=colour, alpha=0.35, linewidth=1)
            mean = pd.concat(tables).groupby("epoch")[column].mean()
            axis.plot(mean.index, mean, color=colour, linewidth=2.2)
            axis.set(title=title, xlabel="epoch")
            axis.xaxis.get_major_locator().set_params(integer=True)
        _save(figure, out)


def predictions(paths: Sequence[Path], out: Path) -> None:
    """Prediction against truth with all seeds' clips, and how both are distributed.

    Answers that were no legal label have no prediction; they are counted in the title.

    Args:
        paths: predictions.csv of each seed.
        out: the figure.
    """
    tables = [read_predictions(path) for path in paths]
    every = pd.concat(tables)
    read = every.dropna(subset=["prediction"])
    limit = float(np.ceil(np.abs(read[["prediction", "label"]].to_numpy()).max())) if len(read) else 3.0
    with plt.rc_context(STYLE):
        figure, (scatter, histogram) = plt.subplots(1, 2, figsize=(9, 4))
        scatter.plot([-limit, limit], [-limit, limit], color=GREY, linewidth=1, linestyle=":", label="perfect")
        scatter.scatter(read["label"], read["prediction"], s=16, color=BLUE, alpha=0.45, linewidths=0)
        correlations = [pearson(*t.dropna(subset=["prediction"])[["prediction", "label"]].to_numpy().T) for t in tables]
        title = f"test clips, {len(tables)} seeds: mean r = {np.mean(correlations):.2f}"
        missing = len(every) - len(read)
        scatter.set(
            title=f"{title}, {missing} unparseable" if missing else title,
            xlabel="label",
            ylabel="prediction",
            xlim=(-limit - 0.2, limit + 0.2),
            ylim=(-limit - 0.2, limit + 0.2),
            aspect="equal",
        )
        scatter.legend(loc="upper left")
        edges = np.linspace(-limit, limit, round(4 * limit) + 1)
        histogram.hist(tables[0]["label"], bins=edges, color=GREY, alpha=0.5, density=True, label="labels")
        if len(read):
            step = {"density": True, "histtype": "step", "linewidth": 2}
            histogram.hist(read["prediction"], bins=edges, color=BLUE, label="predictions", **step)
        histogram.set(title="distribution", xlabel="intensity", ylabel="density")
        histogram.legend()
        _save(figure, out)


def coverage(quality: Path, out: Path) -> None:
    """The share of each clip's frames that could be measured, clips sorted, one panel a modality.

    Args:
        quality: quality.csv.
        out: the figure.
    """
    table = read_quality(quality)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(9, 3), sharey=True)
        for axis, name, colour in zip(axes, ("acoustic", "facial"), (BLUE, ORANGE), strict=True):
            _coverage_panel(axis, np.sort(table[f"{name}_coverage"].to_numpy())[::-1], name, colour)
        axes[0].set_ylabel("share of frames measured")
        _save(figure, out)


def _coverage_panel(axis: Axes, shares: "np.ndarray[tuple[int], np.dtype[np.float64]]", name: str, colour: str) -> None:
    clips = np.arange(1, len(shares) + 1)
    axis.fill_between(clips, shares, color=colour, alpha=0.3, step="mid")
    axis.step(clips, shares, color=colour, where="mid")
    full = (shares >= 0.999).sum()
    axis.set(title=f"{name}: {full} of {len(shares)} clips complete", xlabel="clips, best first", ylim=(0, 1.05))
