"""Features that others extracted and published as pickles, checked and written as a manifest and shards.

mmsa: one dict by split, each a dict of columns: id, raw_text, regression_labels, audio (N, T, D), audio_lengths, ...
records: a file a split, each a list of clips: {"label": ..., "features": {"text", "audio", "audio_len", ...}}.
Neither says how many frames there are a second, so the shards' rate is NaN.
"""

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mse.config import Classes, Dataset, Task
from mse.corpus import MANIFEST_COLUMNS, SPLITS, require_root, write_manifest
from mse.corpus.build import MISREAD
from mse.corpus.encoding import clean
from mse.errors import UserError
from mse.progress import say, track
from mse.store import Clip, Description, Status, versions, write_shard
from mse.unpickle import load

SHARD = "0000"
MOST_SHOWN = 5  # examples in a message
MOST_NESTED = 4  # lists around one value
KEYS = {"mmsa": {"acoustic": "audio", "facial": "vision"}, "records": {"acoustic": "audio", "facial": "video"}}

Frames = Sequence[npt.NDArray[Any]]  # of each clip (T, D), padded with zeros


@dataclass(frozen=True)
class Layout:
    """Where a file keeps what is wanted of it."""

    features: dict[str, str]  # the key of each modality
    label: str  # the key of the labels
    extra: dict[str, str]  # the key of each extra column of the manifest
    widths: dict[str, int] = field(default_factory=dict)  # features a frame by key, as the first clip has them


@dataclass(frozen=True)
class Part:
    """One split of what was released."""

    split: str
    clips: pd.DataFrame  # its rows of the manifest
    frames: dict[str, Frames]  # for each modality
    lengths: dict[str, list[int] | None]  # frames of each clip without padding; None where the file does not say


def import_released(name: str, dataset: Dataset, out: Path) -> None:
    """Write manifest.csv, excluded.csv and features/MODALITY/0000.h5 out of features that others extracted.

    What is not finite becomes NaN, the mark of what was not measured, and is counted.

    Args:
        name: the corpus's name.
        dataset: its description; `released` says where the features are.
        out: folder to write to.

    Raises:
        UserError: a file is missing, could run code, or is not what `released.format` says; nothing is written.
    """
    files, layout, parts, clips = _read(name, dataset)
    sources = {key: {"name": path.name, "sha256": _digest(path)} for key, path in files.items()}
    for modality, key in layout.features.items():
        made_by = f"released-{'mmsa' if 'all' in files else 'records'}"
        names = [f"{key}_{number:03d}" for number in range(layout.widths[key])]
        description = Description(name, modality, made_by, names, math.nan, settings=sources, versions=versions())
        unknown: dict[str, list[int]] = {}
        shard = track(_clips(parts, modality, unknown), f"import {modality}", len(clips))
        write_shard(out / "features" / modality / f"{SHARD}.h5", description, shard)
        for split, lost in unknown.items():
            say(f"{modality}: {sum(lost)} values in {len(lost)} clips of {split} were not finite; they are unknown")
    write_manifest(clips, pd.DataFrame(columns=["clip_id", "reason"]), out / "manifest.csv")
    counts = ", ".join(f"{count} {split}" for split, count in clips["split"].value_counts(sort=False).items())
    say(f"{len(clips)} clips ({counts})")


def released_clips(name: str, dataset: Dataset) -> pd.DataFrame:
    """The manifest that `import_released` would write, after the same checks.

    Raises:
        UserError: as `import_released`.
    """
    return _read(name, dataset)[-1]


