"""One row a clip: what became of it in each stage, how good it is, and whether it can be used."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from mse.atomic import replacing
from mse.config import QualitySettings
from mse.corpus import read_excluded, read_manifest
from mse.errors import UserError
from mse.progress import say
from mse.rows import require_last_line
from mse.sealed import ANEW
from mse.segment import Facts, read_facts
from mse.store import Shard, Status
from mse.tables import read_table
from mse.transcribe import read_transcripts
from mse.wer import count_words, word_error_rate

STAGES = ("segment", "acoustic", "facial", "transcribe")  # columns with a clip's status
MOST_TOLD = 100  # clips whose messages are shown
USES = ("full", "partial", "unusable", "excluded")
COVERAGES = ("acoustic_coverage", "facial_coverage")  # share of the clip's frames that was measured
SOUND = ("duration_s", "loudness_dbfs", "clipping", "snr_db")  # of the table that `segment_shard` writes
FACE = ("faces", "speaking")  # of the facial shards
SPEECH = ("asr_confidence", "speech_rate", "word_error_rate")
# A clip whose sound stage ended so can be used at most through its text, which is no clip any more.
LOST = {Status.missing, Status.unreadable, Status.out_of_range, Status.too_short}
# Each limit: what it makes unfit, the column that it looks at, and whether less of that is worse.
LIMITS = {
    "min_loudness_dbfs": ("acoustic", "loudness_dbfs", True),
    "max_clipping": ("acoustic", "clipping", False),
    "min_snr_db": ("acoustic", "snr_db", True),
    "min_face_share": ("facial", "facial_coverage", True),
    "min_speaking": ("facial", "speaking", True),
    "min_asr_confidence": ("text", "asr_confidence", True),
}
TextFrom = Literal["corpus", "asr", "none"]


def make_quality(
    manifest: Path,
    facts: Sequence[Path],
    shards: Mapping[str, Sequence[Path]],
    transcripts: Sequence[Path],
    text_from: TextFrom,
    out: Path,
    language: str = "en",
    settings: QualitySettings | None = None,
) -> None:
    """Gather the status and the quality of every clip in every stage into quality.csv, and say the totals.

    Args:
        manifest: manifest.csv; excluded.csv lies beside it.
        facts: tables of `segment_shard`, one a shard; none where no recording was read.
        shards: for each set of features (MODALITY/NAME, or MODALITY where it has no other) its shard files.
        transcripts: tables of `transcribe_shard`; none where no speech was recognised.
        text_from: whose text is used.
        out: the table to write. `use` is full (every modality is there and fit), partial (some are), unusable, or
            excluded; `unfit` names modalities that are there and not used, by the limits in settings.
        language: what is spoken, for rates of words.
        settings: the limits.
    """
    settings = settings or QualitySettings()
    table = read_manifest(manifest)[["clip_id", "media", "split", "shard", "text"]]
    shard_of = dict(zip(table["clip_id"], table["shard"], strict=True))
    parts = [_whole(_segment_columns(facts), shard_of, facts)] if facts else []
    parts += _modality_columns(shards, shard_of)
    if transcripts:
        parts.append(_whole(_transcript_columns(transcripts, language), shard_of, transcripts))
    for part in parts:
        try:
            table = table.merge(part, on="clip_id", how="left", validate="1:1")
        except pd.errors.MergeError as e:
            twice = [*table["clip_id"][table["clip_id"].duplicated()], *part["clip_id"][part["clip_id"].duplicated()]]
            raise UserError(
                f"{manifest}: the clip {twice[0]!r} stands twice in it or in what was made of it; make them anew"
            ) from e
    if transcripts:
        table["word_error_rate"] = [
            word_error_rate([said], [heard], language) if said and listened else np.nan
            for said, heard, listened in zip(table["text"], table["asr_text"], _listened(table), strict=True)
        ]
    if text_from != "asr":  # the corpus's own text is used whatever was recognised
        settings = settings.model_copy(update={"min_asr_confidence": None})
    judged = [_judged(row, settings) for row in table.to_dict("records")]
    table["unfit"] = [" ".join(dict.fromkeys(modality for modality, _ in found)) for found in judged]
    table["limits_message"] = ["; ".join(why for _, why in found) for found in judged]
    modalities = list(dict.fromkeys(name.partition("/")[0] for name in shards))
    text = {"asr": "asr_text", "corpus": "text", "none": None}[text_from]
    table["use"] = [_use(row, modalities, text) for row in table.to_dict("records")]
    messages = table[[name for name in table if name.endswith("_message")]]
    table["message"] = [_join_messages(row) for row in messages.itertuples(index=False)]
    table = table.drop(columns=messages.columns)
    excluded = read_excluded(manifest).rename(columns={"reason": "message"}).assign(use="excluded")
    table = pd.concat([table, excluded], ignore_index=True) if len(excluded) else table
    with replacing(out) as partial:
        table.to_csv(partial, index=False)
    _say_totals(table, language)


def _join_messages(messages: Iterable[str]) -> str:
    """Join the stages' messages; what several of them say appears once."""
    return "; ".join(dict.fromkeys(part for message in messages if message for part in message.split("; ")))


