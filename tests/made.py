"""A made dataset.h5 with features that tell the label, without any recording."""

from pathlib import Path

import numpy as np
import pandas as pd

from mse.assemble import assemble
from mse.config import AssembleSettings, Columns, Dataset, Intensity
from mse.corpus import MANIFEST_COLUMNS
from mse.store import Clip, Description, Status, write_shard

WIDTHS = {"acoustic": 5, "facial": 6}
FRAMES = {"acoustic": 12, "facial": 8}


def make_dataset(folder: Path, clips: int = 40, first: int = 0, index: bool = True, learnable: bool = True) -> Path:
    """Write shards, manifest, quality.csv and dataset.h5; half of the clips train, the rest valid and test.

    The label is carried by the first feature of both modalities. Every clip's second facial frame is
    unmeasured, every clip number 3 + 10 k has no face, and the last feature is constant (facial: presence).
    Without `learnable` there is no task.
    """
    rng = np.random.default_rng(first)
    names = [f"clip{number:03d}" for number in range(first, first + clips)]
    splits = ["train", "valid", "train", "test"] * (clips // 4)
    labels = rng.uniform(-3, 3, clips).round(1)
    for modality, width in WIDTHS.items():
        made = Description("made", modality, [f"f{i}" for i in range(width)], 10.0)
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
        manifest = pd.DataFrame({"clip_id": names, "split": splits, "label": labels, "text": "it is so"})
        manifest = manifest.assign(media="x.mp4", start_s=np.nan, end_s=np.nan, speaker="S", shard="0000")
        manifest[MANIFEST_COLUMNS].to_csv(folder / "manifest.csv", index=False)
        quality = manifest[["clip_id", "split", "text"]].assign(use="full", message="", segment="ok")
        quality.to_csv(folder / "quality.csv", index=False)
        task = Intensity() if learnable else None
        columns = Columns(text="text", label="label")
        dataset = Dataset(root=folder, columns=columns, task=task, prompt="Answer:")
        shards = {modality: [folder / f"{modality}.h5"] for modality in WIDTHS}
        arguments = (folder / "manifest.csv", folder / "quality.csv", shards, folder / "dataset.h5")
        assemble("made", dataset, *arguments, AssembleSettings())
    return folder / "dataset.h5"
