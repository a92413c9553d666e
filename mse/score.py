"""metrics.csv: one row a seed, their mean and standard deviation, and the constant to beat."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mse.atomic import replacing
from mse.data import ClipDataset, task_of
from mse.errors import UserError
from mse.metrics import Scorer
from mse.predict import read_predictions
from mse.progress import say


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
