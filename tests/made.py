"""A made dataset.h5 with features that tell the label, without any recording."""

import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mse.assemble import assemble
from mse.config import AssembleSettings, Classes, Columns, Dataset, Intensity, Table, Task
from mse.config.dataset import ModalityName
from mse.corpus import MANIFEST_COLUMNS, write_manifest
from mse.store import Clip, Description, Status, write_shard

LEARNED = Intensity()
WIDTHS = {"acoustic": 5, "facial": 6}
FRAMES = {"acoustic": 12, "facial": 8}


def make_dataset(
    folder: Path,
    clips: int = 40,
    first: int = 0,
    index: bool = True,
    task: Task | None = LEARNED,
    modalities: Sequence[ModalityName] = ("acoustic", "facial", "text"),
    text: str = "it is so",
) -> Path:
    """Write shards, manifest, quality.csv and dataset.h5; half of the clips train, the rest valid and test.

    The label is carried by the first feature of both modalities. Every clip's second facial frame is
    unmeasured, every clip number 3 + 10 k has no face, and the last feature is constant (facial: presence).
    Without a task there are labels but nothing to learn; classes are the label's sign.
    """
    rng = np.random.default_rng(first)
    names = [f"clip{number:03d}" for number in range(first, first + clips)]
    splits = ["train", "valid", "train", "test"] * (clips // 4)
    labels = rng.uniform(-3, 3, clips).round(1)
    for modality, width in WIDTHS.items():
        made = Description("made", modality, modality, [f"f{i}" for i in range(width)], 10.0)
        rows = []
        for number, (name, label) in enumerate(zip(names, labels, strict=True)):
            values = rng.normal(size=(FRAMES[modality] + number % 5, width)).astype(np.float32)
            values[:, 0] += 2 * label
            values[:, -1] = 1.0
            valid = np.ones(len(values), bool)
            if modality == "facial":
                values[1, :-1], values[1, -1], valid[1] = np.nan, 0.0, False
            absent = modality == "facial" and number % 10 == 3
            rows.append(Clip(name, values, valid, Status.nothing_found if absent else Status.ok))
        write_shard(folder / f"{modality}.h5", made, rows)
    if index:
        if isinstance(task, Classes):
            labels = np.array([task.names[int(label > 0)] for label in labels])
        manifest = pd.DataFrame({"clip_id": names, "split": splits, "label": labels, "text": text})
        manifest = manifest.assign(media="x.mp4", start_s=np.nan, end_s=np.nan, speaker="S", shard="0000")
        write_manifest(manifest[MANIFEST_COLUMNS], pd.DataFrame({"clip_id": [], "reason": []}), folder / "manifest.csv")
        quality = manifest[["clip_id", "split", "text"]].assign(use="full", message="", segment="ok")
        quality.to_csv(folder / "quality.csv", index=False)
        columns = Columns(text="text", label="label")
        tables = [Table(file="t.csv")]
        described = {"columns": columns, "task": task, "prompt": "Answer:", "modalities": list(modalities)}
        dataset = Dataset(root=folder, tables=tables, **described)
        shards = {modality: [folder / f"{modality}.h5"] for modality in WIDTHS if modality in modalities}
        arguments = (folder / "manifest.csv", folder / "quality.csv", shards, folder / "dataset.h5")
        assemble("made", dataset, *arguments, AssembleSettings())
    return folder / "dataset.h5"


def pickled(path: Path, content: object, protocol: int = 4) -> Path:
    """Write a pickle, or bytes that are (or pretend to be) one; its folder is made too. Returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol=protocol))
    return path
