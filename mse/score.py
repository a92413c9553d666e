"""Predictions against truth: the tables of an experiment, and one row for any table of predictions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mse.answer import DECODINGS
from mse.atomic import replacing
from mse.config import Classes, Decoding, Intensity, Task
from mse.data import ClipDataset, task_of
from mse.errors import UserError
from mse.metrics import LESS_IS_BETTER, Scorer, Values
from mse.predictions import read_predictions
from mse.progress import say
from mse.tables import read_history, read_table
from mse.uncertainty import Bootstrapped, bootstrap, compare, resamples

SEED = 0  # of the bootstrap's draws


@dataclass(frozen=True)
class Row:
    """Predictions of a model's runs, read out in one way.

    Attributes:
        model: its name.
        decoding: the way; empty where there is none.
        runs: predictions as numbers by run, (N,) each.
        shown: whether each run has a row of its own, beside mean and deviation.
    """

    model: str
    decoding: str
    runs: dict[str, Values]
    shown: bool = False


def score(
    dataset_path: Path,
    predictions: Sequence[Path],
    out: Path,
    intervals: Path | None = None,
    decoding: Decoding = "expected",
    samples: int = 2000,
) -> None:
    """Score the predictions of an experiment, MODEL/RUN/predictions.csv each.

    metrics.csv: the first model has a row for each run and each decoding, with mean and standard deviation over the
    runs; the others have mean and deviation, or their single run, in the decoding that models are compared by and in
    their own where it is another; `constant` always answers the training mean or the
    commonest class. An answer that is no legal label is scored as the training mean (intensity) or as wrong (classes);
    the column `unparseable` counts them.

    intervals.csv: for each row and metric its value, a 95 % bootstrap interval over clips, the difference to the first
    model's with its interval, and the p value of a paired test.

    Args:
        dataset_path: dataset.h5, for the task and the training labels.
        predictions: the tables; all runs of a model beside each other.
        out: metrics.csv.
        intervals: intervals.csv; None: none.
        decoding: the one that models are compared by.
        samples: draws of clips.

    Raises:
        UserError: a table does not hold the test split's clips and labels, or two are of one model and run.
    """
    with ClipDataset(dataset_path) as dataset:
        task = task_of(dataset)
        scorer = Scorer(task, dataset.labels[dataset.indices("train")])
        unusable, corpus = dataset.unusable.get("test", 0), dataset.name
        test = dataset.indices("test")
        clips, truth = [dataset.clip_ids[index] for index in test], dataset.labels[test]
    tables = {path: read_predictions(path, task) for path in predictions}
    for path, table in tables.items():
        if table["clip_id"].tolist() != clips:
            raise UserError(f"{path}: not the clips of the test split of {dataset_path}; predict again")
        if not np.allclose(table["label"], truth, rtol=0, atol=1e-6, equal_nan=True):
            raise UserError(f"{path}: not the labels of {dataset_path}; predict again")
    constant = Row("constant", "", {"single": np.full(len(truth), scorer.constant)})
    rows = [*_rows(tables, decoding), constant]
    result = pd.DataFrame([line for row in rows for line in _lines(row, scorer, truth)])
    result["unparseable_scored_as"] = scorer.unparseable_as
    result["constant_is"] = scorer.constant_name
    result["corpus"] = corpus  # which also says whether its features were released or made here
    result.insert(3, "n", len(truth))
    result.insert(4, "n_unusable", unusable)
    with replacing(out) as partial:
        result.to_csv(partial, index=False, float_format="%.4f")
    beside = ["unparseable_scored_as", "constant_is", "corpus"]
    say(result.drop(columns=beside).to_string(index=False, float_format=lambda value: f"{value:.3f}"))
    if intervals is not None:
        with replacing(intervals) as partial:
            _intervals(rows, decoding, scorer, truth, samples).to_csv(partial, index=False, float_format="%.4f")


def _rows(tables: dict[Path, pd.DataFrame], decoding: Decoding) -> list[Row]:
    """The first model's decodings, then each other model in the one it is compared by, and in its own."""
    models: dict[str, dict[str, pd.DataFrame]] = {}
    for path, table in tables.items():
        runs = models.setdefault(_model(path), {})
        if path.parent.name in runs:
            raise UserError(f"{path}: another table of the model {_model(path)} and run {path.parent.name} was given")
        runs[path.parent.name] = table
    rows: list[Row] = []
    for model, runs in models.items():
        ways: list[str] = [way for way in DECODINGS if all(way in table for table in runs.values())]
        if rows and decoding in ways:
            own = [way for way in ways if all(table[way].equals(table["prediction"]) for table in runs.values())]
            ways = [decoding] if decoding in own else [decoding, *own[:1]]
        for way in ways or [""]:
            values = {run: table[way or "prediction"].to_numpy(np.float64) for run, table in runs.items()}
            rows.append(Row(model, way, values, shown=model == next(iter(models))))
    return rows


