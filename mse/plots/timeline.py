"""Predictions of recordings on their time axes."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from mse.config import Classes, Intensity, Task
from mse.errors import UserError
from mse.plots.style import BLUE, COLOURS, GREY, ORANGE, drawing, require_figure, save
from mse.plots.wrapping import wrapped
from mse.told import named_apart, unlike

NARROWEST_IN, WIDEST_IN, IN_A_SECOND = 11.0, 40.0, 0.22  # width of the time axis
LANE_IN, WORDS_IN, CLASS_IN = 1.7, 0.55, 0.3  # heights: of intensities, of what was said, of each class
MOST = 50  # recordings in one figure
SMALL, LINES = 7, 4  # of what was said: font size in points, lines
LETTERS_AN_INCH, SHORTEST = 15, 5  # letters (a Chinese one counts as two); where there is less room, none are shown


def require_timeline(out: Path, recordings: int) -> None:
    """Make sure that a timeline can be drawn, before recordings are looked at.

    Raises:
        UserError: the name's ending is no figure's, or there are too many recordings, or none (of texts).
    """
    require_figure(out)
    if not 1 <= recordings <= MOST:
        said = f"of {recordings} recordings; {MOST} is the most" if recordings else "of texts; they have no time axis"
        raise UserError(f"{out}: no timeline is drawn {said}. Write a table (-o)")


def timeline(table: pd.DataFrame, task: Task, out: Path) -> None:
    """Each recording on a time axis of its own: what is predicted from when to when, and what was said.

    Args:
        table: what a Predictor gives for recordings.
        task: what is predicted.
        out: the figure: .svg, .png or .pdf.

    Raises:
        UserError: as of `require_timeline`.
    """
    recordings = list(dict.fromkeys(table["recording"])) if "recording" in table else []
    require_timeline(out, len(recordings))
    names = "".join(task.names) if isinstance(task, Classes) else ""
    lane_in = LANE_IN if isinstance(task, Intensity) else CLASS_IN * len(task.names)
    last_s = table["end_s"].fillna(0.0).max()
    width_in = min(max(last_s * IN_A_SECOND, NARROWEST_IN), WIDEST_IN)
    height_in = len(recordings) * (lane_in + WORDS_IN + 0.5) + 0.4
    with drawing(names + "".join([*map(str, table["text"]), *map(str, recordings)])):
        figure, axes = plt.subplots(
            2 * len(recordings),
            1,
            figsize=(width_in, height_in),
            height_ratios=[lane_in, WORDS_IN] * len(recordings),
            squeeze=False,
        )
        titles = named_apart(recordings)
        for (lane, words), recording in zip(axes[:, 0].reshape(-1, 2), recordings, strict=True):
            rows = table[(table["recording"] == recording) & table["end_s"].notna()]
            lane.set_title(titles[recording])
            lane.xaxis.set_major_formatter("{x:g} s")
            answered = rows[rows["prediction"].notna()]
            lane.set_title(_doubted(answered), loc="right", fontsize=SMALL + 1, color=GREY)
            if isinstance(task, Intensity):
                _intensities(lane, answered, task)
            else:
                _emotions(lane, answered, task)
            length_s = max(rows["end_s"].max(), 0.1) if len(rows) else 1.0
            _words(words, rows, length_s, width_in / length_s)
            for axis in (lane, words):
                axis.set_xlim(0, length_s)
            words.set(xticks=[], yticks=[], ylim=(0, 1))
            words.spines[:].set_visible(False)
        save(figure, out)


def _intensities(axis: Axes, rows: pd.DataFrame, task: Intensity) -> None:
    """A line at each prediction, in a band of what is likely."""
    middle = (task.low + task.high) / 2
    axis.axhline(middle, color=GREY, linewidth=0.8)
    for row in rows.to_dict("records"):
        colour = BLUE if row["prediction"] >= middle else ORANGE
        width_s, likely = row["end_s"] - row["start_s"], row["high"] - row["low"]
        axis.add_patch(Rectangle((row["start_s"], row["low"]), width_s, likely, color=colour, alpha=0.18, lw=0))
        axis.hlines(row["prediction"], row["start_s"], row["end_s"], color=colour, linewidth=3)
    axis.set(ylim=(task.low, task.high), yticks=np.linspace(task.low, task.high, 7), ylabel="sentiment")


def _emotions(axis: Axes, rows: pd.DataFrame, task: Classes) -> None:
    """A row a class, the darker the likelier, the answer framed."""
    for row in rows.to_dict("records"):
        for place, name in enumerate(task.names):
            where, width_s = (row["start_s"], place - 0.42), row["end_s"] - row["start_s"]
            likely = 0.08 + 0.85 * float(row[f"p_{name}"])
            axis.add_patch(Rectangle(where, width_s, 0.84, fc=COLOURS[place % len(COLOURS)], alpha=likely, lw=0))
            if row["prediction"] == name:
                axis.add_patch(Rectangle(where, width_s, 0.84, fill=False, ec="black", lw=0.8))
    axis.set(ylim=(len(task.names) - 0.5, -0.5), yticks=range(len(task.names)))
    axis.set_yticklabels(task.names)


def _doubted(rows: pd.DataFrame) -> str:
    """How many answers a table marks with ?."""
    doubted = sum(bool(unlike(row)) for row in rows.to_dict("records"))
    return f"? {doubted} of {len(rows)} answers may be guesses: clips unlike the training clips" if doubted else ""


def _words(axis: Axes, rows: pd.DataFrame, length_s: float, in_a_second: float) -> None:
    """What was said, as much as fits between the start of an utterance and of the next one."""
    ends = rows["start_s"].shift(-1, fill_value=length_s)
    for start_s, end_s, text in zip(rows["start_s"], ends, rows["text"], strict=True):
        letters = round((end_s - start_s) * in_a_second * LETTERS_AN_INCH)
        if letters > SHORTEST:
            said = "\n".join(wrapped(str(text), letters, LINES))
            axis.text(start_s, 0.95, said, fontsize=SMALL, va="top")