def _read(name: str, dataset: Dataset) -> tuple[dict[str, Path], Layout, Callable[[], Iterator[Part]], pd.DataFrame]:
    """The files by their keys, what they hold, their splits, and the manifest."""
    files = _files(name, dataset)
    layout, parts = _mmsa(files["all"], dataset) if "all" in files else _records(files, dataset)
    # Unlike a loop, map lets go of a file before the next is opened.
    clips = pd.concat(map(attrgetter("clips"), parts()), ignore_index=True)
    twice = clips[clips["clip_id"].duplicated(keep=False)].groupby("clip_id", sort=False)["split"].agg(" and ".join)
    if len(twice):
        where = ", ".join(map(str, files.values()))
        shown = ", ".join(f"{clip!r} ({splits})" for clip, splits in twice.head(MOST_SHOWN).items())
        raise UserError(f"{where}: clip ids must be unique, but {len(twice)} stand there more than once: {shown}")
    return files, layout, parts, clips


def _files(name: str, dataset: Dataset) -> dict[str, Path]:
    """The files by their keys, after a look at what else the YAML file asks for."""
    if dataset.released is None:
        raise UserError(f"{name}: the corpus has no key `released`, so there are no features to import")
    unused = [key for key in ("exclude", "recode", "split", "cut") if getattr(dataset, key)]
    unused += ["text_from = 'asr'"] if dataset.text_from == "asr" else []
    unused += [f"columns.extra {column!r}" for column in dataset.columns.extra if column in MANIFEST_COLUMNS]
    if unused:
        raise UserError(f"{name}: {unused[0]} can't be had with released features, which are complete; leave it out")
    require_root(name, dataset)
    files: dict[str, Path] = {key: dataset.root / path for key, path in dataset.released.files.items()}
    for key, path in files.items():
        if not path.is_file():
            ask = f"; ask for it at {dataset.source}" if dataset.source else ""
            raise UserError(f"{path}: no such file, but released.files.{key} of the corpus {name} names it{ask}")
    return files


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _mmsa(path: Path, dataset: Dataset) -> tuple[Layout, Callable[[], Iterator[Part]]]:
    """The splits of one file, which stays in memory."""
    extra = {name: re.sub("^label_", "regression_labels_", name) for name in dataset.columns.extra}
    keys = {modality: key for modality, key in KEYS["mmsa"].items() if modality in set[str](dataset.modalities)}
    layout = Layout(keys, "annotations" if isinstance(dataset.task, Classes) else "regression_labels", extra)
    content = _Columns(load(path), str(path))
    found = [_part(_Columns(content[split], f"{path}: {split}"), split, layout, dataset) for split in SPLITS]
    return layout, lambda: iter(found)


def _records(files: dict[str, Path], dataset: Dataset) -> tuple[Layout, Callable[[], Iterator[Part]]]:
    """The splits of three files, each opened when it is its turn: together they may not fit into memory."""
    keys = {modality: key for modality, key in KEYS["records"].items() if modality in set[str](dataset.modalities)}
    layout = Layout(keys, "label", {name: name for name in dataset.columns.extra})
    outer = (["label"] if dataset.task else []) + dataset.columns.extra
    inner = {key: key for key in keys.values()} | ({"text": "raw_text"} if "text" in dataset.modalities else {})

    def columns(split: str) -> _Columns:
        """The list of clips turned into columns like those of the other format."""
        items = load(files[split])
        if not isinstance(items, list):
            raise UserError(f"{files[split]}: holds {_kind(items)}, expected a list of clips")
        found: dict[str, list[Any]] = {"id": []}
        for number, item in enumerate(items):
            clip = _Columns(item, f"{files[split]}: clip {number}")
            features = _Columns(clip["features"], f"{clip.where}: features")
            row = {"id": clip.content.get("id", f"{split}_{number:05d}")} | {key: clip[key] for key in outer}
            row |= {name: features[key] for key, name in inner.items()}
            row |= {f"{k}_lengths": features[f"{k}_len"] for k in inner if f"{k}_len" in features.content}
            for key, value in row.items():
                found.setdefault(key, []).append(value)
        return _Columns(found, str(files[split]))

    return layout, lambda: (_part(columns(split), split, layout, dataset) for split in SPLITS)


