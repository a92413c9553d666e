"""From a corpus's table to the manifest: one row a clip, checked, with the shard it belongs to."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from mse.atomic import replacing
from mse.config import Dataset, Intensity
from mse.errors import UserError
from mse.tables import read_table

SPLITS = ("train", "valid", "test")
MANIFEST_COLUMNS = ["clip_id", "media", "start_s", "end_s", "split", "speaker", "text", "label", "shard"]
EXTRACTION_COLUMNS = ["clip_id", "media", "start_s", "end_s"]  # all that features depend on
MOST_MISTAKES_SHOWN = 20


def make_manifest(dataset: Dataset) -> pd.DataFrame:
    """Read the corpus's table, check every row, and deal the clips out to shards.

    Returns:
        A table with MANIFEST_COLUMNS; media is a path from the working directory, label NaN where unknown.

    Raises:
        UserError: every mistake of the table at once, with its line and column.
    """
    path = dataset.root / dataset.table
    table = _read_corpus_table(path)
    columns = dataset.columns.model_dump()
    absent = {key: name for key, name in columns.items() if name is not None and name not in table.columns}
    if absent:
        wanted = ", ".join(f"columns.{key} = {name!r}" for key, name in absent.items())
        raise UserError(f"{path}: no column for {wanted}; the table has {', '.join(table.columns)}")
    manifest = pd.DataFrame(
        {key: table[name] if name is not None else "" for key, name in columns.items()}, index=table.index
    )
    manifest["clip_id"] = manifest["clip_id"].str.strip()
    if dataset.columns.split is None:
        manifest["split"] = "test"
    mistakes = _mistakes(manifest, dataset)
    if mistakes:
        shown = mistakes[:MOST_MISTAKES_SHOWN]
        more = len(mistakes) - len(shown)
        raise UserError("\n".join(f"{path}: {m}" for m in shown) + (f"\n... and {more} more" if more else ""))
    for number in ("start_s", "end_s", "label"):
        manifest[number] = pd.to_numeric(manifest[number].replace("", np.nan))
    manifest["media"] = [str(dataset.root / media) for media in manifest["media"]]
    manifest["shard"] = _deal(manifest["media"], dataset.shard_clips)
    return manifest[MANIFEST_COLUMNS].reset_index(drop=True)


def _read_corpus_table(path: Path) -> pd.DataFrame:
    """Every cell as text, exactly as written; the index holds each row's line in the file."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            rows = {}
            for row in reader:
                if row:
                    rows[reader.line_num] = row
    except FileNotFoundError as e:
        raise UserError(f"{path}: no such file; `root` and `table` of the dataset's YAML say where it lies") from e
    except (UnicodeDecodeError, csv.Error) as e:
        raise UserError(f"{path}: not a CSV table in UTF-8: {e}") from e
    if not rows:
        raise UserError(f"{path}: the table has no rows")
    for line, row in rows.items():
        if len(row) != len(header):
            raise UserError(
                f"{path}: line {line} has {len(row)} cells, the header {len(header)}; "
                "put a text that holds a comma into double quotes"
            )
    return pd.DataFrame.from_dict(rows, orient="index", columns=header)


def _mistakes(manifest: pd.DataFrame, dataset: Dataset) -> list[str]:
    """What is wrong, row by row; the index holds the lines."""
    found: list[str] = []
    first_line: dict[str, int] = {}
    names = dataset.columns
    for row in manifest.itertuples():
        line = row.Index

        def wrong(what: str, line: int = line, clip: str = row.clip_id) -> None:
            found.append(f"line {line} ({clip or 'no clip id'}): {what}")

        if not row.clip_id:
            wrong(f"{names.clip_id} is empty; each clip needs a name")
        elif row.clip_id in first_line:
            wrong(f"{names.clip_id} stands in line {first_line[row.clip_id]} already; clip ids must be unique")
        first_line.setdefault(row.clip_id, line)
        if not row.media:
            wrong(f"{names.media} is empty; it must name the clip's file")
        if row.split not in SPLITS:
            wrong(f"{names.split} = {row.split!r} is none of {', '.join(SPLITS)}")
        start, end = _number(row.start_s), _number(row.end_s)
        for name, text, value in ((names.start_s, row.start_s, start), (names.end_s, row.end_s, end)):
            if text and (value is None or value < 0):
                wrong(f"{name} = {text!r} is no time in seconds")
        if end is not None and (start or 0.0) >= end:
            wrong(f"the clip starts ({row.start_s or 0} s) at or after its end ({row.end_s} s)")
        if dataset.task:
            _check_label(row.label, dataset.task, names.label, wrong)
    if dataset.task:
        missing = [split for split in SPLITS if split not in set(manifest["split"])]
        found += [f"no clip in the split {split!r}; a corpus with a task needs all three" for split in missing]
    return found


def _check_label(text: str, task: Intensity, column: str | None, wrong: Callable[[str], None]) -> None:
    value = _number(text)
    if value is None:
        wrong(f"{column} = {text!r} is no number; expected an intensity from {task.low} to {task.high}")
    elif not task.low <= value <= task.high:
        wrong(f"{column} = {text} lies outside the task's range from {task.low} to {task.high}")


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _deal(media: pd.Series, shard_clips: int) -> list[str]:
    """Name a shard for each clip: recordings in order of first appearance, never split between shards."""
    counts = media.value_counts(sort=False)
    shard_of: dict[str, str] = {}
    shard = filled = 0
    for recording, count in counts.items():
        if filled and filled + count > shard_clips:
            shard, filled = shard + 1, 0
        filled += count
        shard_of[recording] = f"{shard:04d}"
    return [shard_of[recording] for recording in media]


def write_manifest(manifest: pd.DataFrame, path: Path) -> None:
    """Write manifest.csv."""
    with replacing(path) as partial:
        manifest.to_csv(partial, index=False)


def read_manifest(path: Path) -> pd.DataFrame:
    """Read manifest.csv; texts stay texts, an absent time or label is NaN.

    Raises:
        UserError: the file is missing or no manifest.
    """
    texts = ("clip_id", "media", "split", "speaker", "text", "shard")
    table = read_table(path, texts, ("start_s", "end_s", "label"), "mse manifest")
    missing = [name for name in MANIFEST_COLUMNS if name not in table.columns]
    if missing:
        raise UserError(f"{path}: no manifest; the columns {', '.join(missing)} are missing")
    return table


def read_shard(path: Path, shard: str) -> pd.DataFrame:
    """The clips of one shard of a manifest.

    Raises:
        UserError: the manifest has no such shard.
    """
    manifest = read_manifest(path)
    clips = manifest[manifest["shard"] == shard]
    if clips.empty:
        raise UserError(f"{path}: no shard {shard!r}; there is {', '.join(sorted(set(manifest['shard'])))}")
    return clips


def shard_files(manifest: Path, folder: Path, suffix: str) -> list[Path]:
    """The files of all shards in a folder, in order."""
    return [folder / f"{shard}{suffix}" for shard in sorted(set(read_manifest(manifest)["shard"]))]
