"""Cutting sound: exact windows from one pass over a recording, in the manifest's order where that can be."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mse import media
from mse.audio import read_audio
from mse.config import SegmentSettings
from mse.loudness import loudness_dbfs
from mse.rows import Window
from mse.segment import SoundWindows, read_facts, segment_shard
from mse.store import Shard
from tests.conftest import grey_frames, tone


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("segment") / "long.mp4"
    media.write_video(path, grey_frames(20, 5), tone(20), 5)
    return path


def cut(
    recording: Path, windows: list[tuple[float, float]], folder: Path
) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """The sound of each clip, and the facts."""
    clips = [Window(f"{start:g}-{end:g}", str(recording), start, end) for start, end in windows]
    segment_shard(clips, folder / "sound.h5", folder / "facts.csv", "d", SegmentSettings())
    with Shard(folder / "sound.h5") as shard:
        return {clip.clip_id: clip.values[:, 0] for clip in shard}, pd.DataFrame(read_facts(folder / "facts.csv"))


def test_windows_are_slices_of_the_whole(recording: Path, tmp_path: Path) -> None:
    windows = [(1.0, 2.5), (1.0, 1.5), (2.0, 9.123), (3.3337, 4.0), (9.123, 20.0), (15.0, 16.0)]
    sound, facts = cut(recording, windows, tmp_path)
    whole = read_audio(recording, 1.0, 20.0)
    for (start_s, end_s), samples in zip(windows, sound.values(), strict=True):
        first, last = round((start_s - 1) * 16_000), round((end_s - 1) * 16_000)
        assert np.array_equal(samples, whole[first:last])
    assert facts["status"].eq("ok").all()
    assert facts["loudness_dbfs"].tolist() == [loudness_dbfs(samples) for samples in sound.values()]
    assert facts["clipping"].eq(0).all() and facts["snr_db"].dtype == float


@pytest.mark.parametrize(
    ("windows", "expected"),
    [
        ([(3.0, 4.0), (90.0, 91.0), (5.0, 6.0)], ["3-4", "90-91", "5-6"]),  # what can't be used keeps its place
        ([(5.0, 6.0), (90.0, 91.0), (3.0, 4.0)], ["3-4", "5-6", "90-91"]),
    ],
)
def test_clips_come_in_the_manifests_order_where_it_rises(
    recording: Path, tmp_path: Path, windows: list[tuple[float, float]], expected: list[str]
) -> None:
    sound, facts = cut(recording, windows, tmp_path)
    assert list(sound) == facts["clip_id"].tolist() == expected
    assert np.array_equal(sound["5-6"], read_audio(recording, 3.0, 6.0)[32_000:])


def test_no_more_sound_is_kept_than_the_clip_needs() -> None:
    def blocks() -> Iterator[np.ndarray]:
        for begin in range(0, 100 * 16_000, 8_000):
            yield np.arange(begin, begin + 8_000, dtype=np.int32)  # each sample tells its place

    sound = SoundWindows(blocks(), 10.0)
    for start_s in np.arange(10.0, 108.0, 3.7):
        samples = sound.window(start_s, start_s + 2.0)
        assert samples[0] == round((start_s - 10) * 16_000) and len(samples) == 32_000
        assert sum(len(block) for block in sound._kept) <= 32_000 + 2 * 8_000
    assert len(sound.window(109.5, 112.0)) == 8_000
    assert len(sound.window(111.0, 112.0)) == 0


@pytest.mark.parametrize(("start_s", "end_s"), [(1.8, 2.3), (7.7, 8.2), (3.9, 4.4), (1.3, 1.8)])
def test_a_clip_of_exactly_the_limits_is_whole(recording: Path, tmp_path: Path, start_s: float, end_s: float) -> None:
    """Times out of a table are not as far apart as they look: 1.8 - 1.3 is 0.5 only to the sixteenth figure."""
    clips = [Window("a", str(recording), start_s, end_s)]
    for limits in (SegmentSettings(min_s=0.5, max_s=10), SegmentSettings(min_s=0.1, max_s=0.5)):
        segment_shard(clips, tmp_path / "sound.h5", tmp_path / "facts.csv", "d", limits)
        (facts,) = read_facts(tmp_path / "facts.csv")
        assert (facts.status, facts.message) == ("ok", "")
        with Shard(tmp_path / "sound.h5") as shard:
            assert len(shard[0].values) == 8_000
    sample_s = 1 / 16_000
    segment_shard(
        [Window("a", str(recording), start_s, end_s - sample_s)],
        tmp_path / "sound.h5",
        tmp_path / "facts.csv",
        "d",
        SegmentSettings(min_s=0.5, max_s=10),
    )
    assert read_facts(tmp_path / "facts.csv")[0].status == "too_short"
