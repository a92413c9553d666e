"""Decoding: exact windows, even frame times, and messages that name the file."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from mse import media
from mse.audio import AudioReader, read_audio
from mse.video import VideoReader
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
    whole, part = read_audio(video), read_audio(video, 0.5, 1.25)
    assert len(part) == 12_000
    assert np.corrcoef(part, whole[8_000:20_000])[0, 1] > 0.99


def read_frames(path: Path, rate_hz: float, start_s: float, end_s: float, max_side_px: int = 1280) -> list[np.ndarray]:
    with VideoReader(path, rate_hz, max_side_px) as reader:
        return list(reader.frames(start_s, end_s))


def test_blocks_of_sound_are_the_whole(video: Path) -> None:
    blocks = list(AudioReader(video).blocks(0.25, 1.5, block_s=0.5))
    assert [len(block) for block in blocks] == [8_000, 8_000, 4_000]
    assert np.array_equal(np.concatenate(blocks), read_audio(video, 0.25, 1.5))


def test_frames_keep_their_time(video: Path) -> None:
    frames = read_frames(video, 10.0, 0.0, 2.0)
    assert len(frames) == 20
    # Brightness 4 a frame, 25 frames a second: 10 t at picture t. Every second picture lies between two frames.
    assert [frame.mean() for frame in frames] == pytest.approx([10 * t - 2 * (t % 2) for t in range(20)], abs=2)


def test_frame_window_starts_at_its_start(video: Path) -> None:
    frames = read_frames(video, 10.0, 1.0, 1.5, max_side_px=48)
    assert len(frames) == 5
    assert frames[0].shape == (48, 48, 3)
    assert frames[0].mean() == pytest.approx(100, abs=2)


@pytest.fixture(scope="module")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty seconds in which every picture is another: its number to the base of 28, left and right."""
    path = tmp_path_factory.mktemp("media") / "long.mp4"
    numbers = [np.array([i // 28, i % 28], np.uint8) for i in range(750)]
    media.write_video(path, [np.tile((9 * n).repeat(16)[:, None], (32, 1, 3)) for n in numbers], tone(30), 25)
    return path


@pytest.mark.parametrize("kind", ["mp4", "ts", "avi", "h264"])
def test_windows_do_not_depend_on_what_was_read_before(long_video: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"long.{kind}"
    convert(long_video, path, vcodec="copy", an=None)
    whole = read_frames(path, 10.0, 0.0, 30.0)
    assert len(whole) == pytest.approx(300, abs=1)
    assert len({frame.tobytes() for frame in whole}) == len(whole)
    windows = [(0, 20), (20, 25), (25, 40), (38, 41), (200, 203), (60, 62), (280, 299), (0, 2), (150, 151)]
    with VideoReader(path, 10.0) as reader:
        for first, last in windows:
            frames = list(reader.frames(first / 10, last / 10))
            assert len(frames) == last - first
            assert all(np.array_equal(a, b) for a, b in zip(frames, whole[first:last], strict=True))


def test_reader_may_stop_early(video: Path) -> None:
    def held_open() -> bool:
        return str(video) in [file.path for file in psutil.Process().open_files()]

    with VideoReader(video, 25.0) as reader:
        frames = reader.frames(0.0, 2.0)
        assert next(frames).shape == (96, 96, 3)
        frames.close()
        assert next(reader.frames(1.0, 2.0)).mean() == pytest.approx(100, abs=2)
        assert held_open()
    assert not held_open()


def test_more_threads_change_nothing(video: Path) -> None:
    with VideoReader(video, 10.0, threads=2) as reader:
        frames = list(reader.frames(0.0, 2.0))
    assert np.array_equal(np.stack(frames), np.stack(read_frames(video, 10.0, 0.0, 2.0)))


def test_windows_without_a_picture_are_named(video: Path, corpus: Path) -> None:
    with pytest.raises(media.MediaError, match=r"s\.mp4: no picture from 3 to 4 s .* \(the pictures end at 2 s\)"):
        read_frames(video, 10.0, 3.0, 4.0)
    with pytest.raises(media.MediaError, match=r"no picture\.wav: no picture in this file that can be decoded"):
        read_frames(corpus / "no picture.wav", 10.0, 0.0, 1.0)
    with pytest.raises(media.MediaError, match=r"text\.mp4: not readable"):
        read_frames(corpus / "text.mp4", 10.0, 0.0, 1.0)


def test_pictures_are_never_enlarged_and_keep_their_shape(tmp_path: Path) -> None:
    media.write_video(tmp_path / "wide.mp4", [np.zeros((90, 160, 3), np.uint8)] * 5, tone(0.2), 25)
    assert read_frames(tmp_path / "wide.mp4", 10.0, 0.0, 0.2)[0].shape == (90, 160, 3)
    assert read_frames(tmp_path / "wide.mp4", 10.0, 0.0, 0.2, max_side_px=80)[0].shape == (45, 80, 3)


@pytest.mark.parametrize("flip", [[], ["-display_hflip"], ["-display_vflip"]])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_display_matrix_is_obeyed_as_ffmpeg_does(tmp_path: Path, degrees: int, flip: list[str]) -> None:
    corner = np.zeros((64, 96, 3), np.uint8)
    corner[:20, :40], corner[40:, 70:] = 200, 90
    media.write_video(tmp_path / "plain.mp4", [corner] * 3, tone(0.2), 25)
    mark, raw = ["-display_rotation", str(degrees), *flip], ["-frames:v", "1", "-pix_fmt", "rgb24", "-f", "rawvideo"]
    command = [media.ffmpeg_path(), "-nostdin", "-loglevel", "error"]
    subprocess.run([*command, *mark, "-i", tmp_path / "plain.mp4", "-c", "copy", tmp_path / "x.mp4"], check=True)
    expected = subprocess.run([*command, "-i", tmp_path / "x.mp4", *raw, "pipe:"], check=True, capture_output=True)
    frame = read_frames(tmp_path / "x.mp4", 25.0, 0.0, 0.04)[0]
    assert frame.shape == ((96, 64, 3) if degrees % 180 else (64, 96, 3))
    # ffmpeg turns before it converts, which smears the colours of the edges a little
    difference = frame.astype(int) - np.frombuffer(expected.stdout, np.uint8).reshape(frame.shape)
    assert np.abs(difference).mean() < 1


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
    with pytest.raises(media.MediaError, match=r"no sound\.mp4: no sound in this file"):
        read_audio(corpus / "no sound.mp4")


def convert(source: Path, target: Path, **options: object) -> None:
    """Write a variant of a file with ffmpeg."""
    media.ffmpeg.input(f"file:{source}").output(f"file:{target}", **options).run(cmd=media.ffmpeg_path(), quiet=True)


def test_ten_bit_pictures(video: Path, tmp_path: Path) -> None:
    convert(video, tmp_path / "ten.mp4", pix_fmt="yuv420p10le", vcodec="libx264", an=None)
    frames = read_frames(tmp_path / "ten.mp4", 10.0, 0.0, 2.0)
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
        loud = np.abs(read_audio(tmp_path / "late.mkv", start_s, 2.0).astype(int)) > 1000
        assert loud.argmax() / media.SAMPLE_RATE_HZ == pytest.approx(onset_s, abs=0.05)


@pytest.mark.parametrize(("start_s", "end_s", "onset_s"), [(None, None, 0.5), (0.0, 1.5, 0.5), (0.2, 1.5, 0.3)])
def test_late_sound_in_a_transport_stream(
    video: Path, tmp_path: Path, start_s: float | None, end_s: float | None, onset_s: float
) -> None:
    late = media.ffmpeg.output(
        media.ffmpeg.input(f"file:{video}").video,
        media.ffmpeg.input(f"file:{video}", itsoffset=0.5).audio,
        f"file:{tmp_path / 'late.ts'}",
        vcodec="copy",
        acodec="mp2",
    )
    late.run(cmd=media.ffmpeg_path(), quiet=True)
    samples = read_audio(tmp_path / "late.ts", start_s, end_s)
    assert np.argmax(np.abs(samples.astype(int)) > 1000) / media.SAMPLE_RATE_HZ == pytest.approx(onset_s, abs=0.05)
    if end_s is not None and start_s is not None:
        assert len(samples) == round((end_s - start_s) * media.SAMPLE_RATE_HZ)


def test_streamed_container_tells_its_length_by_its_packets(video: Path, tmp_path: Path) -> None:
    stream = media.ffmpeg.input(f"file:{video}").output("pipe:", format="matroska", c="copy")
    (tmp_path / "s.mkv").write_bytes(stream.run(cmd=media.ffmpeg_path(), quiet=True)[0])  # a pipe can't be rewound
    assert media.probe(tmp_path / "s.mkv").duration_s == pytest.approx(2.0, abs=0.1)


def test_packets_without_times_tell_the_length_by_their_number(video: Path, tmp_path: Path) -> None:
    convert(video, tmp_path / "raw.h264", vcodec="copy", an=None)
    assert media.probe(tmp_path / "raw.h264").duration_s == pytest.approx(2.0)


def test_a_failing_source_of_pictures_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> Iterator[np.ndarray]:
        yield from grey_frames(0.2)
        raise RuntimeError("camera unplugged")

    with pytest.raises(RuntimeError, match="unplugged"):
        media.write_video(tmp_path / "x.mp4", broken(), tone(0.2), 25)
    assert list(tmp_path.iterdir()) == []