def read_quality(path: Path) -> pd.DataFrame:
    """Read quality.csv; texts stay texts.

    Raises:
        UserError: missing, no such table, cut off, or a clip's use is none.
    """
    if path.is_file():
        require_last_line(path, "mse quality")
    texts = ("clip_id", "media", "split", "shard", "text", "asr_text", "asr_language", "use", "unfit", "message")
    numbers = (*SOUND, *COVERAGES, *FACE, *SPEECH)
    table = read_table(path, (*texts, *STAGES), numbers, "mse quality", required=("use",))
    odd = table[~table["use"].isin(USES)]
    if len(odd):
        raise UserError(
            f"{path}: use of {odd['clip_id'].iloc[0]!r} is {odd['use'].iloc[0]!r}, expected one of {', '.join(USES)}; "
            "`mse quality` makes it anew"
        )
    return table


def unfit(judged: pd.DataFrame, modality: str) -> "pd.Series[bool]":
    """For each row of quality.csv, whether a modality (acoustic, facial, text) is there but not to be used."""
    if "unfit" not in judged:
        return pd.Series(False, judged.index)
    return judged["unfit"].fillna("").map(lambda names: modality in names.split())


def _whole(table: pd.DataFrame, shard_of: Mapping[str, str], paths: Sequence[Path]) -> pd.DataFrame:
    """The rows of some files, if they are one for each clip of the manifest, and of no other clip."""
    found = Counter(table["clip_id"])
    odd = [*(clip for clip in shard_of if found[clip] != 1), *(clip for clip in found if clip not in shard_of)]
    if odd:
        where = f"shard {shard_of[odd[0]]}" if odd[0] in shard_of else "not in the manifest"
        raise UserError(
            f"{paths[0].parent}: {found[odd[0]]} rows of the clip {odd[0]!r} ({where}; {len(odd)} such clips in all), "
            f"expected one for each clip of the manifest; a file there is cut off or another's: {ANEW}"
        )
    return table


def _segment_columns(facts: Sequence[Path]) -> pd.DataFrame:
    table = pd.DataFrame([row for path in facts for row in read_facts(path)], columns=Facts._fields)
    table = table.rename(columns={"status": "segment", "message": "segment_message"})
    return table[["clip_id", "segment", "segment_message", *SOUND]]


def _modality_columns(shards: Mapping[str, Sequence[Path]], shard_of: Mapping[str, str]) -> list[pd.DataFrame]:
    """Status, message and coverage of each modality; of one with several sets the best, and each set's beside it."""
    parts = []
    for modality in dict.fromkeys(name.partition("/")[0] for name in shards):
        sets = {name.replace("/", "_"): paths for name, paths in shards.items() if name.partition("/")[0] == modality}
        tables = {name: _whole(_shard_columns(paths, modality), shard_of, paths) for name, paths in sets.items()}
        every = pd.concat(tables.values(), ignore_index=True)
        order = every.assign(usable=[Status[status].usable for status in every["status"]])
        best = order.sort_values(["usable", "coverage"], kind="stable").drop_duplicates("clip_id", keep="last")
        told = every.groupby("clip_id")["message"].agg(_join_messages)
        best = best.drop(columns="usable").assign(message=best["clip_id"].map(told))
        parts.append(_named(best, modality))
        if len(tables) > 1:
            parts += [_named(table[["clip_id", "status", "coverage"]], name) for name, table in tables.items()]
    return parts


