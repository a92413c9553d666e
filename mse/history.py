"""A run's epochs as numbers: history.csv, and the same as events for TensorBoard."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from mse.atomic import replacing
from mse.resume import Progress


def write_history(progress: Progress, path: Path) -> None:
    """Write one row an epoch."""
    with replacing(path) as partial:
        pd.DataFrame(progress.rows).astype({"epoch": int}).to_csv(partial, index=False)


@contextmanager
def tensorboard(folder: Path, rows: Sequence[dict[str, float]]) -> Iterator[Any]:
    """An event file for TensorBoard, which begins with the rows that there are and replaces what a killed run left."""
    from torch.utils.tensorboard import SummaryWriter

    for left in folder.glob("events.out.tfevents.*"):
        left.unlink()
    with SummaryWriter(str(folder)) as writer:
        for row in rows:
            log_row(writer, row)
        yield writer


def log_row(writer: Any, row: dict[str, float]) -> None:
    """One epoch's numbers as events, on the disk at once."""
    for name, value in row.items():
        writer.add_scalar(name, value, int(row["epoch"]))
    writer.flush()
