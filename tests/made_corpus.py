"""A small corpus of a face that speaks, and a recording beside it."""

from pathlib import Path

import numpy as np
import yaml

from mse import media

SPLITS = ["train", "train", "valid", "valid", "test", "test"]
PIECES = [(0.8, 3.0), (2.6, 5.4), (0.6, 3.4), (2.4, 5.6), (0.4, 3.2), (2.2, 5.5)]  # of the voice (seconds)


def make_corpus(folder: Path, frames: list[np.ndarray], voice: np.ndarray, task: object, labels: list[object]) -> None:
    """Six videos of a face that speaks, and one of a minute's worth of sentences beside the corpus."""
    (folder / "videos").mkdir(parents=True)
    rate = media.SAMPLE_RATE_HZ
    for number, (start_s, end_s) in enumerate(PIECES):
        sound = voice[round(start_s * rate) : round(end_s * rate)]
        media.write_video(
            folder / f"videos/clip{number}.mp4", [*frames, *frames[::-1]][: round(25 * (end_s - start_s))], sound, 25
        )
    rows = [f"clip{n},clip{n}.mp4,{label},{split}" for n, (label, split) in enumerate(zip(labels, SPLITS, strict=True))]
    (folder / "videos/clips.csv").write_text("\n".join(["clip_id,media,label,split", *rows]) + "\n")
    described = {
        "root": "videos",
        "tables": [{"file": "clips.csv"}],
        "columns": {"text": None, "label": "label"},
        "split": {"by": "split"},
        "text_from": "asr",
        "task": task,
        "prompt": "?",
    }
    (folder / "corpus.yaml").write_text(yaml.safe_dump(described))
    long = [*frames, *frames[::-1]] * (len(voice) // rate // 4 + 1)
    media.write_video(folder / "talk.mp4", long[: 25 * len(voice) // rate], voice, 25)