def _named(table: pd.DataFrame, name: str) -> pd.DataFrame:
    return table.rename(columns={"status": name, "message": f"{name}_message", "coverage": f"{name}_coverage"})


def _shard_columns(paths: Sequence[Path], modality: str) -> pd.DataFrame:
    """Status, message, the share of measured frames and the facts of each clip."""
    rows = []
    for path in paths:
        with Shard(path) as shard:
            shard.require(modality)
            for clip in shard:
                coverage = round(float(clip.valid.mean()), 4) if len(clip.valid) else 0.0
                row = {"clip_id": clip.clip_id, "status": clip.status.name, "message": clip.message}
                rows.append({**row, "coverage": coverage, **{k: round(v, 4) for k, v in clip.facts.items()}})
    return pd.DataFrame(rows, columns=None if rows else ["clip_id", "status", "message", "coverage"])


def _transcript_columns(paths: Sequence[Path], language: str) -> pd.DataFrame:
    table = pd.concat([read_transcripts(path) for path in paths], ignore_index=True)
    table["speech_rate"] = [_speech_rate(row, language) for row in table.to_dict("records")]
    names = {"status": "transcribe", "message": "transcribe_message", "text": "asr_text", "language": "asr_language"}
    table = table.rename(columns={**names, "confidence": "asr_confidence"})
    return table[["clip_id", *names.values(), "asr_confidence", "speech_rate"]]


def _listened(table: pd.DataFrame) -> "pd.Series[bool]":
    """Whether a clip's sound was there to be recognised."""
    return table["transcribe"].isin([Status.ok.name, Status.cut.name, Status.nothing_found.name])


def _speech_rate(row: Mapping[str, Any], language: str) -> float:
    """Words (characters, where words are not set apart) a second, from the first word's start to the last one's end."""
    words = json.loads(row["words"]) if row["words"] else []
    length_s = words[-1]["end_s"] - words[0]["start_s"] if words else 0.0
    spoken = language if language != "auto" else row["language"]
    return round(count_words(row["text"], spoken) / length_s, 3) if length_s > 0 else float("nan")


def _judged(row: Mapping[str, Any], settings: QualitySettings) -> list[tuple[str, str]]:
    """Each limit that a clip does not keep: what it makes unfit, and why. What is not known keeps every limit."""
    found = []
    for key, (modality, column, less_is_worse) in LIMITS.items():
        limit, value = getattr(settings, key), row.get(column, np.nan)
        if limit is None or pd.isna(value):
            continue
        if (value < limit) if less_is_worse else (value > limit):
            found.append((modality, f"{modality} not used: {column} {value:g}, quality.{key} = {limit:g}"))
    return found


def _use(row: Mapping[str, Any], modalities: Sequence[str], text: str | None) -> str:
    """How much of a clip is there; `text` names the column that holds what was said, if the corpus has text."""
    if "segment" in row and Status[row["segment"]] in LOST:
        return "unusable"
    left_out = row["unfit"].split()
    present = [Status[row[name]].usable and row[f"{name}_coverage"] > 0 and name not in left_out for name in modalities]
    if text:
        present.append(bool(row[text]) and "text" not in left_out)
    return "full" if all(present) else "partial" if any(present) else "unusable"


def _say_totals(table: pd.DataFrame, language: str) -> None:
    counts = table["use"].value_counts()
    say(f"{len(table)} clips: " + ", ".join(f"{counts.get(use, 0)} {use}" for use in USES))
    if "facial" in table and "duration_s" in table:
        looked = table[table["facial"].isin([s.name for s in Status if s.usable or s is Status.nothing_found])]
        if len(looked):
            share = np.average(looked["facial_coverage"], weights=looked["duration_s"])
            say(f"a face in {100 * share:.1f} % of the pictures of {len(looked)} clips")
    told = table[table["message"].fillna("") != ""]
    for row in told.head(MOST_TOLD).itertuples():
        say(f"{row.clip_id}: {row.use}: {row.message}")
    if len(told) > MOST_TOLD:
        say(f"... and {len(told) - MOST_TOLD} more; quality.csv has them all")
    both = table[(table["text"] != "") & table["text"].notna()]
    if "asr_text" in table and len(both):
        both = both[_listened(both)]
        rate = word_error_rate(both["text"].tolist(), both["asr_text"].tolist(), language)
        say(f"word error rate {100 * rate:.1f} % over {len(both)} clips")
