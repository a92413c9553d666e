"""Read the CSV tables that the stages write: texts stay texts, an empty number is NaN."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from mse.errors import UserError

LONGEST_HEADER = 1 << 16  # bytes; of 200,000 columns pandas would make sense for minutes


def read_table(
    path: Path,
    texts: Sequence[str],
    numbers: Sequence[str],
    made_by: str,
    others: type | None = None,
    required: Sequence[str] = (),
) -> pd.DataFrame:
    """Read a table.

    Args:
        path: the file.
        texts: columns that hold text, whatever it looks like (007, NA).
        numbers: columns where an empty cell means an unknown number.
        made_by: the command that writes such a table, for the message.
        others: type of all other columns; None guesses.
        required: columns that must be there, beside the first of `texts`.

    Raises:
        UserError: the file is missing, no table, or lacks a column.
    """
    dtypes: dict[str, type] = dict.fromkeys(texts, str) | dict.fromkeys(numbers, float)
    if others is not None:
        dtypes = defaultdict(lambda: others, dtypes)
    try:
        with path.open("rb") as file:
            if len(file.readline(LONGEST_HEADER)) == LONGEST_HEADER:
                raise ValueError(f"its first line has more than {LONGEST_HEADER:,} bytes")
        table = pd.read_csv(path, dtype=dtypes, keep_default_na=False, na_values=dict.fromkeys(numbers, ""))
    except (OSError, ValueError) as e:
        raise UserError(f"{path}: missing or no table ({e}); `{made_by}` makes it") from e
    if not isinstance(table.index, pd.RangeIndex):  # which pandas takes for names of rows, and shifts the rest
        raise UserError(f"{path}: has rows with more cells than columns; `{made_by}` makes it anew")
    missing = [name for name in (*texts[:1], *required) if name not in table.columns]
    if missing:
        raise UserError(f"{path}: not a table of `{made_by}`; the column {missing[0]!r} is missing")
    return table


def read_intervals(path: Path) -> pd.DataFrame:
    """intervals.csv with texts, numbers and, whether a row is the one that others are compared with, truth values.

    Raises:
        UserError: the table is missing, or another one.
    """
    numbers = ("value", "low", "high", "difference", "p")
    required = ("decoding", "metric", "reference", *numbers)
    table = read_table(path, ("model", "decoding", "metric"), numbers, "mse score", required=required)
    return table.assign(reference=table["reference"].astype(str).str.lower() == "true")  # as spreadsheets write it, too


def read_history(path: Path) -> pd.DataFrame:
    """history.csv as numbers: a row an epoch, NaN for what was not measured then.

    Raises:
        UserError: the table is missing or damaged, or has no epoch with the LLM yet.
    """
    table = read_table(path, (), (), "mse train").replace("", "nan")
    try:
        numbers = table.astype(float)
    except ValueError as e:
        raise UserError(f"{path}: not a table of `mse train`: {e}") from e
    if "train_loss" not in numbers:
        raise UserError(f"{path}: no epoch with the LLM yet; wait for one, or train with fewer pretrain_epochs")
    return numbers
