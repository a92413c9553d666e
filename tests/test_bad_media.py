"""A tenth of a corpus is broken, in fifteen ways: the real workflow ends, names each clip, and uses all others."""

import math
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from mse import limits, media
from mse.audio import AudioReader, read_audio
from mse.config import FacialSettings, SegmentSettings
from mse.data import ClipDataset
from mse.extract import facial_shard
from mse.quality import read_quality
from mse.rows import Window
from mse.segment import read_facts, segment_shard
from mse.store import Clip, Shard
from mse.video import VideoReader
from tests.broken import WAYS, WHOLE
from tests.checkout import check_out, planned, snakemake
from tests.conftest import ffmpeg, tone

CLIPS = 150  # with one broken in each way
TABLE, INDEX = "work/bad/quality.csv", "work/bad/dataset.h5"
FEW_PICTURES = "facial={rate_hz: 5, small_faces: false, max_faces: 1}"
# Root reads files that nobody may read, unless it gives these two powers up.
AS_USER = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, portrait_frames: list[np.ndarray]) -> Path:
    """A folder with the clip of which all others are made."""
    folder = tmp_path_factory.mktemp("whole")
    small = [np.ascontiguousarray(frame[::2, ::2]) for frame in portrait_frames[:48:4]]
    media.write_video(folder / WHOLE, small, tone(1.2), 10)
    return folder


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, whole: Path, models: Callable[[str], Path]) -> Path:
    """A checkout in which quality.csv was made of the bad corpus."""
    models("face_landmarker")
    folder = tmp_path_factory.mktemp("bad media")
    check_out(folder)
    (folder / "data/bad").mkdir(parents=True)
    rows = ["clip_id,media,text"]
    for name, way in WAYS.items():
        file = folder / f"data/bad/{name}{way.ending}"
        way.make(whole, file)
        rows.append(f"{name},{file.name},some words")
    for number in range(CLIPS - len(WAYS)):
        os.link(whole / WHOLE, folder / f"data/bad/good {number}.mp4")
        rows.insert(1 + 7 * number % len(rows), f"good {number},good {number}.mp4,some words")
    (folder / "data/bad/clips.csv").write_text("\n".join(rows))
    described = {"tables": [{"file": "clips.csv"}], "columns": {"text": "text"}, "root": "data/bad", "shard_clips": 75}
    (folder / "config/datasets/bad.yaml").write_text(yaml.safe_dump(described))
    done = run(folder, TABLE)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    return folder


def run(folder: Path, target: str, *options: str, assemble: str = "{}") -> subprocess.CompletedProcess[str]:
    settings = ["--config", FEW_PICTURES, f"assemble={assemble}"]
    return snakemake(folder, *settings, *options, "--", target, before=AS_USER)


@pytest.mark.parametrize("name", WAYS)
def test_each_broken_clip_has_its_status_and_its_reason(ran: Path, name: str) -> None:
    row, way = read_quality(ran / TABLE).set_index("clip_id").loc[name], WAYS[name]
    found = (row["segment"], row["acoustic"], row["facial"], row["use"])
    assert found == (way.sound, way.acoustic, way.facial, way.use), row["message"]
    assert f"{name}{way.ending}: " in row["message"] and way.message in row["message"]


def test_all_others_are_used(ran: Path) -> None:
    quality = read_quality(ran / TABLE)
    good = quality[quality["clip_id"].str.startswith("good")]
    assert len(quality) == CLIPS and len(good) == CLIPS - len(WAYS)
    assert (good["use"] == "full").all() and (good["message"].fillna("") == "").all()
    assert (good["facial_coverage"] == 1).all() and (good["acoustic_coverage"] > 0.9).all()
    lost = sum(way.use == "unusable" for way in WAYS.values())
    done = run(ran, INDEX)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    with ClipDataset(ran / INDEX) as dataset:
        assert len(dataset) == CLIPS - lost and dataset.unusable == {"test": lost}
        read = [dataset[index] for index in range(len(dataset))]
    assert all(np.isfinite(clip.acoustic).all() and np.isfinite(clip.facial).all() for clip in read)
    present = {clip.clip_id: (len(clip.acoustic) > 0, len(clip.facial) > 0) for clip in read}
    assert present["sound only"] == (True, False) and present["picture only"] == (False, True)
    assert present["silence"] == (False, True) and present["corrupted"] == present["good 0"] == (True, True)


def test_too_many_stop_the_run_with_a_summary_and_cost_nothing(ran: Path) -> None:
    (ran / INDEX).unlink(missing_ok=True)
    kept = {path: path.read_bytes() for path in (ran / "work/bad").rglob("*") if path.is_file()}
    assert len(kept) > 2 * 4
    done = run(ran, INDEX, assemble="{max_bad_fraction: 0.02}")
    said = done.stdout + done.stderr
    assert done.returncode != 0 and "Traceback" not in said
    assert "7 of 150 clips are unusable (5 unreadable, 1 too_short, 1 missing), 4.7 %, more than" in said
    assert "assemble.max_bad_fraction = 0.02 allows. The first of them:" in said
    assert sum(f"  {name}: data/bad/" in said for name in WAYS) == 5
    assert "Mend or remove these clips, or raise the limit; finished features are kept." in said
    assert {path: path.read_bytes() for path in (ran / "work/bad").rglob("*") if path.is_file()} == kept
    assert planned(run(ran, INDEX, "-n")) == {"assemble": 1}