def _part(columns: "_Columns", split: str, layout: Layout, dataset: Dataset) -> Part:
    """Check the columns of a split."""
    ids = columns.texts("id")
    if not ids or not all(ids):
        raise UserError(f"{columns.where}: id {'is empty for a clip' if ids else 'names no clip'}; each needs a name")
    texts = columns.texts("raw_text", ids) if "text" in dataset.modalities else [""] * len(ids)
    facts = {
        "clip_id": ids,
        "text": [clean(text.translate(MISREAD)).strip() for text in texts],
        "label": _labels(columns, layout.label, ids, dataset.task) if dataset.task else [""] * len(ids),
        **{name: columns.texts(key, ids) for name, key in layout.extra.items()},
    }
    same = {"media": "", "start_s": math.nan, "end_s": math.nan, "speaker": "", "split": split, "shard": SHARD}
    part = Part(split, pd.DataFrame(facts).assign(**same)[[*MANIFEST_COLUMNS, *layout.extra]], {}, {})
    for modality, key in layout.features.items():
        part.frames[modality] = columns.frames(key, ids, layout.widths)
        part.lengths[modality] = columns.lengths(f"{key}_lengths", ids, part.frames[modality])
    return part


def _labels(columns: "_Columns", key: str, ids: list[str], task: Task) -> list[str]:
    """Intensities as numbers, classes as their names."""
    texts = columns.texts(key, ids)
    if isinstance(task, Classes):
        known = ", ".join(f"{name} ({'/'.join(values)})" for name, values in task.classes.items())
        legal, expected = [text in task.index_of for text in texts], f"means none of the classes: {known}"
    else:
        numbers = pd.to_numeric(pd.Series(texts), errors="coerce")
        legal = numbers.between(task.low, task.high).tolist()
        expected = f"is no intensity from {task.low:g} to {task.high:g}, the task's range"
    wrong = [f"{text!r} of {clip!r}" for text, clip, good in zip(texts, ids, legal, strict=True) if not good]
    if wrong:
        many = f"({len(wrong)} such clips in all)"
        raise UserError(f"{columns.where}: {key} = {', '.join(wrong[:MOST_SHOWN])} {many} {expected}")
    return [task.names[task.index_of[text]] for text in texts] if isinstance(task, Classes) else texts


class _Columns:
    """What should be a dict, by key, and each entry a value for each clip; `where` is for messages."""

    def __init__(self, content: Any, where: str) -> None:
        if not isinstance(content, dict):
            raise UserError(f"{where}: holds {_kind(content)}, expected a dict")
        self.content, self.where = content, where

    def __getitem__(self, key: str) -> Any:
        if key not in self.content:
            raise UserError(f"{self.where}: no key {key!r}; there is {', '.join(map(str, self.content)) or 'none'}")
        return self.content[key]

    def column(self, key: str, ids: list[str] | None) -> Sequence[Any]:
        """An entry with as many values as there are ids."""
        values = self[key]
        if not _is_sequence(values):
            raise UserError(f"{self.where}: {key} holds {_kind(values)}, expected a value for each clip")
        if ids is not None and len(values) != len(ids):
            raise UserError(f"{self.where}: {key} has {len(values)} entries, but there are {len(ids)} ids")
        return values

    def texts(self, key: str, ids: list[str] | None = None) -> list[str]:
        """Texts and numbers as they are written; of ids in several columns the first counts."""
        found = []
        for value in self.column(key, ids):
            for _ in range(MOST_NESTED):  # a list may hold itself
                if _is_sequence(value) and (len(value) == 1 or (key == "id" and len(value))):
                    value = value[0]
            text = _text(value)
            if text is None:
                raise UserError(f"{self.where}: {key} holds {_kind(value)} for a clip, expected one value")
            found.append(text)
        return found

    def frames(self, key: str, ids: list[str], widths: dict[str, int]) -> Frames:
        """Arrays of numbers (T, D), where D is the same for all clips of all splits."""
        clips = self.column(key, ids)
        for clip_id, clip in zip(ids, clips, strict=True):
            fits = isinstance(clip, np.ndarray) and clip.ndim == 2 and clip.dtype.kind in "fiu" and clip.shape[1] > 0
            if not fits or clip.shape[1] != widths.setdefault(key, clip.shape[1]):
                raise UserError(
                    f"{self.where}: {key} holds {_kind(clips)}, which for the clip {clip_id!r} is {_kind(clip)}; "
                    f"expected numbers of the shape (clips, frames, {widths.get(key, 'features')})"
                )
        return clips

    def lengths(self, key: str, ids: list[str], frames: Frames) -> list[int] | None:
        """How many frames of each clip are no padding; None where the file has no such key."""
        if key not in self.content:
            return None
        lengths = self.column(key, ids)
        for clip_id, length, clip in zip(ids, lengths, frames, strict=True):
            if not isinstance(length, int | np.integer) or not 0 <= length <= len(clip):
                wrong = f"{key} = {_kind(length) if _text(length) is None else repr(length)} for the clip {clip_id!r}"
                raise UserError(f"{self.where}: {wrong}; expected a number of frames from 0 to {len(clip)}")
        return [int(length) for length in lengths]


