"""A recording that can be opened but not decoded, or in part alone, costs its own rows, and no stage anything else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mse import media
from mse.browse.clips import Shown
from mse.browse.pictures import thumbnail
from mse.config import Cut, FacialSettings, OpenSmileSettings, SegmentSettings, TranscribeSettings
from mse.errors import UserError
from mse.extract import acoustic_shard, facial_shard
from mse.features.facial import FacialExtractor
from mse.features.speech import Recogniser, Transcript
from mse.rows import Window
from mse.segment import read_facts, segment_shard
from mse.store import Shard
from mse.transcribe import read_transcripts, transcribe_shard
from mse.utterances import cut_shard, read_utterances
from tests.conftest import ffmpeg

GOOD = "good.mp4"


def unknown_codec(name: bytes) -> Callable[[bytes], bytes]:
    """The header names a codec of sound that nobody has: it opens, and nothing can be decoded."""
    return lambda data: data.replace(name, name[:-2] + b"zz")


def noise_from(share: float) -> Callable[[bytes], bytes]:
    """Noise in place of all that follows, as after a card's failure."""

    def spoil(data: bytes) -> bytes:
        kept = round(len(data) * share)
        return data[:kept] + np.random.default_rng(0).bytes(len(data) - kept)

    return spoil


WAYS: dict[str, tuple[list[str], Callable[[bytes], bytes], str]] = {
    "codec.mov": (
        ["-c:v", "copy", "-c:a", "pcm_s16le"],
        unknown_codec(b"sowt"),
        "no sound in this file that can be decoded",
    ),
    "codec.mkv": (
        ["-c:v", "copy", "-c:a", "libopus"],
        unknown_codec(b"A_OPUS"),
        "no sound in this file that can be decoded",
    ),
    "half.mkv": (["-c:v", "copy", "-c:a", "libopus"], noise_from(0.5), "the rest was not cut"),
    "half.flac": (["-vn"], noise_from(0.5), "the rest was not cut"),
    "half.avi": (["-c:v", "mjpeg", "-c:a", "pcm_s16le"], noise_from(0.5), "the rest was not cut"),
    "text.mp4": (["-c", "copy"], lambda data: b"no video\n" * 99, "not readable as sound or video"),
}


