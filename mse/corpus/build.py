"""Put each clip's facts together out of the corpus's rows, and say everything that is wrong with them."""

import hashlib
import math
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mse.config import Classes, Dataset, HashSplit, Intensity, Task, ValueSplit
from mse.corpus.manifest import MANIFEST_COLUMNS, SPLITS, deal
from mse.corpus.numbers import plain_numbers, seconds
from mse.corpus.recordings import find_recordings, is_below
from mse.corpus.sources import Row, read_rows
from mse.errors import UserError
from mse.progress import say
from mse.templates import Template

MOST_MISTAKES_SHOWN = 20
FIELDS = ("clip_id", "media", "start", "end", "speaker", "text", "label")
# Windows' punctuation, read by someone as Latin-1: the C1 control characters mean nothing in a text.
MISREAD = {code: bytes([code]).decode("cp1252", errors="ignore") or " " for code in range(0x80, 0xA0)}


@dataclass(frozen=True)
class Corpus:
    """A corpus that was read and found in order.

    Attributes:
        clips: table with MANIFEST_COLUMNS and the extra columns; a label is text, a class's its name.
        excluded: clip_id and reason of what the corpus's YAML leaves out.
        notes: what is allowed but looks odd.
    """

    clips: pd.DataFrame
    excluded: pd.DataFrame
    notes: list[str]


def require_root(name: str, dataset: Dataset) -> None:
    """Make sure that the corpus is there at all.

    Raises:
        UserError: its folder is missing; the message says where to ask for it and where to put it.
    """
    if not dataset.root.is_dir():
        ask = f" Ask for it at {dataset.source} (licence: {dataset.license or 'see there'})," if dataset.source else ""
        raise UserError(
            f"the corpus {name} is not here: no folder {dataset.root}.{ask}{' then p' if ask else ' P'}ut it there, "
            f"or say where it lies: `roots: {{{name}: /path}}` in config/config.yaml, "
            f"or --config 'roots={{{name}: /path}}'"
        )


