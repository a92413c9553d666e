"""What trainings and models came to, beside each other."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

from mse.plots.style import BLUE, GREEN, GREY, ORANGE, drawing, save
from mse.tables import read_history, read_intervals


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
    with drawing():
        figure, axes = plt.subplots(1, len(shown), figsize=(10, 2.8))
        for axis, (column, title), colour in zip(axes, shown, colours, strict=True):
            for table in tables:
                axis.plot(table["epoch"], table[column], color=colour, alpha=0.35, linewidth=1)
            seeds = pd.concat(tables).groupby("epoch")[column]
            axis.fill_between(seeds.min().index, seeds.min(), seeds.max(), color=colour, alpha=0.15, linewidth=0)
            axis.plot(seeds.mean().index, seeds.mean(), color=colour, linewidth=2.2)
            axis.set(title=title, xlabel="epoch")
            axis.xaxis.get_major_locator().set_params(integer=True)
        save(figure, out)


def comparison(intervals: Path, out: Path) -> None:
    """Each model's value with its 95 % interval over clips, the first model's as a band behind the others'.

    Args:
        intervals: intervals.csv.
        out: the figure.

    Raises:
        UserError: the table is missing, or another one.
    """
    table = read_intervals(intervals)
    titles = {"mae": "MAE (less is better)", "corr": "correlation r"}
    titles |= {"accuracy": "accuracy", "weighted_f1": "weighted F1"}
    shown = [(name, title) for name, title in titles.items() if name in set(table["metric"])]
    names = [
        f"{model} ({way})" if way else model
        for model, way in table[["model", "decoding"]].drop_duplicates().itertuples(index=False)
    ]
    reference = table[table["reference"]]
    with drawing():
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
        save(figure, out)
