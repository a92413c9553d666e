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
from mse.config import Classes, Intensity
from mse.corpus import SPLITS
from mse.data import ClipDataset, task_of
from mse.errors import UserError
from mse.fonts import font_families
from mse.metrics import Values, pearson
from mse.predictions import read_predictions
from mse.quality import read_quality
from mse.tables import read_history, read_table

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


BINS = 10  # of confidences


def _save(figure: Figure, out: Path) -> None:
    with replacing(out) as partial:
        figure.savefig(partial, metadata={"Date": None} if out.suffix == ".svg" else None, dpi=150)
    plt.close(figure)


def training(histories: Sequence[Path], out: Path) -> None:
    """Training loss and validation metrics by epoch: each seed thin, their mean thick, from least to most a band.

    Args:
        histories: history.csv of each seed.
        out: the figure.
    """
    tables = [read_history(path) for path in histories]
    titles = {
        "pretrain_loss": "loss without the LLM",
        "train_loss": "training loss",
        "valid_mae": "validation MAE",
        "valid_corr": "validation correlation r",
    }
    titles |= {"valid_accuracy": "validation accuracy", "valid_weighted_f1": "validation weighted F1"}
    shown = [(column, title) for column, title in titles.items() if column in tables[0]]
    colours = [*([GREY] if "pretrain_loss" in tables[0] else []), BLUE, ORANGE, GREEN]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, len(shown), figsize=(10, 2.8))
        for axis, (column, title), colour in zip(axes, shown, colours, strict=True):
            for table in tables:
                axis.plot(table["epoch"], table[column], color=colour, alpha=0.35, linewidth=1)
            seeds = pd.concat(tables).groupby("epoch")[column]
            axis.fill_between(seeds.min().index, seeds.min(), seeds.max(), color=colour, alpha=0.15, linewidth=0)
            axis.plot(seeds.mean().index, seeds.mean(), color=colour, linewidth=2.2)
            axis.set(title=title, xlabel="epoch")
            axis.xaxis.get_major_locator().set_params(integer=True)
        _save(figure, out)


def predictions(paths: Sequence[Path], dataset_path: Path, out: Path) -> None:
    """Prediction against truth with all seeds' clips: a scatter of intensities, a confusion matrix of classes.

    Answers that were no legal label have no prediction; they are counted in the title.

    Args:
        paths: predictions.csv of each seed.
        dataset_path: dataset.h5, for the task.
        out: the figure.
    """
    with ClipDataset(dataset_path) as dataset:
        task = task_of(dataset)
    tables = [read_predictions(path, task) for path in paths]
    with plt.rc_context(STYLE):
        _save(_confusion(tables, task) if isinstance(task, Classes) else _scatter(tables, task), out)


def _confusion(tables: Sequence[pd.DataFrame], task: Classes) -> Figure:
    """Shares of each true class by predicted class, mean over the seeds."""
    every = pd.concat(tables)
    read = every.dropna(subset=["prediction"])
    n = len(task.names)
    counts = np.zeros((n, n))
    np.add.at(counts, (read["label"].astype(int), read["prediction"].astype(int)), 1)
    totals = every["label"].astype(int).value_counts().reindex(range(n), fill_value=0).to_numpy()
    shares = counts / np.maximum(totals, 1)[:, None]
    side = max(4.5, 0.62 * n)
    figure, axis = plt.subplots(figsize=(side + 1.2, side))
    image = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(n, n):
        colour = "white" if shares[row, column] > 0.55 else "black"
        axis.text(column, row, f"{100 * shares[row, column]:.0f}", ha="center", va="center", color=colour, fontsize=9)
    accuracy = float((every["prediction"] == every["label"]).mean())
    missing = len(every) - len(read)
    title = f"test clips, {len(tables)} seeds: mean accuracy {100 * accuracy:.1f} %"
    axis.set(title=f"{title}, {missing} unparseable" if missing else title, xlabel="prediction", ylabel="label")
    axis.set_xticks(range(n), task.names, rotation=45, ha="right")
    axis.set_yticks(
        range(n), [f"{name} ({total // len(tables)})" for name, total in zip(task.names, totals, strict=True)]
    )
    axis.spines[:].set_visible(False)
    figure.colorbar(image, label="share of the label's clips", shrink=0.8)
    return figure


