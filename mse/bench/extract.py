"""Extraction beside a floor: the bare libraries on the same videos, from one run.

The floor is one process with nothing else in it: ffmpeg's command decodes at the same rate and size, FaceLandmarker
looks at those pictures, openSMILE hears the same samples. The whole is what a user runs: `mse segment`, `mse acoustic`
and `mse facial` on a shard, their start-up, the decoding of sound and writing of shards included.
"""

import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from mse import audio, media
from mse.corpus import MANIFEST_COLUMNS, write_manifest
from mse.errors import UserError
from mse.progress import say

POLL_S = 0.02  # how often memory is looked at
MSE = [sys.executable, "-c", "from mse.cli import main; main()"]  # this package's, whatever is on PATH
STAGES = ("segment", "acoustic", "facial")


@dataclass(frozen=True)
class Cost:
    """What something took.

    Attributes:
        cpu_s: CPU seconds of a process and all it started.
        wall_s: seconds by the clock.
        peak_gb: largest memory at any moment, of the process and all it started (resident, shared pages counted once
            a process).
    """

    cpu_s: float
    wall_s: float
    peak_gb: float


def bench_extract(
    videos: Sequence[Path], model: Path, rounds: int, clips: int = 1, cut_s: float | None = None, floor: bool = True
) -> pd.DataFrame:
    """Measure the floor and the whole in turns.

    Args:
        videos: each is a clip.
        model: face_landmarker.task.
        rounds: how often; medians are told.
        clips: videos are taken again and again until there are as many.
        cut_s: instead, each video is cut into clips of this length (seconds), the last of which may be shorter.
        floor: whether the floor is measured too, for the ratios.

    Returns:
        A row for the floor, for each stage, and for the whole: CPU and wall seconds for a second of video, peak memory
        in GB, and the CPU seconds as a ratio to the floor's.

    Raises:
        UserError: a video can't be read, or a stage failed.
    """
    chosen = [videos[index % len(videos)] for index in range(max(clips, len(videos)))]
    lengths_s = [media.probe(path).duration_s for path in chosen]
    length_s = sum(lengths_s)
    costs: dict[str, list[Cost]] = {}
    with tempfile.TemporaryDirectory() as folder:
        # A link for each, so that one which is taken again is decoded again.
        links = [Path(folder) / f"{number:05d}{path.suffix}" for number, path in enumerate(chosen)]
        for link, path in zip(links, chosen, strict=True):
            link.symlink_to(path.resolve())
        windows = _windows(links, lengths_s, cut_s)
        say(f"{len(windows)} clips, {sum(lengths_s):.0f} s of video")
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            if floor:
                costs.setdefault("floor", []).append(_floor(links, Path(folder), model))
            for stage, cost in _whole(windows, Path(folder), model).items():
                costs.setdefault(stage, []).append(cost)
    measures = []
    for what, found in costs.items():
        cpu_s = float(np.median([cost.cpu_s for cost in found]))
        measures.append(
            {
                "what": what,
                "CPU s a second": cpu_s / length_s,
                "wall s a second": float(np.median([cost.wall_s for cost in found])) / length_s,
                "peak memory (GB)": max(cost.peak_gb for cost in found),
                "ratio": float(np.median([c.cpu_s / f.cpu_s for c, f in zip(found, costs["floor"], strict=True)]))
                if floor
                else np.nan,
            }
        )
    return pd.DataFrame(measures)


def _windows(paths: Sequence[Path], lengths_s: Sequence[float], cut_s: float | None) -> pd.DataFrame:
    """A row a clip: media, start_s and end_s."""
    rows = [
        (str(path), start_s, min(start_s + (cut_s or end_s), end_s))
        for path, end_s in zip(paths, lengths_s, strict=True)
        for start_s in np.arange(0, end_s, cut_s or end_s)
    ]
    return pd.DataFrame(rows, columns=["media", "start_s", "end_s"])


def _whole(windows: pd.DataFrame, folder: Path, model: Path) -> dict[str, Cost]:
    """Each stage as a command of its own, and their sum."""
    clips = windows.assign(clip_id=[f"clip{number:05d}" for number in range(len(windows))])
    clips = clips.assign(split="test", speaker="", text="", label="", shard="0000")
    write_manifest(clips[MANIFEST_COLUMNS], pd.DataFrame({"clip_id": [], "reason": []}), folder / "manifest.csv")
    sound, facts = str(folder / "sound.h5"), str(folder / "facts.csv")
    faces = ["--out", str(folder / "facial.h5"), "--dataset", "bench", "--model", str(model)]
    manifest = [str(folder / "manifest.csv"), "--shard", "0000", "--dataset", "bench"]
    commands = {
        "segment": ["segment", *manifest, "--out", sound, "--facts", facts],
        "acoustic": ["acoustic", sound, "--out", str(folder / "acoustic.h5")],
        "facial": ["facial", facts, sound, *faces],
    }
    costs = {stage: measured([*MSE, *commands[stage]]) for stage in STAGES}
    parts = costs.values()
    whole = Cost(sum(c.cpu_s for c in parts), sum(c.wall_s for c in parts), max(c.peak_gb for c in parts))
    return {**costs, "whole": whole}


def _floor(videos: Sequence[Path], folder: Path, model: Path) -> Cost:
    """The bare libraries in a process of their own; the samples are there beforehand."""
    sounds = {path: folder / f"{number}.npy" for number, path in enumerate(dict.fromkeys(videos))}
    for path, sound in sounds.items():
        if not sound.exists():
            np.save(sound, audio.read_audio(path))
    (folder / "work.json").write_text(json.dumps([[str(path), str(sounds[path])] for path in videos]))
    return measured([sys.executable, "-m", "mse.bench.floor", str(folder / "work.json"), str(model)])


def measured(command: Sequence[str]) -> Cost:
    """Run a command and tell what it took, with everything that it started.

    Raises:
        UserError: it failed.
    """
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, stdin=subprocess.DEVNULL)
        watch = _Watch(process.pid)
        failed = process.wait() != 0
        peak = watch.stop()
        if failed:
            said.seek(0)
            raise UserError(f"{' '.join(command)} failed: {said.read().decode(errors='replace').strip()[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(cpu_s, time.monotonic() - begun, peak / 1e9)


class _Watch:
    """Looks at the memory of a process and its descendants until it is stopped."""

    def __init__(self, pid: int) -> None:
        self._root, self._peak, self._over = psutil.Process(pid), 0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(POLL_S):
            held = 0
            try:
                for process in [self._root, *self._root.children(recursive=True)]:
                    held += process.memory_info().rss
            except psutil.Error:  # it ended while we looked
                continue
            self._peak = max(self._peak, held)

    def stop(self) -> int:
        """The most that was held, in bytes."""
        self._over.set()
        self._thread.join()
        return self._peak
