"""Predictions of new recordings as files: tables and subtitles; the name's ending says which."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mse.atomic import replacing
from mse.config import Classes, Task
from mse.errors import UserError

UNLIKE = 0.1  # share of a clip's features that are far from the training clips', from which on it is told


def write(table: pd.DataFrame, task: Task, out: Path) -> None:
    """Write predictions.

    Args:
        table: what a Predictor gives.
        task: what is predicted.
        out: .csv, .json, .srt or .vtt (subtitles).

    Raises:
        UserError: another ending, or subtitles of several recordings, or of texts.
    """
    require_known(out, table["recording"].nunique() if "recording" in table else 0)
    with replacing(out) as partial:
        partial.write_text(TEXTS[out.suffix](table, task), encoding="utf-8")


def require_known(out: Path, recordings: int) -> None:
    """Make sure that a file can be written, before hours are spent.

    Raises:
        UserError: the name's ending is none of ours, or subtitles are asked of several recordings, or of texts.
    """
    if out.suffix not in TEXTS:
        raise UserError(f"{out}: expected a name that ends in {', '.join(TEXTS)}")
    if out.suffix in SUBTITLES and recordings != 1:
        raise UserError(f"{out}: subtitles are of one recording, a video or sound; expected one, got {recordings}")


def _csv(table: pd.DataFrame, task: Task) -> str:
    return str(table.to_csv(index=False))


def _json(table: pd.DataFrame, task: Task) -> str:
    """A list of objects; `probabilities` has each legal label, and is null where nothing was answered."""
    rows = []
    for row in table.to_dict("records"):
        plain = {str(name): _plain(value) for name, value in row.items()}
        shares = {name.removeprefix("p_"): plain.pop(name) for name in list(plain) if name.startswith("p_")}
        rows.append(plain | {"probabilities": None if plain["prediction"] is None else shares})
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


SUBTITLES: dict[str, Callable[[pd.DataFrame, Task], str]] = {".srt": _srt, ".vtt": _vtt}
TEXTS = {".csv": _csv, ".json": _json, **SUBTITLES}


def _cues(table: pd.DataFrame, task: Task) -> list[tuple[float, float, str]]:
    """Start, end and text of each utterance whose times are known."""
    timed = table[table["end_s"].notna()]
    return [
        (row["start_s"], row["end_s"], " ".join([*str(row["text"]).split(), f"[{shown(row, task)}]"]))
        for row in timed.to_dict("records")
    ]


def shown(row: Mapping[Any, Any], task: Task) -> str:
    """A prediction in a few characters, with ? where the clip is unlike the training clips."""
    if pd.isna(row["prediction"]):
        return "none"
    doubt = "?" if unlike(row) else ""
    if isinstance(task, Classes):
        return f"{row['prediction']}{doubt} {row['confidence']:.2f}"
    decimals = max(task.decimals, 1)
    return f"{round(row['prediction'], decimals) + 0.0:+.{decimals}f}{doubt}"  # + 0.0: no -0.0


def remarks(row: Mapping[Any, Any]) -> list[str]:
    """What must be known about a prediction."""
    told = [
        f"? the {what} is unlike the training clips': the answer may be no more than a guess" for what in unlike(row)
    ]
    return [*([row["message"]] if row.get("message") else []), *told]


def unlike(row: Mapping[Any, Any]) -> list[str]:
    """What of a clip (sound, face) is far from the training clips', so that its answer is doubted."""
    return [what for what in ("sound", "face") if row.get(f"{what}_unlike", 0.0) > UNLIKE]


def named_apart(paths: Iterable[str]) -> dict[str, str]:
    """The shortest end of each path that no other has: a name, with as many folders as are needed."""
    every = {path: Path(path).parts for path in paths}
    ends = {path: Counter("/".join(parts[-n:]) for n in range(1, len(parts) + 1)) for path, parts in every.items()}
    seen = sum(ends.values(), Counter())
    return {path: next((end for end in found if seen[end] == 1), path) for path, found in ends.items()}


def _clock(seconds: float, comma: str) -> str:
    thousandths = round(seconds * 1000)
    return (
        f"{thousandths // 3_600_000:02d}:{thousandths // 60_000 % 60:02d}:{thousandths // 1000 % 60:02d}"
        f"{comma}{thousandths % 1000:03d}"
    )


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