def _is_sequence(value: Any) -> bool:
    return isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _text(value: Any) -> str | None:
    """A text or a number as it is written, nothing for None and NaN; None for anything else, which may have no end."""
    value = value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
        return ""
    if isinstance(value, int) and abs(value) >= 1 << 63:  # Python writes none of over 4,300 digits
        return None
    return str(value) if isinstance(value, str | int | float | np.generic) else None


def _kind(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of the shape {value.shape} and the type {value.dtype}"
    return f"a {type(value).__name__}"


def _clips(parts: Callable[[], Iterator[Part]], modality: str, unknown: dict[str, list[int]]) -> Iterator[Clip]:
    """Clips without padding; for each split how many values of clips are not finite is added to `unknown`."""
    for part in parts():
        frames = part.frames[modality]
        spans = _spans(frames, part.lengths[modality])
        for clip_id, padded, (begin, end, odd) in zip(part.clips["clip_id"], frames, spans, strict=True):
            with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinite, and then unknown
                values = np.array(padded[begin:end], np.float32)
            finite = np.isfinite(values)
            values[~finite] = np.nan
            lost = values.size - int(finite.sum())
            if lost:
                unknown.setdefault(part.split, []).append(lost)
                odd = "; ".join(filter(None, [odd, f"{lost} values of {values.size} were not finite"]))
            valid = np.asarray(finite.any(axis=1))
            yield Clip(clip_id, values, valid, Status.ok if valid.any() else Status.nothing_found, odd)
        del part, frames, padded  # else two files would be in memory at once


def _spans(frames: Frames, lengths: list[int] | None) -> list[tuple[int, int, str]]:
    """Where each clip's frames begin and end between the padding, and what is odd about them.

    Padding lies behind the frames or before them, where the rows are all zero. Where both would do, since frames
    may be zero too, the side of most other clips counts. Without lengths all zeros at both ends are padding.
    """
    content = [np.flatnonzero((clip != 0).any(axis=1)) for clip in frames]
    held = [(int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, 0) for rows in content]
    if lengths is None:
        return [(*span, "" if span[1] else "all its frames are zero") for span in held]
    rows = list(zip(held, map(len, frames), lengths, strict=True))
    fits = [(last <= length, first >= padded - length) for (first, last), padded, length in rows]
    mostly_before = fits.count((False, True)) > fits.count((True, False))
    spans = []
    for ((first, last), padded, length), (behind, before) in zip(rows, fits, strict=True):
        if not last or not length:
            spans.append((0, 0, "all its frames are zero" if length else "the file says that it has no frames"))
        elif not behind and not before:
            spans.append((first, last, f"{last - first} frames are not zero, but its length is said to be {length}"))
        elif before and (mostly_before or not behind):
            spans.append((padded - length, padded, ""))
        else:
            spans.append((0, length, ""))
    return spans
