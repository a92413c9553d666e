"""Recognise the words of one shard's clips: a table with a row a clip.

A clip whose words can't be recognised becomes a row with a status and a message; it never stops its shard.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, TypeAdapter, ValidationError

from mse.atomic import replacing
from mse.config import TranscribeSettings
from mse.errors import UserError, describe_error
from mse.features.speech import Recogniser, Transcript
from mse.progress import track
from mse.rows import require_last_line
from mse.store import Clip, Shard, Status, refuse_all_failed, require_status
from mse.tables import read_table


class _Word(BaseModel):
    """What is read of a recognised word."""

    text: str
    start_s: float
    end_s: float


WORDS = TypeAdapter(list[_Word])
COLUMNS = ("clip_id", "status", "message", "text", "language", "confidence", "words")


def transcribe_shard(
    segments: Path, out: Path, language: str, settings: TranscribeSettings, model: Path, threads: int = 1
) -> None:
    """Recognise the words of a shard's clips.

    Args:
        segments: shard file of PCM, as `segment_shard` writes it.
        out: CSV with one row a clip: status, message, text, language, confidence (mean probability of the words), and
            the words as JSON, each with text, start_s, end_s and probability. The message says what was left out.
        language: ISO 639-1 code of what is spoken, or `auto`.
        settings: beam, arithmetic and guards.
        model: folder of a Whisper model for CTranslate2.
        threads: CPU threads.
    """
    recognise = Recogniser(settings, model, language, threads)
    write_transcripts(segments, out, lambda clip: recognise(clip.values[:, 0]))


def write_transcripts(segments: Path, out: Path, said: Callable[[Clip], Transcript]) -> None:
    """Write the table of `transcribe_shard`.

    Args:
        segments: as there.
        out: likewise.
        said: tells what was said in a clip.
    """
    with Shard(segments) as shard:
        shard.require("sound")
        rows = [transcript_row(clip, said) for clip in track(shard, f"transcribe {segments.stem}", len(shard))]
    refuse_all_failed(((Status[row["status"]], row["message"]) for row in rows), str(segments))
    with replacing(out) as partial:
        pd.DataFrame(rows, columns=COLUMNS).to_csv(partial, index=False)


def read_transcripts(path: Path) -> pd.DataFrame:
    """Read the table that `transcribe_shard` writes.

    Raises:
        UserError: missing, no such table, cut off, or the words of a clip are not what they should be.
    """
    if path.is_file():
        require_last_line(path, "mse transcribe")
    texts = tuple(column for column in COLUMNS if column != "confidence")
    table = read_table(path, texts, ("confidence",), "mse transcribe", required=COLUMNS)
    for row in table.itertuples():
        require_status(row.status, f"{path}: {row.clip_id}", "mse transcribe")
        try:
            WORDS.validate_json(row.words or "[]")
        except ValidationError as e:
            raise UserError(
                f"{path}: words of {row.clip_id!r} are no list of words with their times ({e.error_count()} mistakes); "
                "`mse transcribe` makes it anew"
            ) from e
    return table


def transcript_row(clip: Clip, recognise: Callable[[Clip], Transcript]) -> dict[str, Any]:
    """A clip's row of the table.

    Args:
        clip: its sound as PCM, shape (N, 1), or why there is none.
        recognise: tells what was said in it.
    """
    row: dict[str, Any] = {"clip_id": clip.clip_id, "status": clip.status.name, "message": clip.message, "text": ""}
    if not clip.status.usable:
        return row
    try:
        said = recognise(clip)
    except Exception as e:  # whatever the recogniser stumbles over, the other clips of the shard are not to blame
        return row | {"status": Status.failed.name, "message": f"speech recognition failed: {describe_error(e)}"}
    notes = [clip.message, said.note]
    if not said.text:
        row["status"] = Status.nothing_found.name
        notes.append("" if said.note else "no words were recognised")
    return row | {
        "message": "; ".join(note for note in notes if note),
        "text": said.text,
        "language": said.language,
        "confidence": round(said.confidence, 4) if said.words else None,
        "words": json.dumps([asdict(word) for word in said.words], ensure_ascii=False),
    }