def _scatter(tables: Sequence[pd.DataFrame], task: Intensity) -> Figure:
    """Prediction against truth, and how both are distributed."""
    every = pd.concat(tables)
    read = every.dropna(subset=["prediction"])
    low, high = task.low, task.high
    figure = plt.figure(figsize=(5.6, 5.6))
    grid = figure.add_gridspec(2, 2, width_ratios=(4, 1), height_ratios=(1, 4))
    scatter = figure.add_subplot(grid[1, 0])
    scatter.plot([low, high], [low, high], color=GREY, linewidth=1, linestyle=":", label="perfect")
    scatter.scatter(read["label"], read["prediction"], s=16, color=BLUE, alpha=0.45, linewidths=0)
    correlations = [pearson(*t.dropna(subset=["prediction"])[["prediction", "label"]].to_numpy().T) for t in tables]
    title = f"test clips, {len(tables)} seeds: mean r = {np.mean(correlations):.2f}"
    missing = len(every) - len(read)
    margin = (high - low) / 30
    scatter.set(
        xlabel="label",
        ylabel="prediction",
        xlim=(low - margin, high + margin),
        ylim=(low - margin, high + margin),
        aspect="equal",
    )
    scatter.legend(loc="upper left")
    edges = np.linspace(low, high, 25).tolist()
    above = figure.add_subplot(grid[0, 0], sharex=scatter)
    above.hist(tables[0]["label"], bins=edges, color=GREY, alpha=0.6)
    above.set(title=f"{title}, {missing} unparseable" if missing else title, ylabel="clips")
    beside = figure.add_subplot(grid[1, 1], sharey=scatter)
    if len(read):
        weights = np.full(len(read), 1 / len(tables))
        beside.hist(read["prediction"], bins=edges, weights=weights, color=BLUE, alpha=0.6, orientation="horizontal")
    beside.set(xlabel="clips")
    above.tick_params(labelbottom=False)
    beside.tick_params(labelleft=False)
    return figure


def comparison(intervals: Path, out: Path) -> None:
    """Each model's value with its 95 % interval over clips, the first model's as a band behind the others'.

    Args:
        intervals: intervals.csv.
        out: the figure.

    Raises:
        UserError: the table is missing, or another one.
    """
    numbers = ("value", "low", "high")
    table = read_table(intervals, ("metric", "model", "decoding"), numbers, "mse score")
    titles = {"mae": "MAE (less is better)", "corr": "correlation r"}
    titles |= {"accuracy": "accuracy", "weighted_f1": "weighted F1"}
    shown = [(name, title) for name, title in titles.items() if name in set(table["metric"])]
    names = [
        f"{model} ({way})" if way else model
        for model, way in table[["model", "decoding"]].drop_duplicates().itertuples(index=False)
    ]
    reference = table[table["reference"]]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, len(shown), figsize=(4.8 * len(shown), 0.8 + 0.32 * len(names)), sharey=True)
        for axis, (metric, title) in zip(np.atleast_1d(axes), shown, strict=True):
            rows, first = table[table["metric"] == metric], reference[reference["metric"] == metric]
            if len(first):  # not where the metric is undefined
                axis.axvspan(first["low"].iloc[0], first["high"].iloc[0], color=BLUE, alpha=0.12, linewidth=0)
            places = np.arange(len(rows))
            axis.hlines(places, rows["low"], rows["high"], color=GREY, linewidth=2)
            colours = [BLUE if model == table["model"].iloc[0] else ORANGE for model in rows["model"]]
            axis.scatter(rows["value"], places, color=colours, zorder=3, s=28)
            axis.set(title=title, yticks=places, yticklabels=names)
        axis.invert_yaxis()
        _save(figure, out)


def coverage(quality: Path, out: Path) -> None:
    """The share of each clip's frames that could be measured, clips sorted, one panel a modality.

    Args:
        quality: quality.csv.
        out: the figure.
    """
    table = read_quality(quality)
    with plt.rc_context(STYLE):
        shown = [(n, c) for n, c in (("acoustic", BLUE), ("facial", ORANGE)) if f"{n}_coverage" in table]
        if not shown:
            raise UserError(f"{quality}: the corpus has neither sound nor picture; no coverage can be drawn")
        figure, axes = plt.subplots(1, len(shown), figsize=(4.5 * len(shown), 3), sharey=True, squeeze=False)
        for axis, (name, colour) in zip(axes[0], shown, strict=True):
            _coverage_panel(axis, np.sort(table[f"{name}_coverage"].dropna().to_numpy())[::-1], name, colour)
        axes[0, 0].set_ylabel("share of frames measured")
        _save(figure, out)


