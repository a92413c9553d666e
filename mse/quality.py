"""One row a clip: what became of it in each stage, and whether it can be used."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mse.atomic import replacing
from mse.corpus import read_manifest
from mse.extract import read_transcripts
from mse.progress import say
from mse.segment import read_facts
from mse.store import Shard, Status
from mse.tables import read_table

STAGES = ("segment", "acoustic", "facial", "transcribe")  # columns with a clip's status
COVERAGES = ("acoustic_coverage", "facial_coverage")  # share of the clip's frames that was measured
# A clip whose sound stage ended so can be used at most through its text, which is no clip any more.
LOST = {Status.missing, Status.unreadable, Status.out_of_range, Status.too_short}


def make_quality(
    manifest: Path,
    facts: Sequence[Path],
    acoustic: Sequence[Path],
    facial: Sequence[Path],
    transcripts: Sequence[Path],
    out: Path,
) -> None:
    """Gather the status of every clip in every stage into quality.csv, and say the totals.

    Args:
        manifest: manifest.csv.
        facts: tables of `segment_shard`, one a shard.
        acoustic: acoustic shard files.
        facial: facial shard files.
        transcripts: tables of `transcribe_shard`; none where the corpus's own text is used.
        out: the table to write. `use` is full (every modality is there), partial (some are) or unusable.
    """
    table = read_manifest(manifest)[["clip_id", "media", "split", "shard", "text"]]
    table = table.merge(_segment_columns(facts), on="clip_id", how="left", validate="1:1")
    for name, shards in (("acoustic", acoustic), ("facial", facial)):
        table = table.merge(_shard_columns(name, shards), on="clip_id", how="left", validate="1:1")
    if transcripts:
        table = table.merge(_transcript_columns(transcripts), on="clip_id", how="left", validate="1:1")
        table["word_error_rate"] = [
            word_error_rate([said], [heard]) if said else np.nan
            for said, heard in zip(table["text"], table["asr_text"], strict=True)
        ]
    stages = ["segment", "acoustic", "facial", *(["transcribe"] if transcripts else [])]
    table["use"] = [_use(row, bool(transcripts)) for row in table.itertuples()]
    messages = table[[f"{stage}_message" for stage in stages]]
    table["message"] = ["; ".join(dict.fromkeys(m for m in row if m)) for row in messages.itertuples(index=False)]
    table = table.drop(columns=messages.columns)
    with replacing(out) as partial:
        table.to_csv(partial, index=False)
    _say_totals(table)


def read_quality(path: Path) -> pd.DataFrame:
    """Read quality.csv; texts stay texts."""
    texts = ("clip_id", "media", "split", "shard", "text", "asr_text", "use", "message", *STAGES)
    numbers = ("duration_s", "loudness_dbfs", *COVERAGES, "confidence", "word_error_rate")
    return read_table(path, texts, numbers, "mse quality")


def _segment_columns(facts: Sequence[Path]) -> pd.DataFrame:
    table = pd.concat([read_facts(path) for path in facts], ignore_index=True)
    table = table.rename(columns={"status": "segment", "message": "segment_message"})
    return table[["clip_id", "segment", "segment_message", "duration_s", "loudness_dbfs"]]


def _shard_columns(name: str, paths: Sequence[Path]) -> pd.DataFrame:
    """Status, message and the share of measured frames of each clip."""
    rows = []
    for path in paths:
        with Shard(path) as shard:
            for clip in shard:
                coverage = round(float(clip.valid.mean()), 4) if len(clip.valid) else 0.0
                rows.append((clip.clip_id, clip.status.name, clip.message, coverage))
    return pd.DataFrame(rows, columns=["clip_id", name, f"{name}_message", f"{name}_coverage"])


def _transcript_columns(paths: Sequence[Path]) -> pd.DataFrame:
    table = pd.concat([read_transcripts(path) for path in paths], ignore_index=True)
    names = {"status": "transcribe", "message": "transcribe_message", "text": "asr_text"}
    return table.rename(columns=names)[["clip_id", *names.values(), "confidence"]]


def _use(row: Any, by_asr: bool) -> str:
    if Status[row.segment] in LOST:
        return "unusable"
    heard = Status[row.acoustic].usable and row.acoustic_coverage > 0
    seen = Status[row.facial].usable and row.facial_coverage > 0
    text = row.asr_text if by_asr else row.text
    present = (heard, seen, bool(text))
    return "full" if all(present) else "partial" if any(present) else "unusable"


def word_error_rate(said: list[str], heard: list[str]) -> float:
    """Share of wrong words, without regard to case and punctuation; NaN where nothing was said."""
    import jiwer

    def words(text: str) -> str:
        return " ".join(re.findall(r"[\w']+", text.lower()))

    reference = [words(text) for text in said]
    if not any(reference):
        return float("nan")
    return round(float(jiwer.wer(reference, [words(text) for text in heard])), 4)


def _say_totals(table: pd.DataFrame) -> None:
    counts = table["use"].value_counts()
    say(f"{len(table)} clips: " + ", ".join(f"{counts.get(use, 0)} {use}" for use in ("full", "partial", "unusable")))
    looked = table[table["facial"].isin([s.name for s in Status if s.usable or s is Status.nothing_found])]
    if len(looked):
        share = np.average(looked["facial_coverage"], weights=looked["duration_s"])
        say(f"a face in {100 * share:.1f} % of the pictures of {len(looked)} clips")
    for row in table[table["message"] != ""].itertuples():
        say(f"{row.clip_id}: {row.use}: {row.message}")
    if "asr_text" in table and (table["text"] != "").any():
        both = table[table["text"] != ""]
        rate = word_error_rate(both["text"].tolist(), both["asr_text"].tolist())
        say(f"word error rate {100 * rate:.1f} % over {len(both)} clips")
