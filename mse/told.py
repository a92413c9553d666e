"""Predictions of new recordings as files: tables, subtitles and a timeline; the name's ending says which."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

matplotlib.use("Agg")  # no screen is needed
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from mse.atomic import replacing
from mse.config import Classes, Intensity, Task
from mse.errors import UserError
from mse.fonts import font_families
from mse.plots import BLUE, GREY, ORANGE, STYLE
from mse.show import ENDINGS

COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#777777"]  # Okabe and Ito's
WIDE_IN, LANE_IN = 11.0, 2.2


def write(table: pd.DataFrame, task: Task, out: Path) -> None:
    """Write predictions.

    Args:
        table: what a Predictor gives.
        task: what is predicted.
        out: .csv, .json, .srt, .vtt (subtitles), .svg, .png or .pdf (a timeline).

    Raises:
        UserError: another ending, or subtitles of several recordings, or of texts.
    """
    require_known(out)
    if out.suffix in ENDINGS:
        _timeline(table, task, out)
        return
    with replacing(out) as partial:
        partial.write_text(TEXTS[out.suffix](table, task), encoding="utf-8")


def require_known(out: Path) -> None:
    """Make sure that a name's ending is one that can be written, before hours are spent.

    Raises:
        UserError: it is not.
    """
    if out.suffix not in (*TEXTS, *ENDINGS):
        raise UserError(f"{out}: expected a name that ends in {', '.join((*TEXTS, *ENDINGS))}")


def shares(row: Mapping[Any, Any]) -> dict[str, float]:
    """How likely each legal label is."""
    return {str(name)[2:]: float(value) for name, value in row.items() if str(name).startswith("p_")}


def _csv(table: pd.DataFrame, task: Task) -> str:
    return str(table.to_csv(index=False))


def _json(table: pd.DataFrame, task: Task) -> str:
    rows = []
    for row in table.to_dict("records"):
        told = {str(name): _plain(value) for name, value in row.items() if not str(name).startswith("p_")}
        rows.append(told | {"probabilities": shares(row)})
    return json.dumps(rows, ensure_ascii=False, indent=1) + "\n"


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _srt(table: pd.DataFrame, task: Task) -> str:
    return "\n".join(
        f"{number}\n{_clock(start_s, ',')} --> {_clock(end_s, ',')}\n{text}\n"
        for number, (start_s, end_s, text) in enumerate(_cues(table, task), 1)
    )


def _vtt(table: pd.DataFrame, task: Task) -> str:
    return "WEBVTT\n\n" + "\n".join(
        f"{_clock(start_s, '.')} --> {_clock(end_s, '.')}\n{_escaped(text)}\n"
        for start_s, end_s, text in _cues(table, task)
    )


TEXTS: dict[str, Callable[[pd.DataFrame, Task], str]] = {".csv": _csv, ".json": _json, ".srt": _srt, ".vtt": _vtt}


def _cues(table: pd.DataFrame, task: Task) -> list[tuple[float, float, str]]:
    """Start, end and text of each utterance whose times are known."""
    if "recording" not in table or table["recording"].nunique() != 1:
        raise UserError("subtitles are of one recording: give one, a video or sound")
    timed = table[table["end_s"].notna()]
    return [
        (row["start_s"], row["end_s"], " ".join([*str(row["text"]).split(), f"[{shown(row, task)}]"]))
        for row in timed.to_dict("records")
    ]


def shown(row: Mapping[Any, Any], task: Task) -> str:
    """A prediction in a few characters."""
    if pd.isna(row["prediction"]):
        return "none"
    if isinstance(task, Classes):
        return f"{row['prediction']} {row['confidence']:.2f}"
    return f"{row['prediction']:+.{max(task.decimals, 1)}f}"


def _clock(seconds: float, comma: str) -> str:
    thousandths = round(seconds * 1000)
    return (
        f"{thousandths // 3_600_000:02d}:{thousandths // 60_000 % 60:02d}:{thousandths // 1000 % 60:02d}"
        f"{comma}{thousandths % 1000:03d}"
    )


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _timeline(table: pd.DataFrame, task: Task, out: Path) -> None:
    """Each recording on a time axis of its own: what is predicted from when to when, and what was said."""
    if "recording" not in table:
        raise UserError(f"{out}: texts have no time axis; a table can be written of them")
    recordings = list(dict.fromkeys(table["recording"]))
    style = {**STYLE, "font.family": font_families("".join(map(str, table["text"]))), "svg.fonttype": "none"}
    with plt.rc_context({**style, "text.parse_math": False}):
        figure, axes = plt.subplots(
            len(recordings), 1, figsize=(WIDE_IN, LANE_IN * len(recordings) + 0.4), squeeze=False
        )
        for axis, recording in zip(axes[:, 0], recordings, strict=True):
            rows = table[(table["recording"] == recording) & table["prediction"].notna() & table["end_s"].notna()]
            axis.set_title(Path(recording).name)
            if isinstance(task, Intensity):
                _intensities(axis, rows, task)
            else:
                _emotions(axis, rows, task)
            axis.set_xlim(0, max(rows["end_s"].max() if len(rows) else 1.0, 0.1))
        axes[-1, 0].set_xlabel("seconds")
        with replacing(out) as partial:
            figure.savefig(partial, metadata=ENDINGS[out.suffix], dpi=150)
        plt.close(figure)


def _intensities(axis: Axes, rows: pd.DataFrame, task: Intensity) -> None:
    middle = (task.low + task.high) / 2
    axis.axhline(middle, color=GREY, linewidth=0.8)
    for row in rows.itertuples():
        colour = BLUE if row.prediction >= middle else ORANGE
        width_s = row.end_s - row.start_s
        axis.add_patch(Rectangle((row.start_s, row.low), width_s, row.high - row.low, color=colour, alpha=0.18, lw=0))
        axis.hlines(row.prediction, row.start_s, row.end_s, color=colour, linewidth=3)
    axis.set(ylim=(task.low, task.high), ylabel="sentiment")


def _emotions(axis: Axes, rows: pd.DataFrame, task: Classes) -> None:
    for place, name in enumerate(task.names):
        colour = COLOURS[place % len(COLOURS)]
        for _, row in rows.iterrows():
            share, chosen = float(row[f"p_{name}"]), row["prediction"] == name
            axis.add_patch(
                Rectangle(
                    (row["start_s"], place - 0.42),
                    row["end_s"] - row["start_s"],
                    0.84,
                    facecolor=colour,
                    alpha=0.08 + 0.85 * share,
                    edgecolor="black" if chosen else "none",
                    linewidth=0.8,
                )
            )
    axis.set(ylim=(len(task.names) - 0.5, -0.5), yticks=range(len(task.names)))
    axis.set_yticklabels(task.names)