def make_bad(folder: Path) -> None:
    """All WAYS out of the good recording in a folder."""
    for name, (options, spoil, _) in WAYS.items():
        ffmpeg("-i", folder / GOOD, *options, folder / name)
        (folder / name).write_bytes(spoil((folder / name).read_bytes()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, portrait_frames: list[np.ndarray], voice: np.ndarray) -> Path:
    """The good recording, in which three sentences are said, and all bad ones."""
    folder = tmp_path_factory.mktemp("recordings")
    small = [np.ascontiguousarray(frame[::2, ::2]) for frame in portrait_frames[::5]]
    pictures = [small[t % len(small)] for t in range(5 * len(voice) // media.SAMPLE_RATE_HZ)]
    media.write_video(folder / GOOD, pictures, voice, 5)
    make_bad(folder)
    return folder


@pytest.fixture(scope="module")
def recognise(models: Callable[[str], Path]) -> Recogniser:
    return Recogniser(TranscribeSettings(), models("whisper-tiny.en"), "en")


def cut(folder: Path, names: list[str], settings: Cut, recognise: Callable[..., Any] | None) -> pd.DataFrame:
    cut_shard(
        [Window(name, str(folder / name), np.nan, np.nan) for name in names], folder / "c.csv", settings, recognise
    )
    return read_utterances(folder / "c.csv")


@pytest.mark.parametrize("at", ["pauses", "sentences"])
def test_each_is_named_and_the_others_are_cut(folder: Path, recognise: Recogniser, at: str) -> None:
    settings = Cut(at=at)
    asked = recognise if at == "sentences" else None
    alone = cut(folder, [GOOD], settings, asked)
    assert len(alone) == (2 if at == "pauses" else 3) and not alone["message"].any()
    names = [*WAYS, GOOD]
    found = cut(folder, names, settings, asked)
    assert list(dict.fromkeys(found["recording"])) == names
    assert found[found["recording"] == GOOD].reset_index(drop=True).equals(alone)
    timed = found.dropna(subset=["start_s"])
    assert (timed["start_s"] < timed["end_s"]).all() and (timed["start_s"] >= 0).all()
    for name, (_, _, message) in WAYS.items():
        rows = found[found["recording"] == name]
        (why,) = rows["message"][rows["start_s"].isna()]
        assert message in why and str(folder / name) in why
        times = rows.dropna(subset=["start_s"])
        assert bool(len(times)) == name.startswith("half")  # its first sentence is kept, where it was said
        if len(times):
            assert times["start_s"].iloc[0] == pytest.approx(alone["start_s"].iloc[0], abs=0.1)
            assert times["end_s"].max() <= media.probe(folder / name).duration_s


def test_every_stage_names_them_and_describes_the_others(
    folder: Path, recognise: Recogniser, landmarker: Path, models: Callable[[str], Path]
) -> None:
    out = folder / "stages"
    clips = [Window(name, str(folder / name), np.nan, np.nan) for name in [*WAYS, GOOD]]
    segment_shard(clips, out / "sound.h5", out / "facts.csv", "d", SegmentSettings())
    acoustic_shard(out / "sound.h5", out / "acoustic.h5", OpenSmileSettings())
    settings = FacialSettings(rate_hz=5, small_faces=False)
    facial_shard(out / "facts.csv", out / "sound.h5", out / "facial.h5", "d", settings, landmarker)
    transcribe_shard(out / "sound.h5", out / "said.csv", "en", TranscribeSettings(), models("whisper-tiny.en"))
    facts = {row.clip_id: row for row in read_facts(out / "facts.csv")}
    said = read_transcripts(out / "said.csv").set_index("clip_id")
    for name in WAYS:
        expected = "cut" if name.startswith("half") else "no_stream" if name.startswith("codec") else "unreadable"
        assert facts[name].status == said.loc[name, "status"] == expected
        assert name in facts[name].message and name in said.loc[name, "message"]
    assert facts[GOOD].status == said.loc[GOOD, "status"] == "ok" and "film" in said.loc[GOOD, "text"]
    for part in ("acoustic", "facial"):
        with Shard(out / f"{part}.h5") as shard:
            status = {clip.clip_id: clip.status.name for clip in shard}
        assert list(status) == list(facts) and status[GOOD] == "ok" and status["text.mp4"] == "unreadable"


def test_a_recogniser_that_stumbles_over_one_recording(folder: Path, recognise: Recogniser) -> None:
    """Its recording is cut at pauses alone, and told; one that fails every time is no recording's fault."""

    def stumble(samples: np.ndarray) -> Transcript:
        if len(samples) > 4 * media.SAMPLE_RATE_HZ:
            raise ZeroDivisionError("no such frame")
        return recognise(samples)

    found = cut(folder, [GOOD, "half.flac"], Cut(at="sentences"), stumble)
    rows = found[found["recording"] == GOOD]
    assert len(rows) == 3 and rows["start_s"].notna().tolist() == [True, True, False]
    assert rows["message"].iloc[2].endswith("cut at pauses alone: speech recognition failed: no such frame")

    def fail(samples: np.ndarray) -> Transcript:
        raise MemoryError

    with pytest.raises(UserError, match=r"all 6 clips failed, the last with: .* MemoryError; nothing was kept"):
        cut(folder, [GOOD] * 3, Cut(at="sentences"), fail)


def test_a_library_that_stumbles_over_one_clip(folder: Path, landmarker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it raises, the clip is the one that is named."""
    out = folder / "stumble"
    clips = [Window(f"{end_s:g}", str(folder / GOOD), 0, end_s) for end_s in (1.0, 2.0, 1.5)]
    segment_shard(clips, out / "sound.h5", out / "facts.csv", "d", SegmentSettings())
    describe = FacialExtractor.describe

    def stumble(self: FacialExtractor, seen: Any) -> Any:
        values, valid = describe(self, seen)
        if len(values) == 10:
            raise AttributeError("no such landmark")
        return values, valid

    monkeypatch.setattr(FacialExtractor, "describe", stumble)
    settings = FacialSettings(rate_hz=5, small_faces=False)
    facial_shard(out / "facts.csv", out / "sound.h5", out / "facial.h5", "d", settings, landmarker)
    with Shard(out / "facial.h5") as shard:
        found = {clip.clip_id: (clip.status.name, clip.message) for clip in shard}
    assert found["1"] == found["1.5"] == ("ok", "")
    assert found["2"][0] == "failed" and found["2"][1].endswith(f"{GOOD}: mediapipe-face: no such landmark")


def test_a_page_goes_on_without_their_pictures(folder: Path) -> None:
    shown = {name: thumbnail(Shown(name, {}, 0.0, folder / name, (0.5, 1.5))) for name in [*WAYS, GOOD]}
    assert shown[GOOD].startswith("data:image/webp") and shown["codec.mov"].startswith("data:image/webp")
    assert shown["text.mp4"] == shown["half.flac"] == ""
