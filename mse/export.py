"""The assembled features as one pickle in the layout of MMSA, for its models, or of Self-MM's own repository.

Each split is a dict of columns; audio (N, T, D) and vision (N, T', D') hold what was measured, not normalised.
The column `text`, word vectors of some model, is not written: models read `text_bert` where use_bert is set.
"""

import pickle
import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mse.atomic import replacing
from mse.config import Classes, Task
from mse.corpus import SPLITS
from mse.data import ClipDataset, task_of
from mse.errors import UserError
from mse.progress import say, track

KEYS = {"acoustic": "audio", "facial": "vision"}
SIGNS = ("Negative", "Neutral", "Positive")
MOST_TOKENS = 50  # as in MMSA's own files


def export_mmsa(
    dataset_path: Path,
    out: Path,
    tokenizer: Path | None,
    max_frames: tuple[int, int] | None = None,
    layout: Literal["mmsa", "self-mm"] = "mmsa",
) -> None:
    """Write a pickle that the loaders of MMSA, or of Self-MM's repository, read.

    Args:
        dataset_path: dataset.h5.
        out: the pickle to write.
        tokenizer: folder of a BERT tokenizer for `text_bert` (N, 3, L); None leaves that column out.
        max_frames: most frames of sound and of pictures to keep of a clip; None keeps all of the longest.
        layout: MMSA, with the model Self-MM in it, wants ids as texts; Self-MM's own repository wants them in a
            column of an array, and other names for some columns.

    Raises:
        UserError: the corpus has no task, an extra label is no number, or the tokenizer is none of BERT's kind.
    """
    with ClipDataset(dataset_path) as dataset:
        task = task_of(dataset)
        content = {split: _labels(dataset, task, dataset.indices(split)) for split in SPLITS}
        limits = dict(zip(KEYS, max_frames or (None, None), strict=True))
        for modality, key in KEYS.items():
            for split, (values, lengths) in _features(dataset, modality, limits[modality]).items():
                content[split] |= {key: values, f"{key}_lengths": lengths}
    if tokenizer:
        for split, tokens in _tokens({split: content[split]["raw_text"] for split in SPLITS}, tokenizer).items():
            content[split]["text_bert"] = tokens
    else:
        say("no text_bert, since no tokenizer was given: models that read text with BERT can't use this file")
    if layout == "self-mm":
        for columns in content.values():
            columns |= _as_self_mm(columns)
    with replacing(out) as partial, partial.open("wb") as file:
        pickle.dump(content, file, protocol=4)  # read by every Python since 3.4
    say(", ".join(f"{len(columns['id'])} {split}" for split, columns in content.items()) + f" clips in {out}")


def _labels(dataset: ClipDataset, task: Task, indices: list[int]) -> dict[str, Any]:
    """Every column of a split but the features; a class's label is its place in the order."""
    labels = dataset.labels[indices]
    if isinstance(task, Classes):
        names, numbers = task.names, labels.astype(np.int64)
    else:
        names, numbers = list(SIGNS), np.sign(labels).astype(np.int64) + 1
    columns: dict[str, Any] = {
        "raw_text": [dataset.texts[index] for index in indices],
        "id": [dataset.clip_ids[index] for index in indices],
        "regression_labels": labels.astype(np.float32),
        "classification_labels": numbers.astype(np.float32),
        "annotations": [names[number] for number in numbers],
    }
    for name in [name for name in dataset.extra if re.fullmatch("label_[TAV]", name)]:
        values = [dataset.extra[name][index] or "nan" for index in indices]
        try:
            columns[f"regression_labels_{name[-1]}"] = np.array(values, np.float32)
        except ValueError as e:
            raise UserError(f"{dataset.path}: the extra column {name} must hold numbers: {e}") from e
    return columns


def _as_self_mm(columns: dict[str, Any]) -> dict[str, Any]:
    """What Self-MM's loader reads under other names: id, labels for mosi and mosei, all others for sims."""
    same = {"labels": "regression_labels", "label_M": "regression_labels", "feature_A": "audio", "feature_V": "vision"}
    same |= {f"label_{modality}": f"regression_labels_{modality}" for modality in "TAV"} | {"ids": "id"}
    named = {new: columns[old] for new, old in same.items() if old in columns}  # stored once, as the same object
    return named | {"id": np.array(columns["id"], dtype=np.str_).reshape(-1, 1)}


def _features(
    dataset: ClipDataset, modality: str, limit: int | None
) -> dict[str, tuple[npt.NDArray[np.float32], list[int]]]:
    """For each split (N, T, D), padded with zeros behind, and how many frames are real; T is the same for all.

    What was not measured is 0. A clip without frames gets one of zeros, because the loaders' models need one.
    """
    key = KEYS[modality]
    full = [len(dataset.raw(modality, index)) for index in track(range(len(dataset)), f"count {key}", len(dataset))]
    longest = min(max(full, default=0), limit or max(full, default=0))
    width = dataset.widths[modality]
    found = {}
    for split in SPLITS:
        indices = dataset.indices(split)
        # A modality that the corpus lacks is one zero a clip, because no layer can have no input.
        values = np.zeros((len(indices), max(longest, 1), max(width, 1)), np.float32)
        for row, index in enumerate(track(indices, f"{split} {key}", len(indices))):
            raw = dataset.raw(modality, index)[:longest]
            values[row, : len(raw), :width] = np.nan_to_num(raw, nan=0.0, posinf=0.0, neginf=0.0)
        found[split] = values, [min(max(full[index], 1), max(longest, 1)) for index in indices]
    none, cut = full.count(0), sum(length > longest for length in full)
    if none:
        say(f"{key}: {none} of {len(full)} clips have no frames; each gets one of zeros and the length 1")
    if cut:
        say(f"{key}: {cut} of {len(full)} clips are cut to {longest} frames")
    return found


def _tokens(texts: dict[str, list[str]], folder: Path) -> dict[str, npt.NDArray[np.float32]]:
    """For each split (N, 3, L): token numbers, 1 where there is one, and the number of the sentence, always 0."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, padding_side="right", local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError) as e:
        raise UserError(f"{folder}: no tokenizer ({e}); expected the folder of a BERT tokenizer") from e
    if tokenizer.cls_token is None or tokenizer.sep_token is None or tokenizer.pad_token is None:
        raise UserError(f"{folder}: a tokenizer without [CLS], [SEP] or [PAD]; expected one of BERT's kind")
    ids = {split: tokenizer(lines)["input_ids"] if lines else [] for split, lines in texts.items()}
    counts = [len(line) for lines in ids.values() for line in lines]
    length = min(max(counts, default=1), MOST_TOKENS)
    cut = sum(count > length for count in counts)
    if cut:
        say(f"text_bert: {cut} of {len(counts)} texts are cut to {length} tokens")
    found = {split: np.zeros((len(lines), 3, length), np.float32) for split, lines in texts.items()}
    for split, lines in texts.items():
        if lines:
            padded = tokenizer(lines, padding="max_length", truncation=True, max_length=length)
            found[split][:, :2] = np.stack([padded["input_ids"], padded["attention_mask"]], axis=1)
    return found
