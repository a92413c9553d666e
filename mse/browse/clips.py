"""What the page shows of each clip: label, answers of every run, words, quality, and where its recording lies."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from mse.config import Classes, Task
from mse.corpus import read_manifest
from mse.data import ClipDataset, task_of
from mse.errors import UserError
from mse.plots.measured import MEASURED
from mse.predictions import read_predictions, shown_label
from mse.quality import STAGES, read_quality
from mse.segment import read_facts
from mse.store import Status


@dataclass(frozen=True)
class Shown:
    """One test clip.

    Attributes:
        clip_id: its name.
        entry: all that the page is told of it, as JSON.
        error: mean over the runs: the distance to the label, or the share of wrong answers; no answer is the worst.
        media: its recording, None where it has none or it can't be read.
        window_s: the part of the recording, from and to (seconds).
    """

    clip_id: str
    entry: dict[str, Any]
    error: float
    media: Path | None
    window_s: tuple[float, float]


@dataclass(frozen=True)
class Result:
    """The predictions of some runs for the same clips."""

    title: str
    corpus: str
    task: Task
    runs: list[str]
    clips: list[Shown]


def read_result(dataset_path: Path, predictions: Sequence[Path], work: Path) -> Result:
    """Gather what is known of the clips of some predictions.

    Args:
        dataset_path: dataset.h5.
        predictions: predictions.csv of runs, RUN/predictions.csv each; all of the same clips.
        work: work/CORPUS; what is missing there is left out (features that others released have no recordings).

    Raises:
        UserError: the tables do not hold the same clips, or not those of the dataset.
    """
    with ClipDataset(dataset_path) as dataset:
        task, corpus = task_of(dataset), dataset.name
        place = {clip_id: index for index, clip_id in enumerate(dataset.clip_ids)}
        texts, labels = dataset.texts, dataset.labels
    tables = {path.parent.name: read_predictions(path, task) for path in predictions}
    if len(tables) < len(predictions):
        raise UserError(f"{predictions[-1]}: another table of a run of the same name was given")
    first = next(iter(tables.values()))
    for path, table in zip(predictions, tables.values(), strict=True):
        if table["clip_id"].tolist() != first["clip_id"].tolist():
            raise UserError(f"{path}: not the same clips as {predictions[0]}; predict again")
    unknown = [clip_id for clip_id in first["clip_id"] if clip_id not in place]
    if unknown:
        raise UserError(f"{predictions[0]}: {dataset_path} has no clip {unknown[0]!r}; predict again")
    quality, windows = _quality(work), _windows(work)
    clips = []
    for row, clip_id in enumerate(first["clip_id"]):
        answers = {run: _answer(table.iloc[row], task) for run, table in tables.items()}
        label = float(labels[place[clip_id]])
        media, window_s = windows.get(clip_id, (None, (0.0, 0.0)))
        told = quality.get(clip_id, {})
        entry = {
            "id": clip_id,
            "label": shown_label(label, task),
            "text": texts[place[clip_id]],
            "heard": told.get("asr_text") or "",
            "flags": _flags(told),
            "message": told.get("message") or "",
            "measured": _measured(told),
            "answers": answers,
        }
        errors = [_error(table["prediction"].iloc[row], label, task) for table in tables.values()]
        clips.append(Shown(clip_id, entry, sum(errors) / len(errors), media, window_s))
    title = " / ".join([corpus, *predictions[0].parts[-3:-2]])
    return Result(title, corpus, task, list(tables), clips)


def _answer(row: "pd.Series[Any]", task: Task) -> dict[str, Any]:
    """One run's answer: the prediction, the answer as it was generated, and how likely labels are."""
    shares = {str(name)[2:]: float(value) for name, value in row.items() if str(name).startswith("p_")}
    return {
        "prediction": shown_label(float(row["prediction"]), task),
        "answer": str(row.get("answer", "")),
        "shares": [[name, round(share, 4)] for name, share in shares.items() if math.isfinite(share)],
    }


def _error(prediction: float, label: float, task: Task) -> float:
    if isinstance(task, Classes):
        return float(prediction != label)
    return abs(prediction - label) if math.isfinite(prediction) else task.high - task.low


def _quality(work: Path) -> dict[str, dict[str, Any]]:
    path = work / "quality.csv"
    if not path.is_file():
        return {}
    return {row["clip_id"]: row for row in read_quality(path).to_dict("records")}


def _windows(work: Path) -> dict[str, tuple[Path, tuple[float, float]]]:
    """Each clip's recording and the part of it that was used, where there is a recording."""
    manifest = work / "manifest.csv"
    if not manifest.is_file():
        return {}
    table = read_manifest(manifest)
    windows = dict(zip(table["clip_id"], zip(table["start_s"], table["end_s"], strict=True), strict=True))
    for path in sorted((work / "segments").glob("*.csv")):
        windows |= {row.clip_id: (row.start_s, row.end_s) for row in read_facts(path)}
    readable = {clip_id: _readable(media) for clip_id, media in zip(table["clip_id"], table["media"], strict=True)}
    return {clip_id: (media, _known(*windows[clip_id])) for clip_id, media in readable.items() if media}


def _known(start_s: float, end_s: float) -> tuple[float, float]:
    """A window of which an unknown start is the file's; an unknown end is the start, which a player takes for none."""
    start_s = start_s if math.isfinite(start_s) else 0.0
    return start_s, end_s if math.isfinite(end_s) else start_s


def _readable(media: str) -> Path | None:
    return Path(media) if media and os.path.isfile(media) and os.access(media, os.R_OK) else None


def _flags(told: Mapping[str, Any]) -> list[str]:
    """What is not as it should be, in a few words."""
    stages = [(stage, told.get(stage)) for stage in STAGES]
    flags = [f"{stage}: {status.replace('_', ' ')}" for stage, status in stages if status and status != Status.ok.name]
    return flags + [f"{modality} not used" for modality in str(told.get("unfit") or "").split()]


def _measured(told: Mapping[str, Any]) -> list[list[str]]:
    found = [(column, told[name]) for name, column in MEASURED.items() if name in told]
    return [[column.name, column.write(value)] for column, value in found if pd.notna(value)]


def beside(media: Path, page: Path) -> str:
    """The address of a recording from a page's folder, as a browser takes it."""
    return quote(os.path.relpath(media.resolve(), page.resolve().parent))