# --- decoders that hang ---


@pytest.fixture()
def soon(monkeypatch: pytest.MonkeyPatch) -> float:
    """A limit that a test can wait for."""
    monkeypatch.setattr(limits, "DECODE_S", 2.0)
    monkeypatch.setattr(limits, "DECODE_S_PER_S", 0.0)
    return 2.0


def stages(path: Path, out: Path, landmarker: Path) -> tuple[str, str, Clip]:
    """Status and message after segmenting, and the facial features."""
    segment_shard([Window("c", str(path), math.nan, math.nan)], out / "s.h5", out / "f.csv", "hang", SegmentSettings())
    facial_shard(out / "f.csv", out / "s.h5", out / "face.h5", "hang", FacialSettings(), landmarker)
    (row,) = read_facts(out / "f.csv")
    with Shard(out / "face.h5") as shard:
        return row.status, row.message, shard[0]


def with_hole(path: Path) -> Path:
    """The file, followed by a million million zeros that take no space on the disk, but hours to read."""
    os.truncate(path, 1 << 40)
    return path


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("pipe", "a folder, pipe or device"), ("device", "a folder, pipe or device"), ("folder", "a folder, pipe or")],
)
def test_what_never_ends_is_not_opened(tmp_path: Path, landmarker: Path, kind: str, reason: str) -> None:
    path = tmp_path / "clip.mp4"
    {"pipe": os.mkfifo, "device": lambda p: os.symlink("/dev/zero", p), "folder": os.mkdir}[kind](path)
    status, message, face = stages(path, tmp_path, landmarker)
    assert (status, face.status.name) == ("unreadable", "unreadable")
    assert f"{path}: {reason}" in message


def test_list_that_names_a_pipe_is_not_followed(tmp_path: Path, landmarker: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "clip.mp4").write_text("ffconcat version 1.0\nfile pipe\n")
    status, message, _ = stages(tmp_path / "clip.mp4", tmp_path, landmarker)
    assert status == "unreadable" and "clip.mp4: not readable as sound or video" in message


def test_pictures_that_never_come_are_given_up(tmp_path: Path, whole: Path, landmarker: Path, soon: float) -> None:
    """Raw H.264, then a hole: libav would read it to its end."""
    ffmpeg("-i", whole / WHOLE, "-an", "-c", "copy", tmp_path / "clip.h264")
    begun_s = time.monotonic()
    status, message, _ = stages(with_hole(tmp_path / "clip.h264"), tmp_path, landmarker)
    assert status == "unreadable" and f"clip.h264: given up: nothing came out of it for {soon:g} s" in message
    with reader(tmp_path) as pictures, pytest.raises(media.MediaError, match=r"given up: .* 2 s, the limit"):
        list(pictures.frames(0.0, 100.0))
    assert time.monotonic() - begun_s < 60


def reader(folder: Path) -> VideoReader:
    return VideoReader(folder / "clip.h264", 10.0)


def test_sound_that_never_comes_is_given_up(tmp_path: Path, whole: Path, landmarker: Path, soon: float) -> None:
    """MP3, then a hole, in which libav finds no more sound."""
    ffmpeg("-i", whole / WHOLE, "-vn", tmp_path / "clip.mp3")
    begun_s = time.monotonic()
    status, message, face = stages(with_hole(tmp_path / "clip.mp3"), tmp_path, landmarker)
    assert status == "unreadable" and f"clip.mp3: given up: nothing came out of it for {soon:g} s" in message
    assert face.status.name == "unreadable"
    for start_s in (0.0, 30.0):
        with pytest.raises(media.MediaError, match=r"clip\.mp3: given up: no packet came for 2 s, the limit"):
            read_audio(tmp_path / "clip.mp3", start_s, 60.0)
    assert time.monotonic() - begun_s < 60


def test_pictures_that_take_too_long_are_given_up_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten seconds of noise, which no codec makes small; a further window does not try again."""
    noise = [np.random.default_rng(n).integers(0, 255, (320, 320, 3), np.uint8) for n in range(10)]
    media.write_video(tmp_path / "n.mp4", noise * 25, tone(1), 25, crf=5)
    monkeypatch.setattr(limits, "DECODE_S_PER_S", 0.0)
    with VideoReader(tmp_path / "n.mp4", 10.0) as pictures:
        shown = pictures.frames(0.0, 10.0)
        next(shown)
        monkeypatch.setattr(limits, "DECODE_S", 0.05)
        with pytest.raises(media.MediaError, match=r"n\.mp4: given up: decoding took more than 0\.05 s, the limit for"):
            list(shown)
        begun_s = time.process_time()
        with pytest.raises(media.MediaError, match=r"n\.mp4: given up: decoding took more than 0\.05 s, the limit for"):
            next(pictures.frames(5.0, 6.0))
        assert time.process_time() - begun_s < 0.04


def test_busy_consumer_costs_a_decoder_nothing(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time in which pictures are looked at, or the job is stopped, is not the decoder's."""
    monkeypatch.setattr(limits, "DECODE_S", 0.5)
    monkeypatch.setattr(limits, "DECODE_S_PER_S", 0.0)
    with VideoReader(whole / WHOLE, 10.0) as pictures:
        for _ in pictures.frames(0.0, 1.2):
            time.sleep(0.1)
    for _ in AudioReader(whole / WHOLE).blocks(block_s=0.1):
        time.sleep(0.1)
