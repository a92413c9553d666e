"""manifest.csv: one row a clip, with the shard it belongs to; excluded.csv: what was left out, and why."""

from pathlib import Path

import pandas as pd

from mse.atomic import replacing
from mse.errors import UserError
from mse.tables import read_table

SPLITS = ("train", "valid", "test")
TEXTS = ("clip_id", "media", "split", "speaker", "text", "label", "shard")
MANIFEST_COLUMNS = ["clip_id", "media", "start_s", "end_s", "split", "speaker", "text", "label", "shard"]
EXTRACTION_COLUMNS = ["clip_id", "media", "start_s", "end_s"]  # all that features depend on


def deal(media: pd.Series, shard_clips: int) -> list[str]:
    """Name a shard for each clip: recordings in order of first appearance, never split between shards.

    Args:
        media: each clip's recording.
        shard_clips: clips a shard, unless one recording has more.
    """
    counts = media.value_counts(sort=False)
    shard_of: dict[str, str] = {}
    shard = filled = 0
    for recording, count in counts.items():
        if filled and filled + count > shard_clips:
            shard, filled = shard + 1, 0
        filled += count
        shard_of[recording] = f"{shard:04d}"
    return [shard_of[recording] for recording in media]


def write_manifest(clips: pd.DataFrame, excluded: pd.DataFrame, path: Path) -> None:
    """Write manifest.csv, and excluded.csv beside it."""
    for table, target in ((excluded, path.with_name("excluded.csv")), (clips, path)):
        with replacing(target) as partial:
            table.to_csv(partial, index=False)


def read_manifest(path: Path) -> pd.DataFrame:
    """Read manifest.csv; texts and labels stay texts, extra columns too, an absent time is NaN.

    Raises:
        UserError: the file is missing or no manifest.
    """
    table = read_table(path, TEXTS, ("start_s", "end_s"), "mse manifest", others=str)
    missing = [name for name in MANIFEST_COLUMNS if name not in table.columns]
    if missing:
        raise UserError(f"{path}: no manifest; the columns {', '.join(missing)} are missing")
    return table


def read_excluded(manifest: Path) -> pd.DataFrame:
    """Read the excluded.csv that lies beside a manifest: clip_id and reason."""
    return read_table(
        manifest.with_name("excluded.csv"), ("clip_id", "reason"), (), "mse manifest", required=("reason",)
    )


def shard_files(manifest: Path, folder: Path, suffix: str) -> list[Path]:
    """The files of all shards in a folder, in order."""
    return [folder / f"{shard}{suffix}" for shard in sorted(set(read_manifest(manifest)["shard"]))]