def _coverage_panel(axis: Axes, shares: "np.ndarray[tuple[int], np.dtype[np.float64]]", name: str, colour: str) -> None:
    clips = np.arange(1, len(shares) + 1)
    axis.fill_between(clips, shares, color=colour, alpha=0.3, step="mid")
    axis.step(clips, shares, color=colour, where="mid")
    full = (shares >= 0.999).sum()
    axis.set(title=f"{name}: {full} of {len(shares)} clips complete", xlabel="clips, best first", ylim=(0, 1.05))


def labels(dataset_path: Path, out: Path) -> None:
    """How often each label stands in each split.

    Args:
        dataset_path: dataset.h5.
        out: the figure.
    """
    with ClipDataset(dataset_path) as dataset:
        task = task_of(dataset)
        of_split = {split: dataset.labels[dataset.indices(split)] for split in SPLITS}
    style = STYLE | {"font.family": font_families("".join(task.names))} if isinstance(task, Classes) else STYLE
    with plt.rc_context(style):
        figure, axes = plt.subplots(1, len(SPLITS), figsize=(10, 2.8))
        for axis, (split, values), colour in zip(axes, of_split.items(), (BLUE, ORANGE, GREEN), strict=True):
            if isinstance(task, Classes):
                counts = np.bincount(values.astype(int), minlength=len(task.names))
                axis.bar(range(len(task.names)), counts, color=colour)
                axis.set_xticks(range(len(task.names)), task.names, rotation=45, ha="right")
            else:
                axis.hist(values, bins=np.linspace(task.low, task.high, 25), color=colour)
                axis.set_xlim(task.low, task.high)
            axis.set(title=f"{split}: {len(values)} clips", ylabel="clips")
        _save(figure, out)


def calibration(paths: Sequence[Path], dataset_path: Path, out: Path) -> None:
    """Whether probabilities mean what they say: how often what was said with some confidence was so.

    Classes: the share of right answers among those that were given with a like probability. Intensities: the share of
    clips whose label lies below each quantile of the distribution that was told.

    Args:
        paths: predictions.csv of each seed.
        dataset_path: dataset.h5, for the task.
        out: the figure.

    Raises:
        UserError: the tables hold no probabilities.
    """
    with ClipDataset(dataset_path) as dataset:
        task = task_of(dataset)
    every = pd.concat([read_predictions(path, task) for path in paths], ignore_index=True)
    told = [name for name in every if name.startswith("p_")]
    if not told:
        raise UserError(f"{paths[0]}: no probabilities; calibration can't be drawn")
    shares, truth = every[told].to_numpy(np.float64), every["label"].to_numpy(np.float64)
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(4.6, 4.6))
        axis.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":", label="perfect")
        if isinstance(task, Classes):
            said, so, clips = _reliability(shares.max(axis=1), shares.argmax(axis=1) == truth)
            error = float(np.sum(clips * np.abs(said - so)) / clips.sum())
            axis.scatter(said, so, s=20 + 180 * clips / clips.max(), color=BLUE, alpha=0.7, linewidths=0)
            axis.plot(said, so, color=BLUE, linewidth=1)
            texts = ("probability of the answer", "share that is right", f"expected calibration error {error:.3f}")
        else:
            values = np.array([float(name[2:]) for name in told])
            order = np.argsort(values)
            below = np.where(values[order] < truth[:, None] - 1e-9, shares[:, order], 0).sum(axis=1)
            at = np.where(np.abs(values[order] - truth[:, None]) <= 1e-9, shares[:, order], 0).sum(axis=1)
            place = np.sort(below + at / 2)  # of each label in its clip's distribution
            levels = np.linspace(0, 1, 101)
            so = np.searchsorted(place, levels, side="right") / len(place)
            axis.plot(levels, so, color=BLUE, linewidth=2)
            gap = float(np.abs(so - levels).max())
            texts = ("quantile that is told", "share of labels below it", f"largest gap {gap:.2f}")
        axis.set(
            xlabel=texts[0], ylabel=texts[1], title=f"test clips, {texts[2]}", xlim=(0, 1), ylim=(0, 1), aspect="equal"
        )
        axis.legend(loc="upper left")
        _save(figure, out)


def _reliability(said: Values, right: Values) -> tuple[Values, Values, Values]:
    """Mean probability, share of right answers and number of clips in each of BINS bins that has any."""
    place = np.minimum((said * BINS).astype(int), BINS - 1)
    clips = np.bincount(place, minlength=BINS).astype(np.float64)
    some = clips > 0
    sums = (np.bincount(place, weights=each, minlength=BINS)[some] / clips[some] for each in (said, right))
    mean, share = sums
    return mean, share, clips[some]
