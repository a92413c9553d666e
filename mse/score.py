"""Predictions against truth: metrics.csv of a corpus's seeds, and one row for any table of predictions."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mse.atomic import replacing
from mse.config import Classes, Intensity, Task
from mse.data import ClipDataset, task_of
from mse.errors import UserError
from mse.metrics import Scorer
from mse.predict import read_predictions
from mse.progress import say
from mse.tables import read_table


def score(dataset_path: Path, predictions: Sequence[Path], names: Sequence[str], out: Path) -> None:
    """Score the predictions of all seeds.

    An answer that is no legal label is scored as the training mean (intensity) or as wrong (classes); the column
    `unparseable` counts them. The last row always answers the training mean, or the commonest class.

    Args:
        dataset_path: dataset.h5, for the task and the training labels.
        predictions: predictions.csv of each seed.
        names: what each row is to be called.
        out: the table to write.

    Raises:
        UserError: the tables do not hold the same clips.
    """
    with ClipDataset(dataset_path) as dataset:
        task = task_of(dataset)
        scorer = Scorer(task, dataset.labels[dataset.indices("train")])
        unusable, corpus = dataset.unusable.get("test", 0), dataset.name
    rows = []
    tables = [read_predictions(path, task) for path in predictions]
    for path, table in zip(predictions, tables, strict=True):
        if table["clip_id"].tolist() != tables[0]["clip_id"].tolist():
            raise UserError(f"{path}: not the same clips as {predictions[0]}; predict again")
    truth = tables[0]["label"].to_numpy(np.float64)
    for name, table in zip(names, tables, strict=True):
        metrics = scorer.metrics(table["prediction"].to_numpy(np.float64), truth)
        rows.append({"run": name, **metrics, "unparseable": int(table["prediction"].isna().sum())})
    numbers = pd.DataFrame(rows).drop(columns="run")
    # A seed whose correlation is undefined makes the mean undefined: it is not left out in silence.
    rows.append({"run": "mean", **numbers.mean(skipna=False)})
    rows.append({"run": "sd", **numbers.std(ddof=1, skipna=False)})
    constant = scorer.metrics(np.full(len(truth), scorer.constant), truth)
    rows.append({"run": "constant", **constant, "unparseable": 0})
    result = pd.DataFrame(rows)
    result["unparseable_scored_as"] = scorer.unparseable_as
    result["constant_is"] = scorer.constant_name
    result["corpus"] = corpus  # which also says whether its features were released or made here
    result.insert(1, "n", len(truth))
    result.insert(2, "n_unusable", unusable)
    with replacing(out) as partial:
        result.to_csv(partial, index=False, float_format="%.4f")
    say(result.to_string(index=False, float_format=lambda value: f"{value:.3f}"))


def score_table(path: Path, task: Task, training_mean: float | None = None) -> pd.DataFrame:
    """Score a table of predictions, whoever made it, by the metrics of a task (paper, "Metrics").

    Args:
        path: a table with the columns clip_id, prediction and label; others are passed over. Intensities are numbers;
            classes are names, or places in the order from 0. An empty prediction is an answer that was no legal label.
        task: decides the metrics.
        training_mean: what an empty prediction of an intensity is scored as; an empty class counts as wrong.

    Returns:
        One row: n, the metrics, unparseable.

    Raises:
        UserError: a column or a label is missing, a value is no label of the task, a clip stands there twice, or
            training_mean is needed and missing.
    """
    table = read_table(path, ("clip_id", "prediction", "label"), (), "mse predict")
    absent = [column for column in ("prediction", "label") if column not in table.columns]
    if absent or table.empty:
        raise UserError(
            f"{path}: expected clips with the columns clip_id, prediction and label; "
            + (f"{', '.join(absent)} is missing" if absent else "there is no clip")
        )
    twice = table["clip_id"][table["clip_id"].duplicated()]
    if len(twice):
        raise UserError(f"{path}: the clip {twice.iloc[0]!r} stands there twice")
    numbers = {
        column: np.array(
            [_number(path, row, column, task) for row in table[["clip_id", column]].itertuples(index=False)]
        )
        for column in ("prediction", "label")
    }
    unlabelled = table["clip_id"][np.isnan(numbers["label"])]
    if len(unlabelled):
        raise UserError(f"{path}: the clip {unlabelled.iloc[0]!r} has no label")
    empty = int(np.isnan(numbers["prediction"]).sum())
    if empty and isinstance(task, Intensity) and training_mean is None:
        raise UserError(
            f"{path}: {empty} predictions are empty; they are scored as the mean of the training labels: say it with "
            "--training-mean"
        )
    known = np.array([0.0 if training_mean is None else training_mean])
    metrics = Scorer(task, known).metrics(numbers["prediction"], numbers["label"])
    return pd.DataFrame([{"n": len(table), **metrics, "unparseable": empty}])


def _number(path: Path, row: tuple[str, str], column: str, task: Task) -> float:
    """A cell as a number; NaN where it is empty."""
    clip, text = row[0], row[1].strip()
    if not text:
        return math.nan
    if isinstance(task, Classes):
        if text in task.names:
            return float(task.names.index(text))
        if text.isdecimal() and int(text) < len(task.names):
            return float(text)
        legal = ", ".join(f"{name} or {place}" for place, name in enumerate(task.names))
        raise UserError(f"{path}: {column} of {clip!r} is {text!r}; expected {legal}")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{path}: {column} of {clip!r} is {text!r}; expected a number")
    return value