def _model(path: Path) -> str:
    """MODEL of MODEL/RUN/predictions.csv."""
    return path.resolve().parent.parent.name


def _lines(row: Row, scorer: Scorer, truth: Values) -> list[dict[str, Any]]:
    """A row's lines in metrics.csv: its runs, where they are shown or there is but one, mean and deviation."""
    each = pd.DataFrame(
        {
            run: scorer.metrics(values, truth) | {"unparseable": float(np.isnan(values).sum())}
            for run, values in row.runs.items()
        }
    ).T
    lines = each if row.shown or len(each) == 1 else each.iloc[:0]
    if row.shown or len(each) > 1:
        # A seed whose correlation is undefined makes the mean undefined: it is not left out in silence.
        summary = {"mean": each.mean(skipna=False), "sd": each.std(ddof=1, skipna=False)}
        lines = pd.concat([lines, pd.DataFrame(summary).T])
    return [{"model": row.model, "decoding": row.decoding, "run": run, **line} for run, line in lines.iterrows()]


def _intervals(rows: Sequence[Row], decoding: str, scorer: Scorer, truth: Values, samples: int) -> pd.DataFrame:
    draws = resamples(len(truth), samples, SEED)
    drawn = [bootstrap(scorer.metrics, list(row.runs.values()), truth, draws) for row in rows]
    model = rows[0].model
    against = next(
        (b for r, b in zip(rows, drawn, strict=True) if (r.model, r.decoding) == (model, decoding)), drawn[0]
    )
    return pd.DataFrame(
        [
            {"model": row.model, "decoding": row.decoding, "runs": len(row.runs), "reference": each is against, **line}
            for row, each in zip(rows, drawn, strict=True)
            for line in interval_lines(each, against)
        ]
    )


def interval_lines(row: Bootstrapped, reference: Bootstrapped) -> list[dict[str, Any]]:
    """Each metric of a row with its interval, and how it differs from a reference row's."""
    lines = []
    for name, value in row.value.items():
        low, high = row.interval(name)
        against = compare(row, reference, name)
        lines.append(
            {
                "metric": name,
                "value": value,
                "low": low,
                "high": high,
                "difference": against.difference,
                "difference_low": against.low,
                "difference_high": against.high,
                "p": against.p,
            }
        )
    return lines


def best_epochs(histories: Sequence[Path], key: str) -> pd.DataFrame:
    """What models reached on the validation split, on which choices are made before the test split is looked at.

    Args:
        histories: MODEL/RUN/history.csv of runs.
        key: the metric that chose each run's best epoch.

    Returns:
        A line a model: runs, and mean and standard deviation over them of the best epoch's number and metrics.

    Raises:
        UserError: a table lacks the metric, or a run is given twice.
    """
    column = f"valid_{key}"
    rows, seen = [], dict[tuple[str, str], Path]()
    for path in histories:
        first = seen.setdefault((_model(path), path.parent.name), path)
        if first is not path:
            raise UserError(f"{path}: the same model and run as {first}; give one of them, or name a folder otherwise")
        table = read_history(path)
        if column not in table or table[column].isna().all():
            raise UserError(f"{path}: no {column}; --key takes one of its columns valid_..., without that beginning")
        best = table[column].idxmin() if key in LESS_IS_BETTER else table[column].idxmax()
        rows.append({"model": _model(path), **table.loc[best]})
    lines = []
    for model, runs in pd.DataFrame(rows).groupby("model", sort=False):
        numbers = runs.drop(columns=["model", "train_loss", "pretrain_loss"], errors="ignore")
        # An undefined metric of a run makes the mean undefined: it is not left out in silence.
        spread = numbers.std(ddof=1, skipna=False).add_suffix("_sd")
        lines.append({"model": model, "runs": len(runs), **numbers.mean(skipna=False), **spread})
    return pd.DataFrame(lines)


