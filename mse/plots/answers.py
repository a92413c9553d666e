"""Predictions beside labels: how right they are, and how well they know it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from mse.config import Classes, Intensity
from mse.data import ClipDataset, task_of
from mse.errors import UserError
from mse.metrics import Values, pearson
from mse.plots.style import BLUE, GREY, drawing, label_edges, save
from mse.predictions import read_predictions

BINS = 10  # of confidences


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
    with drawing("".join(task.names) if isinstance(task, Classes) else ""):
        save(_confusion(tables, task) if isinstance(task, Classes) else _scatter(tables, task), out)


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
    figure = plt.figure(figsize=(5.6, 5.6), layout="compressed")
    grid = figure.add_gridspec(2, 2, width_ratios=(4, 1), height_ratios=(1, 4))
    scatter = figure.add_subplot(grid[1, 0])
    scatter.plot([low, high], [low, high], color=GREY, linewidth=1, linestyle=":", label="perfect")
    scatter.scatter(read["label"], read["prediction"], s=16, color=BLUE, alpha=0.45, linewidths=0)
    correlations = [pearson(*t.dropna(subset=["prediction"])[["prediction", "label"]].to_numpy().T) for t in tables]
    title = f"test clips, {len(tables)} seeds: mean r = {np.mean(correlations):.2f}"
    missing = len(every) - len(read)
    edges = label_edges(task)
    margin = max((high - low) / 30, edges[-1] - high)
    scatter.set(
        xlabel="label",
        ylabel="prediction",
        xlim=(low - margin, high + margin),
        ylim=(low - margin, high + margin),
        aspect="equal",
    )
    scatter.legend(loc="upper left")
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
    with drawing():
        figure, axis = plt.subplots(figsize=(4.6, 4.6))
        axis.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":", label="perfect")
        if isinstance(task, Classes):
            said, so, clips = _reliability(shares.max(axis=1), shares.argmax(axis=1) == truth)
            error = float(np.sum(clips * np.abs(said - so)) / clips.sum())
            axis.scatter(said, so, s=20 + 180 * clips / clips.max(), color=BLUE, alpha=0.7, linewidths=0)
            axis.plot(said, so, color=BLUE, linewidth=1)
            texts = ("probability of the answer", "share that is right", f"expected calibration error {error:.3f}")
        else:
            levels, so = _coverage_of_quantiles(np.array([float(name[2:]) for name in told]), shares, truth)
            axis.plot(levels, so, color=BLUE, linewidth=2, clip_on=False)
            texts = (
                "quantile that is told",
                "share of labels below it",
                f"largest gap {np.abs(so - levels).max():.2f}",
            )
        axis.set(
            xlabel=texts[0], ylabel=texts[1], title=f"test clips, {texts[2]}", xlim=(0, 1), ylim=(0, 1), aspect="equal"
        )
        axis.legend(loc="upper left")
        save(figure, out)


def _coverage_of_quantiles(legal: Values, shares: Values, truth: Values) -> tuple[Values, Values]:
    """Levels of 0 to 1, and the share of labels that lie below that quantile of what was told of their clips.

    Args:
        legal: (K,) labels that can be answered.
        shares: (N, K) how likely each is.
        truth: (N,) labels.
    """
    below = np.where(legal < truth[:, None] - 1e-9, shares, 0).sum(axis=1)
    at = np.where(np.abs(legal - truth[:, None]) <= 1e-9, shares, 0).sum(axis=1)
    places = np.sort(
        below + at / 2
    )  # of each label in its clip's distribution; half of a step, since labels are discrete
    levels = np.linspace(0, 1, 101)
    return levels, np.searchsorted(places, levels, side="right") / len(places)


def _reliability(said: Values, right: Values) -> tuple[Values, Values, Values]:
    """Mean probability, share of right answers and number of clips in each of BINS bins that has any."""
    place = np.minimum((said * BINS).astype(int), BINS - 1)
    clips = np.bincount(place, minlength=BINS).astype(np.float64)
    some = clips > 0
    sums = (np.bincount(place, weights=each, minlength=BINS)[some] / clips[some] for each in (said, right))
    mean, share = sums
    return mean, share, clips[some]
