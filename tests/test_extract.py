"""Segmenting and extraction with the real tools, on good clips and bad ones."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import opensmile
import pandas as pd
import pytest

from mse.assemble import assemble
from mse.audio import read_audio
from mse.config import (
    AssembleSettings,
    Columns,
    Dataset,
    FacialSettings,
    OpenSmileSettings,
    SegmentSettings,
    Table,
    TranscribeSettings,
)
from mse.corpus import MANIFEST_COLUMNS, write_manifest
from mse.errors import UserError
from mse.extract import acoustic_shard, facial_shard
from mse.features.acoustic import OpenSmileExtractor, average_down
from mse.features.facial import FacialExtractor
from mse.quality import make_quality, read_quality
from mse.rows import read_shard
from mse.segment import read_facts, segment_shard
from mse.store import Shard, Status
from mse.transcribe import read_transcripts, transcribe_shard
from tests.conftest import tone

NONE_EXCLUDED = pd.DataFrame(columns=["clip_id", "reason"])

# clip id, file, start, end, and what must become of its sound and of its face
CLIPS = [
    ("good", "good.mp4", np.nan, np.nan, "ok", "ok"),
    ("part", "good.mp4", 0.5, 1.5, "ok", "ok"),
    ("beyond", "good.mp4", 1.0, 9.0, "cut", "ok"),
    ("after", "good.mp4", 5.0, 6.0, "out_of_range", "out_of_range"),
    ("blink", "good.mp4", 1.0, 1.05, "too_short", "too_short"),
    ("faceless", "no face.mp4", np.nan, np.nan, "ok", "nothing_found"),
    ("silent", "no sound.mp4", np.nan, np.nan, "no_stream", "ok"),
    ("unseen", "no picture.wav", np.nan, np.nan, "ok", "no_stream"),
    ("empty", "empty.mp4", np.nan, np.nan, "unreadable", "unreadable"),
    ("text", "text.mp4", np.nan, np.nan, "unreadable", "unreadable"),
    ("gone", "gone.mp4", np.nan, np.nan, "missing", "missing"),
    ("torn", "truncated.mp4", np.nan, np.nan, "cut", "cut"),
]


@pytest.fixture(scope="module")
def stages(
    corpus: Path, landmarker: Path, models: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """All stages up to quality.csv, run on CLIPS as one shard."""
    work = tmp_path_factory.mktemp("work")
    rows = [(c, str(corpus / f), s, e, "test", "", "some words", "", "0000") for c, f, s, e, *_ in CLIPS]
    clips = pd.DataFrame(rows, columns=MANIFEST_COLUMNS)
    write_manifest(clips, NONE_EXCLUDED, work / "manifest.csv")
    segment_shard(
        read_shard(work / "manifest.csv", "0000"), work / "sound.h5", work / "facts.csv", "bad", SegmentSettings()
    )
    acoustic_shard(work / "sound.h5", work / "acoustic.h5", OpenSmileSettings())
    facial_shard(work / "facts.csv", work / "sound.h5", work / "facial.h5", "bad", FacialSettings(), landmarker)
    transcribe_shard(
        work / "sound.h5", work / "said.csv", "en", TranscribeSettings(), models("whisper-tiny.en"), threads=2
    )
    tables = {name: [work / f"{name}.h5"] for name in ("acoustic", "facial")}
    make_quality(work / "manifest.csv", [work / "facts.csv"], tables, [work / "said.csv"], "asr", work / "quality.csv")
    return work


@pytest.mark.parametrize(("clip", "file", "start", "end", "sound", "face"), CLIPS)
def test_every_clip_gets_a_status(
    stages: Path, clip: str, file: str, start: float, end: float, sound: str, face: str
) -> None:
    row = read_quality(stages / "quality.csv").set_index("clip_id").loc[clip]
    assert (row["segment"], row["facial"]) == (sound, face)
    assert (file in row["message"]) == (not sound == face == "ok")
    lost = sound in ("missing", "unreadable", "out_of_range", "too_short")
    assert (row["use"] == "unusable") == lost


def test_windows_are_exact(stages: Path, corpus: Path) -> None:
    with Shard(stages / "sound.h5") as shard:
        lengths = {clip.clip_id: len(clip.values) for clip in shard}
        part = next(clip for clip in shard if clip.clip_id == "part").values[:, 0]
    assert lengths["part"] == 16_000
    assert lengths["beyond"] == pytest.approx(16_000, abs=1_600)  # what is there of it
    whole = read_audio(corpus / "good.mp4")
    assert np.array_equal(part, whole[8_000:24_000])
    facts = pd.DataFrame(read_facts(stages / "facts.csv")).set_index("clip_id")
    assert facts.loc["beyond", "end_s"] == pytest.approx(2.0, abs=0.1)


def test_frames_stay_on_the_clock(stages: Path) -> None:
    with Shard(stages / "facial.h5") as shard:
        clips = {clip.clip_id: clip for clip in shard}
        names, rate_hz = shard.description.feature_names, shard.description.rate_hz
    assert rate_hz == 10.0
    assert [len(clips[c].values) for c in ("good", "part", "faceless", "gone")] == [20, 10, 20, 0]
    assert clips["good"].valid.all() and not clips["faceless"].valid.any()
    present = names.index("face_present")
    assert clips["good"].values[:, present].all() and not clips["faceless"].values[:, present].any()
    assert np.isnan(np.delete(clips["faceless"].values, present, axis=1)).all()
    assert len(names) == 52 + 6 + 4 + 6 + 4 + 2
    smile = clips["good"].values[:, [names.index("mouth_smile_left"), names.index("mouth_smile_right")]]
    assert smile.mean() > 0.5  # the portrait smiles


def test_transcripts_have_a_row_a_clip(stages: Path) -> None:
    said = read_transcripts(stages / "said.csv")
    assert said["clip_id"].tolist() == [clip for clip, *_ in CLIPS]
    assert said.set_index("clip_id").loc["gone", "status"] == "missing"


def test_too_many_bad_clips_stop_the_run_with_a_summary(stages: Path, tmp_path: Path) -> None:
    tables = {name: [stages / f"{name}.h5"] for name in ("acoustic", "facial")}
    dataset = Dataset(root=Path("x"), tables=[Table(file="t.csv")], text_from="asr")
    with pytest.raises(UserError) as caught:
        assemble(
            "bad",
            dataset,
            stages / "manifest.csv",
            stages / "quality.csv",
            tables,
            tmp_path / "d.h5",
            AssembleSettings(max_bad_fraction=0.25),
        )
    assert "5 of 12 clips are unusable" in str(caught.value)
    assert "2 unreadable" in str(caught.value) and "empty.mp4" in str(caught.value)
    assert not (tmp_path / "d.h5").exists()


def test_corpus_of_nothing_but_missing_files_is_told_as_such(landmarker: Path, tmp_path: Path) -> None:
    rows = [(f"c{i}", "g" * 99 * i + "one.mp4", np.nan, np.nan, "test", "", "words", "", "0000") for i in range(3)]
    clips = pd.DataFrame(rows, columns=MANIFEST_COLUMNS)
    write_manifest(clips, NONE_EXCLUDED, tmp_path / "manifest.csv")
    segment_shard(
        read_shard(tmp_path / "manifest.csv", "0000"),
        tmp_path / "sound.h5",
        tmp_path / "facts.csv",
        "bad",
        SegmentSettings(),
    )
    acoustic_shard(tmp_path / "sound.h5", tmp_path / "acoustic.h5", OpenSmileSettings())
    sound = tmp_path / "sound.h5"
    facial_shard(tmp_path / "facts.csv", sound, tmp_path / "facial.h5", "bad", FacialSettings(), landmarker)
    tables = {name: [tmp_path / f"{name}.h5"] for name in ("acoustic", "facial")}
    make_quality(tmp_path / "manifest.csv", [tmp_path / "facts.csv"], tables, [], "corpus", tmp_path / "quality.csv")
    dataset = Dataset(root=Path("x"), tables=[Table(file="t.csv")], columns=Columns(text="text"))
    with pytest.raises(UserError, match=r"3 of 3 clips are unusable \(3 missing\)"):
        arguments = (tmp_path / "manifest.csv", tmp_path / "quality.csv", tables, tmp_path / "d.h5")
        assemble("bad", dataset, *arguments, AssembleSettings())


def test_acoustic_values_are_opensmiles_own() -> None:
    samples = tone(1.0)
    values, valid = OpenSmileExtractor(OpenSmileSettings(rate_hz=100))(samples)
    smile = opensmile.Smile(
        feature_set=opensmile.FeatureSet.eGeMAPSv02, feature_level=opensmile.FeatureLevel.LowLevelDescriptors
    )
    expected = smile.process_signal(samples.astype(np.float32) / 32768, 16_000).to_numpy(np.float32)
    np.testing.assert_array_equal(values[valid], expected[valid])
    lower, _ = OpenSmileExtractor(OpenSmileSettings(rate_hz=20))(samples)
    np.testing.assert_allclose(lower[3], expected[15:20].mean(axis=0), rtol=1e-5)


def test_averaging_leaves_out_what_is_not_finite() -> None:
    values = np.array([[1.0, 2.0], [3.0, np.nan], [np.inf, np.nan], [5.0, np.nan], [7.0, 8.0]], np.float32)
    means, valid = average_down(values, 100.0, 50.0)
    np.testing.assert_array_equal(means, [[2, 2], [5, np.nan], [7, 8]])
    assert valid.tolist() == [True, False, True]


def test_sound_too_short_for_a_descriptor_is_no_error() -> None:
    values, valid = OpenSmileExtractor(OpenSmileSettings())(tone(0.01))
    assert values.shape[1] == 25 and len(values) == len(valid)


def test_status_names_are_stable() -> None:
    """They stand in files; a new one goes to the end."""
    assert [s.name for s in Status] == [
        "ok", "cut", "missing", "unreadable", "no_stream", "out_of_range", "too_short", "nothing_found", "failed",
    ]  # fmt: skip


def test_missing_system_library_names_the_packages(landmarker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mediapipe.tasks.python import vision

    def unloadable(options: object) -> None:
        raise OSError("libEGL.so.1: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(vision.FaceLandmarker, "create_from_options", unloadable)
    with pytest.raises(UserError, match=r"libEGL\.so\.1: cannot open.*apt-get install libegl1 libgles2 libgl1"):
        FacialExtractor(FacialSettings(), landmarker)


def test_what_is_no_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.task").write_bytes(b"no model" * 100)
    with pytest.raises(UserError, match=r"x\.task: MediaPipe can't use this model"):
        FacialExtractor(FacialSettings(), tmp_path / "x.task")
    with pytest.raises(UserError, match=r"y\.task: no such file; `mse fetch face_landmarker`"):
        FacialExtractor(FacialSettings(), tmp_path / "y.task")
