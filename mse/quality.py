"""One row a clip: what became of it in each stage, and whether it can be used."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mse.atomic import replacing
from mse.corpus import read_excluded, read_manifest
from mse.extract import read_transcripts
from mse.progress import say
from mse.segment import read_facts
from mse.store import Shard, Status
from mse.tables import read_table

STAGES = ("segment", "acoustic", "facial", "transcribe")  # columns with a clip's status
MOST_TOLD = 100  # clips whose messages are shown
USES = ("full", "partial", "unusable", "excluded")
COVERAGES = ("acoustic_coverage", "facial_coverage")  # share of the clip's frames that was measured
# A clip whose sound stage ended so can be used at most through its text, which is no clip any more.
LOST = {Status.missing, Status.unreadable, Status.out_of_range, Status.too_short}


def make_quality(
    manifest: Path,
    facts: Sequence[Path],
    shards: Mapping[str, Sequence[Path]],
    transcripts: Sequence[Path],
    with_text: bool,
    out: Path,
) -> None:
    """Gather the status of every clip in every stage into quality.csv, and say the totals.

    Args:
        manifest: manifest.csv; excluded.csv lies beside it.
        facts: tables of `segment_shard`, one a shard; none where no recording was read.
        shards: for each modality that the corpus has (acoustic, facial) its shard files.
        transcripts: tables of `transcribe_shard`; none where the corpus's own text is used.
        with_text: whether the corpus has text at all.
        out: the table to write. `use` is full (every modality is there), partial (some are), unusable, or excluded.
    """
    table = read_manifest(manifest)[["clip_id", "media", "split", "shard", "text"]]
    if facts:
        table = table.merge(_segment_columns(facts), on="clip_id", how="left", validate="1:1")
    for name, paths in shards.items():
        table = table.merge(_shard_columns(name, paths), on="clip_id", how="left", validate="1:1")
    if transcripts:
        table = table.merge(_transcript_columns(transcripts), on="clip_id", how="left", validate="1:1")
        table["word_error_rate"] = [
            word_error_rate([said], [heard]) if said else np.nan
            for said, heard in zip(table["text"], table["asr_text"], strict=True)
        ]
    text = ("asr_text" if transcripts else "text") if with_text else None
    table["use"] = [_use(row, list(shards), text) for row in table.itertuples()]
    messages = table[[f"{stage}_message" for stage in STAGES if stage in table]]
    table["message"] = ["; ".join(dict.fromkeys(m for m in row if m)) for row in messages.itertuples(index=False)]
    table = table.drop(columns=messages.columns)
    excluded = read_excluded(manifest).rename(columns={"reason": "message"}).assign(use="excluded")
    table = pd.concat([table, excluded], ignore_index=True) if len(excluded) else table
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


def _use(row: Any, modalities: Sequence[str], text: str | None) -> str:
    """How much of a clip is there; `text` names the column that holds what was said, if the corpus has text."""
    if hasattr(row, "segment") and Status[row.segment] in LOST:
        return "unusable"
    present = [Status[getattr(row, m)].usable and getattr(row, f"{m}_coverage") > 0 for m in modalities]
    if text:
        present.append(bool(getattr(row, text)))
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
    say(f"{len(table)} clips: " + ", ".join(f"{counts.get(use, 0)} {use}" for use in USES))
    if "facial" in table and "duration_s" in table:
        looked = table[table["facial"].isin([s.name for s in Status if s.usable or s is Status.nothing_found])]
        if len(looked):
            share = np.average(looked["facial_coverage"], weights=looked["duration_s"])
            say(f"a face in {100 * share:.1f} % of the pictures of {len(looked)} clips")
    told = table[table["message"] != ""]
    for row in told.head(MOST_TOLD).itertuples():
        say(f"{row.clip_id}: {row.use}: {row.message}")
    if len(told) > MOST_TOLD:
        say(f"... and {len(told) - MOST_TOLD} more; quality.csv has them all")
    both = table[(table["text"] != "") & table["text"].notna()]
    if "asr_text" in table and len(both):
        rate = word_error_rate(both["text"].tolist(), both["asr_text"].tolist())
        say(f"word error rate {100 * rate:.1f} % over {len(both)} clips")