def compare_tables(
    task: Task,
    first: Sequence[Path],
    second: Sequence[Path],
    training_mean: float | None = None,
    samples: int = 2000,
    columns: tuple[str, str] = ("prediction", "prediction"),
) -> pd.DataFrame:
    """Compare two models on the same clips, each by the predictions of one or several runs.

    Args:
        task: decides the metrics.
        first: tables of the one, with the columns clip_id, prediction and label; the clips may be in any order.
        second: tables of the other.
        training_mean: what an empty prediction of an intensity is scored as.
        samples: draws of clips.
        columns: what is read of the one's tables, and of the other's: prediction, or a decoding.

    Returns:
        A line a metric: the first's value and 95 % interval, the difference (first minus second), its interval, and p.

    Raises:
        UserError: a table is none, or holds other clips or labels than the first.
    """
    read = [(path, columns[0]) for path in first] + [(path, columns[1]) for path in second]
    tables = [read_scored(path, task, training_mean, column).set_index("clip_id") for path, column in read]
    clips = sorted(tables[0].index)
    truth = tables[0].loc[clips, "label"].to_numpy()
    for path, table in zip([*first, *second], tables, strict=True):
        if sorted(table.index) != clips or not np.array_equal(table.loc[clips, "label"].to_numpy(), truth):
            raise UserError(f"{path}: not the same clips and labels as {first[0]}; compare what was tested on the same")
    scorer = _scorer(task, training_mean)
    draws = resamples(len(truth), samples, SEED)
    runs = [table.loc[clips, "prediction"].to_numpy() for table in tables]
    one, other = (bootstrap(scorer.metrics, part, truth, draws) for part in (runs[: len(first)], runs[len(first) :]))
    return pd.DataFrame(interval_lines(one, other))


def score_table(path: Path, task: Task, training_mean: float | None = None, column: str = "prediction") -> pd.DataFrame:
    """Score a table of predictions, whoever made it, by the metrics of a task (paper, "Metrics").

    Args:
        path: a table with the columns clip_id, prediction and label; others are passed over. Intensities are numbers;
            classes are names, or places in the order from 0. An empty prediction is an answer that was no legal label.
        task: decides the metrics.
        training_mean: what an empty prediction of an intensity is scored as; an empty class counts as wrong.
        column: what is scored: prediction, or a decoding.

    Returns:
        One row: n, the metrics, unparseable.

    Raises:
        UserError: a column or a label is missing, a value is no label of the task, a clip stands there twice, or
            training_mean is needed and missing.
    """
    table = read_scored(path, task, training_mean, column)
    prediction, label = (table[column].to_numpy() for column in ("prediction", "label"))
    metrics = _scorer(task, training_mean).metrics(prediction, label)
    return pd.DataFrame([{"n": len(table), **metrics, "unparseable": int(np.isnan(prediction).sum())}])


def _scorer(task: Task, training_mean: float | None) -> Scorer:
    return Scorer(task, np.array([0.0 if training_mean is None else training_mean]))


def read_scored(path: Path, task: Task, training_mean: float | None, prediction: str = "prediction") -> pd.DataFrame:
    """clip_id, prediction (out of a column of any name) and label of any table, the latter two as numbers; NaN is an
    empty prediction.

    Raises:
        UserError: as `score_table` says.
    """
    table = read_table(path, ("clip_id", prediction, "label"), (), "mse answer")
    absent = [column for column in (prediction, "label") if column not in table.columns]
    if absent or table.empty:
        raise UserError(
            f"{path}: expected clips with the columns clip_id, {prediction} and label; "
            + (f"{', '.join(absent)} is missing" if absent else "there is no clip")
        )
    twice = table["clip_id"][table["clip_id"].duplicated()]
    if len(twice):
        raise UserError(f"{path}: the clip {twice.iloc[0]!r} stands there twice")
    table["prediction"] = table[prediction]
    for column in ("prediction", "label"):
        rows = table[["clip_id", column]].itertuples(index=False)
        table[column] = np.array([_number(path, row, column, task) for row in rows])
    unlabelled = table["clip_id"][table["label"].isna()]
    if len(unlabelled):
        raise UserError(f"{path}: the clip {unlabelled.iloc[0]!r} has no label")
    empty = int(table["prediction"].isna().sum())
    if empty and isinstance(task, Intensity) and training_mean is None:
        raise UserError(
            f"{path}: {empty} predictions are empty; they are scored as the mean of the training labels: say it with "
            "--training-mean"
        )
    return table[["clip_id", "prediction", "label"]]


def _number(path: Path, row: tuple[str, str], column: str, task: Task) -> float:
    """A cell as a number; NaN where it is empty."""
    clip, text = row[0], row[1].strip()
    if not text:
        return math.nan
    if isinstance(task, Classes):
        if text in task.names:
            return float(task.names.index(text))
        place = text.removesuffix(".0")  # a column with an empty cell makes floats of places
        if place.isdecimal() and int(place) < len(task.names):
            return float(place)
        legal = ", ".join(f"{name} or {place}" for place, name in enumerate(task.names))
        raise UserError(f"{path}: {column} of {clip!r} is {text!r}; expected {legal}")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{path}: {column} of {clip!r} is {text!r}; expected a number")
    return value
