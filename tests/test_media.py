"""Decoding: exact windows, even frame times, and messages that name the file."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mse import media
from tests.conftest import grey_frames, tone


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("media") / '-odd name: it\'s "2" s.mp4'
    media.write_video(path, grey_frames(2), tone(2), 25)
    return path


def test_probe(video: Path) -> None:
    info = media.probe(video)
    assert info.has_audio and info.has_video
    assert info.duration_s == pytest.approx(2.0, abs=0.1)


def test_audio_window_is_the_same_sound(video: Path) -> None:
    whole, part = media.read_audio(video), media.read_audio(video, 0.5, 1.25)
    assert len(part) == 12_000
    assert np.corrcoef(part, whole[8_000:20_000])[0, 1] > 0.99


def test_frames_keep_their_time(video: Path) -> None:
    frames = list(media.iter_frames(video, 10.0))
    assert len(frames) == 20
    # brightness 4 a frame, 25 frames a second: 100 a second, so frame t shows 10 t, give or take one source frame
    assert [frame.mean() for frame in frames] == pytest.approx([10 * t for t in range(20)], abs=6)


def test_frame_window_starts_at_its_start(video: Path) -> None:
    frames = list(media.iter_frames(video, 10.0, 1.0, 1.5, max_side_px=48))
    assert len(frames) == 5
    assert frames[0].shape == (48, 48, 3)
    assert frames[0].mean() == pytest.approx(100, abs=8)


def test_reader_may_stop_early(video: Path) -> None:
    frames = media.iter_frames(video, 25.0)
    assert next(frames).shape == (96, 96, 3)
    frames.close()


def test_pictures_are_never_enlarged_and_keep_their_shape(tmp_path: Path) -> None:
    media.write_video(tmp_path / "wide.mp4", [np.zeros((90, 160, 3), np.uint8)] * 5, tone(0.2), 25)
    assert next(media.iter_frames(tmp_path / "wide.mp4", 10.0)).shape == (90, 160, 3)
    assert next(media.iter_frames(tmp_path / "wide.mp4", 10.0, max_side_px=80)).shape == (45, 80, 3)


def test_writing_is_reproducible(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        media.write_video(tmp_path / name, grey_frames(0.4), tone(0.4), 25)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert not list(tmp_path.glob(".partial*"))


@pytest.mark.parametrize(
    ("name", "reason"),
    [("empty.mp4", "empty"), ("text.mp4", "not readable"), ("gone.mp4", "no such")],
)
def test_bad_files_are_named(corpus: Path, name: str, reason: str) -> None:
    with pytest.raises(media.MediaError, match=f"{name}.*{reason}"):
        media.probe(corpus / name)


def test_missing_streams_are_seen(corpus: Path) -> None:
    assert not media.probe(corpus / "no sound.mp4").has_audio
    assert not media.probe(corpus / "no picture.wav").has_video
    with pytest.raises(media.MediaError, match=r"no sound\.mp4: ffmpeg could not decode"):
        media.read_audio(corpus / "no sound.mp4")


def convert(source: Path, target: Path, **options: object) -> None:
    """Write a variant of a file with ffmpeg."""
    media.ffmpeg.input(f"file:{source}").output(f"file:{target}", **options).run(cmd=media.ffmpeg_path(), quiet=True)


def test_ten_bit_pictures(video: Path, tmp_path: Path) -> None:
    convert(video, tmp_path / "ten.mp4", pix_fmt="yuv420p10le", vcodec="libx264", an=None)
    frames = list(media.iter_frames(tmp_path / "ten.mp4", 10.0))
    assert len(frames) == 20 and frames[0].dtype == np.uint8
    assert frames[10].mean() == pytest.approx(100, abs=6)


def test_sound_that_starts_late_stays_on_the_clock(tmp_path: Path) -> None:
    media.write_video(tmp_path / "v.mp4", grey_frames(3), tone(2), 25)
    late = media.ffmpeg.output(
        media.ffmpeg.input(f"file:{tmp_path / 'v.mp4'}").video,
        media.ffmpeg.input(f"file:{tmp_path / 'v.mp4'}", itsoffset=0.5).audio,
        f"file:{tmp_path / 'late.mkv'}",
        c="copy",
    )
    late.run(cmd=media.ffmpeg_path(), quiet=True)
    for start_s, onset_s in ((None, 0.5), (0.2, 0.3)):
        loud = np.abs(media.read_audio(tmp_path / "late.mkv", start_s, 2.0).astype(int)) > 1000
        assert loud.argmax() / media.SAMPLE_RATE_HZ == pytest.approx(onset_s, abs=0.05)


def test_streamed_container_tells_its_length_by_its_packets(video: Path, tmp_path: Path) -> None:
    stream = media.ffmpeg.input(f"file:{video}").output("pipe:", format="matroska", c="copy")
    (tmp_path / "s.mkv").write_bytes(stream.run(cmd=media.ffmpeg_path(), quiet=True)[0])  # a pipe can't be rewound
    assert media.probe(tmp_path / "s.mkv").duration_s == pytest.approx(2.0, abs=0.1)


def test_a_failing_source_of_pictures_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> Iterator[np.ndarray]:
        yield from grey_frames(0.2)
        raise RuntimeError("camera unplugged")

    with pytest.raises(RuntimeError, match="unplugged"):
        media.write_video(tmp_path / "x.mp4", broken(), tone(0.2), 25)
    assert list(tmp_path.iterdir()) == []
