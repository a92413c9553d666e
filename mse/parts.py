"""What predictions follow: their least squares fit by known facts of the clips."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mse.errors import UserError
from mse.metrics import Values
from mse.tables import read_table


def parts(paths: Sequence[Path], facts: Path, columns: Sequence[str]) -> pd.DataFrame:
    """How much of each fact is in predictions of intensities: the weights of a least squares fit, with a constant.

    Of the demo corpus the sentiment of words, voice and face is known, so that one sees which of them a model has
    learned to read; the row `label` has what a model that is always right would have.

    Args:
        paths: tables with the columns clip_id, prediction and label, of the same clips.
        facts: a table with the column clip_id and these facts.
        columns: facts, numbers.

    Returns:
        A row for the labels and for each table: n, a weight for each fact, and `r2`, the share of variance that the
        fit explains.

    Raises:
        UserError: a table is missing or no table, holds other clips than the first, a column is missing or no number,
            a clip is not in `facts`, or twice.
    """
    known = read_table(facts, ("clip_id",), columns, "mse demo").set_index("clip_id")
    for column in columns:
        if column not in known.columns:
            raise UserError(f"{facts}: no column {column!r}; it has {', '.join(map(str, known.columns))}")
    twice = known.index[known.index.duplicated()]
    if len(twice):
        raise UserError(f"{facts}: the clip {twice[0]!r} stands there twice")
    rows: list[dict[str, str | float]] = []
    clips: list[str] = []
    for path in paths:
        table = read_table(path, ("clip_id",), ("prediction", "label"), "mse answer")
        for column in ("prediction", "label"):
            if column not in table.columns:
                raise UserError(f"{path}: the column {column!r} is missing")
            odd = np.isinf(table[column]) if column == "prediction" else ~np.isfinite(table[column])
            if odd.any():
                raise UserError(f"{path}: {column} of {table['clip_id'][odd].iloc[0]!r} is no number")
        stranger = next((clip for clip in table["clip_id"] if clip not in known.index), None)
        if stranger is not None:
            raise UserError(f"{facts}: lacks the clip {stranger} of {path}")
        values = known.loc[table["clip_id"], list(columns)].to_numpy(float)
        unknown = table["clip_id"][(~np.isfinite(values)).any(axis=1)]  # LAPACK may never end with these
        if len(unknown):
            raise UserError(f"{facts}: {', '.join(columns)}: no number for the clip {unknown.iloc[0]}")
        if rows and sorted(table["clip_id"]) != clips:
            raise UserError(f"{path}: not the same clips as {paths[0]}")
        clips = sorted(table["clip_id"])
        if not rows:
            rows.append({"of": "label", **_fit(table["label"].to_numpy(), values, columns)})
        answered = table["prediction"].notna().to_numpy()
        rows.append({"of": str(path), **_fit(table["prediction"].to_numpy()[answered], values[answered], columns)})
    return pd.DataFrame(rows)


def _fit(predictions: Values, values: Values, columns: Sequence[str]) -> dict[str, float]:
    """Weights of values (N, columns) in predictions (N,), and the share of variance explained."""
    design = np.column_stack([values, np.ones(len(values))])
    weights, *_ = np.linalg.lstsq(design, predictions, rcond=None)
    left = predictions - design @ weights
    r2 = 1 - left @ left / (len(predictions) * predictions.var()) if predictions.var() else np.nan
    return {"n": len(predictions), **dict(zip(columns, map(float, weights[:-1]), strict=True)), "r2": float(r2)}