def read_corpus(dataset: Dataset) -> Corpus:
    """Read a corpus's tables or file names, check every row, and deal the clips out to shards.

    Raises:
        UserError: every mistake at once, with its file, line, column, value and the choices.
    """
    notes: list[str] = []
    rows = [_recoded(row, dataset) for row in read_rows(dataset, notes)]
    _check_columns(rows, dataset)
    rows, excluded = _without_excluded(rows, dataset, notes)
    split_of = _splits(rows, dataset)
    clips = pd.DataFrame(
        [_facts(row, dataset) | {"split": split_of(row)} for row in rows], index=[row.origin for row in rows]
    )
    if dataset.needs_media:
        clips["media"] = find_recordings(dataset.root, list(clips["media"]), list(clips.index), notes)
    if isinstance(dataset.task, Intensity):
        clips["label"] = _plain_labels(clips["label"], dataset.task, notes)
    mistakes = _mistakes(clips, dataset)
    if mistakes:
        more = len(mistakes) - MOST_MISTAKES_SHOWN
        raise UserError("\n".join(mistakes[:MOST_MISTAKES_SHOWN]) + (f"\n... and {more} more" if more > 0 else ""))
    clips["start_s"] = [seconds(text) for text in clips["start"]]
    clips["end_s"] = [seconds(text) for text in clips["end"]]
    if isinstance(dataset.task, Classes):
        index_of, names = dataset.task.index_of, dataset.task.names
        clips["label"] = [names[index_of[value]] for value in clips["label"]]
    clips["media"] = [str(dataset.root / media) if media else "" for media in clips["media"]]
    # An hour of speech is worth many clips that are cut already.
    clips["shard"] = deal(clips["media"], max(1, dataset.shard_clips // 10) if dataset.cut else dataset.shard_clips)
    clips = clips[MANIFEST_COLUMNS].reset_index(drop=True)
    for name in dataset.columns.extra:
        clips[name] = [row.cells[name] for row in rows]
        if name.startswith("label_") and isinstance(dataset.task, Intensity):  # which are exported as numbers
            clips[name] = _plain_labels(clips[name], dataset.task, notes)
    return Corpus(clips, excluded, notes + _absent_media(clips, dataset))


def say_corpus(corpus: Corpus) -> None:
    """Say how many clips there are, what was left out, and what looks odd."""
    counts = ", ".join(f"{n} {split}" for split, n in corpus.clips["split"].value_counts(sort=False).items())
    say(f"{len(corpus.clips)} clips ({counts}) in {corpus.clips['shard'].nunique()} shards")
    for row in corpus.excluded.itertuples():
        say(f"excluded {row.clip_id}: {row.reason}")
    for note in corpus.notes:
        say(note)


def _recoded(row: Row, dataset: Dataset) -> Row:
    new = {column: swap.get(row.cells[column]) for column, swap in dataset.recode.items() if column in row.cells}
    changed = {column: value for column, value in new.items() if value is not None}
    return Row(row.source, row.place, {**row.cells, **changed})


def _templates(dataset: Dataset) -> dict[str, Template]:
    """Everything that takes from columns, by the key of the YAML file that asks for it."""
    asked = {f"columns.{field}": getattr(dataset.columns, field) for field in FIELDS}
    asked |= {f"exclude.{i}.where": exclusion.where for i, exclusion in enumerate(dataset.exclude)}
    if dataset.split:
        hashed = isinstance(dataset.split, HashSplit)
        asked["split.hash_of" if hashed else "split.by"] = _split_column(dataset.split)
    return {key: Template(text) for key, text in asked.items() if text is not None}


def _split_column(split: ValueSplit | HashSplit) -> str:
    return split.hash_of if isinstance(split, HashSplit) else split.by


def _check_columns(rows: list[Row], dataset: Dataset) -> None:
    """Every column that the YAML file names is in every table."""
    tables: dict[Path, Row] = {}
    for row in rows:
        tables.setdefault(row.source, row)
    wrong = []
    for source, row in tables.items():
        where = f"{source}: "
        has = f"{'a file gives' if dataset.files else 'the table has'} {', '.join(row.cells)}"
        for key, template in _templates(dataset).items():
            wrong += [
                f"{where}no column {name!r}, which {key} = {template.text!r} asks for; {has}"
                for name in template.columns
                if name not in row.cells
            ]
        wrong += [f"{where}no column {name!r} to recode; {has}" for name in dataset.recode if name not in row.cells]
        wrong += [
            f"{where}no column {name!r}, which columns.extra wants to keep; {has}"
            for name in dataset.columns.extra
            if name not in row.cells
        ]
    reserved = [name for name in dataset.columns.extra if name in MANIFEST_COLUMNS]
    wrong += [
        f"{dataset.root}: columns.extra: {name!r} is a column of the manifest itself; leave it out" for name in reserved
    ]
    if wrong:
        raise UserError("\n".join(wrong[:MOST_MISTAKES_SHOWN]))


def _without_excluded(rows: list[Row], dataset: Dataset, notes: list[str]) -> tuple[list[Row], pd.DataFrame]:
    """Rows that stay, and what was left out and why; exclusions that met nothing are noted."""
    clip_id = Template(dataset.columns.clip_id)
    rules = [(Template(e.where), set(e.values), e.reason) for e in dataset.exclude]
    met: Counter[tuple[int, str]] = Counter()
    kept, left_out = [], []
    for row in rows:
        reason = ""
        for number, (where, values, why) in enumerate(rules):
            value = where.fill(row.cells)
            if value in values:
                met[number, value] += 1
                reason = reason or why
        if reason:
            left_out.append((clip_id.fill(row.cells).strip(), reason))
        else:
            kept.append(row)
    notes += [
        f"exclude.{number}: no row has {where.text} = {value!r}"
        for number, (where, values, _) in enumerate(rules)
        for value in sorted(values)
        if not met[number, value]
    ]
    if not kept:
        raise UserError(f"{dataset.root}: `exclude` leaves no row of {len(rows)}")
    return kept, pd.DataFrame(left_out, columns=["clip_id", "reason"])


def _facts(row: Row, dataset: Dataset) -> dict[str, str]:
    """One clip's facts as text."""
    templates = {field: getattr(dataset.columns, field) for field in FIELDS}
    facts = {field: Template(text).fill(row.cells) if text else "" for field, text in templates.items()}
    facts["text"] = facts["text"].translate(MISREAD)
    return {field: text.strip() for field, text in facts.items()}


def _splits(rows: list[Row], dataset: Dataset) -> Callable[[Row], str]:
    """What tells a row's split; a value that is in none is told as it would stand in a message."""
    split = dataset.split
    if split is None:
        return lambda row: "test"
    column = Template(_split_column(split))
    if isinstance(split, HashSplit):
        drawn = _drawn({column.fill(row.cells).strip() for row in rows}, split)
        return lambda row: drawn[column.fill(row.cells).strip()]
    split_of = {value: name for name in SPLITS for value in getattr(split, name)}

    def listed(row: Row) -> str:
        value = column.fill(row.cells).strip()
        return split_of.get(value) or split.others or f"{split.by} = {value!r}"

    return listed


def _drawn(values: set[str], split: HashSplit) -> dict[str, str]:
    """A split for each value, by a number between 0 and 1 that its hash gives: so it stays when others come.

    Where few values leave a split empty, the one that was nearest to it goes there.
    """
    place = {
        v: int.from_bytes(hashlib.sha256(f"{split.seed}:{v}".encode()).digest()[:8], "big") / 2**64 for v in values
    }
    edges = {"test": (0.0, split.test), "valid": (split.test, split.test + split.valid)}
    edges["train"] = (split.test + split.valid, 1.0)
    drawn = {v: name for v in values for name, (low, high) in edges.items() if low <= place[v] < high}
    for name, (low, high) in edges.items():
        counts = Counter(drawn.values())
        spare = [v for v in values if counts[drawn[v]] > 1]
        if not counts[name] and high > low and spare:
            nearest = min(spare, key=lambda v: (max(low - place[v], place[v] - high), v))
            drawn[nearest] = name
    return drawn


def _plain_labels(labels: "pd.Series[str]", task: Intensity, notes: list[str]) -> list[str]:
    """Labels as programs write numbers; what is none, or may be two that the task allows, stays as it is."""
    plain = []
    changed = []
    for label in labels:
        allowed = [number for number in plain_numbers(label) if task.low <= float(number) <= task.high]
        plain.append(allowed[0] if len(allowed) == 1 else label)
        if plain[-1] != label:
            changed.append((label, plain[-1]))
    if changed:
        example = f"such as {changed[0][0]!r}, which is read as {changed[0][1]}"
        notes.append(f"{len(changed)} of {len(labels)} labels are written with a comma or another sign, {example}")
    return plain


def _absent_media(clips: pd.DataFrame, dataset: Dataset) -> list[str]:
    """A note on recordings that are not there.

    Raises:
        UserError: none is.
    """
    if not dataset.needs_media:
        return []
    paths = clips["media"].unique()
    absent = [path for path in paths if not os.path.isfile(path)]
    if len(absent) == len(paths):
        raise UserError(
            f"{dataset.root}: none of the {len(paths)} recordings is there (the first: {absent[0]}); unpack them, or "
            f"mend columns.media = {dataset.columns.media!r}"
        )
    return [f"{len(absent)} of {len(paths)} recordings are not there (the first: {absent[0]})"] if absent else []


def _mistakes(clips: pd.DataFrame, dataset: Dataset) -> list[str]:
    """What is wrong, row by row; the index holds where each row stands."""
    found: list[str] = []
    first: dict[str, str] = {}
    names = dataset.columns
    unlisted = ""  # why a clip may be in no split
    if isinstance(dataset.split, ValueSplit):
        listed = "; ".join(f"{s}: {', '.join(getattr(dataset.split, s))}" for s in SPLITS)
        unlisted = f"is in no split ({listed}), and split.others does not say where it goes"
    for row in clips.itertuples():
        origin = str(row.Index)

        def wrong(what: str, origin: str = origin, clip: str = row.clip_id) -> None:
            found.append(f"{origin} ({clip or 'no clip id'}): {what}")

        if not row.clip_id:
            wrong(f"{names.clip_id} is empty; each clip needs a name")
        elif row.clip_id in first:
            wrong(f"{names.clip_id} appears in {first[row.clip_id]} already; clip ids must be unique")
        first.setdefault(row.clip_id, origin)
        if dataset.needs_media and not row.media:
            wrong(f"{names.media} is empty; it must name the clip's file")
        elif not is_below(dataset.root, row.media):
            wrong(
                f"{names.media} = {row.media!r} leads out of the corpus's folder; its YAML's `root` must hold all media"
            )
        if row.split not in SPLITS:
            wrong(f"{row.split} {unlisted}")
        _check_times(row.start, row.end, names.start, names.end, wrong)
        if dataset.task:
            _check_label(row.label, dataset.task, names.label, wrong)
    if dataset.task:
        counts = clips["split"].value_counts()
        found += [
            f"{dataset.root}: no clip in the split {split!r}; a corpus with a task needs all three"
            for split in SPLITS
            if not counts.get(split, 0)
        ]
    return found


def _check_times(
    start: str, end: str, start_name: str | None, end_name: str | None, wrong: Callable[..., None]
) -> None:
    for name, text in ((start_name, start), (end_name, end)):
        if text and math.isnan(seconds(text)):
            wrong(f"{name} = {text!r} is no time; expected seconds or h:mm:ss,mmm")
    end_s = seconds(end)
    start_s = seconds(start) if start else 0.0
    if start_s >= end_s:
        wrong(f"the clip starts ({start or 0}) at or after its end ({end})")


def _check_label(text: str, task: Task, column: str | None, wrong: Callable[[str], None]) -> None:
    if isinstance(task, Classes):
        if text not in task.index_of:
            known = ", ".join(f"{name} ({'/'.join(values)})" for name, values in task.classes.items())
            wrong(f"{column} = {text!r} means none of the classes: {known}")
    elif len(plain_numbers(text)) > 1 and all(task.low <= float(n) <= task.high for n in plain_numbers(text)):
        wrong(f"{column} = {text!r} may be {' or '.join(plain_numbers(text))}; write it with a point")
    elif not plain_numbers(text):
        wrong(f"{column} = {text!r} is no number; expected an intensity from {task.low} to {task.high}")
    elif not task.low <= float(plain_numbers(text)[0]) <= task.high:
        wrong(f"{column} = {text} lies outside the task's range from {task.low} to {task.high}")


def label_value(label: str, task: Task | None) -> float:
    """A manifest's label as a number: the intensity, the class's place in the order, or NaN without a task."""
    if task is None or not label:
        return math.nan
    return float(label) if isinstance(task, Intensity) else float(task.names.index(label))
