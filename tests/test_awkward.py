"""Awkward recordings, as cameras, telephones, editors and broken disks make them: each gives features, or says why not.

All come from two seconds of a real face with a tone, at 25 pictures a second.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mse import media
from mse.config import FacialSettings, OpenSmileSettings, SegmentSettings
from mse.extract import acoustic_shard, facial_shard
from mse.rows import Window
from mse.segment import read_facts, segment_shard
from mse.store import Clip, Shard
from mse.video import VideoReader
from tests.conftest import ffmpeg, tone


@dataclass(frozen=True)
class Case:
    """One awkward file.

    Attributes:
        options: from face.mp4 to the file, with {} for the working folder.
        sound: status after segmenting.
        face: status of the facial features.
        seconds: how long its pictures last.
        shape: height and width of its pictures as shown.
        like: whether picture t shows what the original does at t + shift_s.
    """

    options: str | Callable[[Path, Path], None]
    sound: str = "ok"
    face: str = "ok"
    seconds: float = 2.0
    shape: tuple[int, int] = (320, 320)
    like: bool = True
    shift_s: float = 0.0


def turned(folder: Path, out: Path) -> None:
    ffmpeg("-i", folder / "face.mp4", "-vf", "transpose=clock", folder / "lying.mp4")
    ffmpeg("-display_rotation", "90", "-i", folder / "lying.mp4", "-c", "copy", out)


def jumping_clock(folder: Path, out: Path) -> None:
    """Two recordings, the second with a clock that is 500 s ahead."""
    for part, window in (("a.ts", ["-t", "1"]), ("b.ts", ["-ss", "1", "-output_ts_offset", "500"])):
        ffmpeg("-i", folder / "face.mp4", *window, folder / part)
    out.write_bytes((folder / "a.ts").read_bytes() + (folder / "b.ts").read_bytes())


def damaged(folder: Path, out: Path) -> None:
    """Noise over a twentieth of the file, in its middle."""
    ffmpeg("-i", folder / "face.mp4", "-g", "10", "-f", "mpegts", out)
    data = bytearray(out.read_bytes())
    begin, end = len(data) * 9 // 20, len(data) * 10 // 20
    data[begin:end] = np.random.default_rng(0).bytes(end - begin)
    out.write_bytes(data)


def truncated(folder: Path, out: Path) -> None:
    """Its pictures are equally large, so that three fifths of the file are three fifths of the time."""
    ffmpeg("-i", folder / "face.mp4", "-g", "1", "-movflags", "+faststart", out)
    data = out.read_bytes()
    out.write_bytes(data[: len(data) * 6 // 10])


def streamed(folder: Path, out: Path) -> None:
    """Through a pipe, into which the length can't be written afterwards."""
    out.write_bytes(ffmpeg("-i", folder / "face.mp4", "-c", "copy", "-f", "matroska", "pipe:"))


def foreign_letters(folder: Path, out: Path) -> None:
    ffmpeg(
        "-i", folder / "face.mp4", "-metadata", "title=Gespräch".encode("latin-1"), "-c:v", "mpeg4", "-q:v", "2", out
    )


LATE = "-itsoffset 0.5 -i {}/face.mp4 -i {}/face.mp4 -c copy"
X264 = "-i {}/face.mp4 -c:a copy -c:v libx264 -preset veryfast"
CASES = {
    "variable rate.mp4": Case(f"{X264} -vf select='not(eq(mod(n\\,7)\\,3)+eq(mod(n\\,5)\\,1))' -fps_mode vfr"),
    "turned.mp4": Case(turned),
    "interlaced.mp4": Case(f"{X264} -vf tinterlace=interleave_top -flags +ilme+ildct -x264-params tff=1"),
    "hevc.mp4": Case("-i {}/face.mp4 -c:a copy -c:v libx265 -preset ultrafast -x265-params log-level=error:pools=1"),
    "ten bit.mkv": Case(f"{X264} -pix_fmt yuv420p10le"),
    "portrait.mp4": Case(f"{X264} -vf crop=180:320", shape=(320, 180), like=False),
    "odd size.avi": Case("-i {}/face.mp4 -vf scale=101:77 -c:v mjpeg -q:v 2", shape=(77, 101), like=False),
    "wide pixels.mp4": Case(f"{X264} -vf scale=160:320,setsar=2"),
    "no timestamps.h264": Case("-i {}/face.mp4 -c copy -an", sound="no_stream"),
    "jumping clock.ts": Case(jumping_clock),
    "edit list.mp4": Case("-ss 0.5 -i {}/face.mp4 -c copy", seconds=1.5, shift_s=0.5),
    "late clock.mkv": Case("-i {}/face.mp4 -c copy -output_ts_offset 7"),
    "damaged.ts": Case(damaged, face="cut", like=False),
    "truncated.mp4": Case(truncated, sound="cut", face="cut", seconds=1.2),
    "late sound.mkv": Case(f"{LATE} -map 1:v -map 0:a", face="cut"),
    "late picture.mkv": Case(f"{LATE} -map 0:v -map 1:a", sound="cut", seconds=2.5, shift_s=-0.5),
    "5 a second.mp4": Case(f"{X264} -vf fps=5"),
    "120 a second.mp4": Case(f"{X264} -vf fps=120"),
    "streamed.mkv": Case(streamed),
    "cover.mp3": Case(
        "-i {}/face.mp4 -i {}/cover.png -map 0:a -map 1:v -c:v copy -disposition:v attached_pic",
        face="no_stream",
        seconds=0,
    ),
    "telephone.wav": Case("-i {}/face.mp4 -vn -ar 8000 -c:a pcm_mulaw", face="no_stream", seconds=0),
    "surround.mp4": Case("-i {}/face.mp4 -c:v copy -ac 6"),
    "foreign letters.avi": Case(foreign_letters),
    "blink.mp4": Case("-i {}/face.mp4 -t 0.05", sound="too_short", face="too_short", seconds=0.05),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, portrait_frames: list[np.ndarray]) -> Path:
    """All cases as files."""
    folder = tmp_path_factory.mktemp("awkward")
    media.write_video(folder / "face.mp4", portrait_frames, tone(2), 25)
    ffmpeg("-i", folder / "face.mp4", "-frames:v", "1", folder / "cover.png")
    for name, case in CASES.items():
        if callable(case.options):
            case.options(folder, folder / name)
        else:
            ffmpeg(*(option.format(*[folder] * 2) for option in case.options.split()), folder / name)
    return folder


@pytest.fixture(scope="module")
def stages(folder: Path, landmarker: Path) -> Path:
    """Segments and features of all cases as one shard."""
    clips = [Window(name, str(folder / name), np.nan, np.nan) for name in CASES]
    sound, facts = folder / "sound.h5", folder / "facts.csv"
    segment_shard(clips, sound, facts, "awkward", SegmentSettings(max_s=10))
    acoustic_shard(sound, folder / "acoustic.h5", OpenSmileSettings())
    facial_shard(facts, sound, folder / "facial.h5", "awkward", FacialSettings(), landmarker)
    return folder


def clip_of(shard: Path, name: str) -> Clip:
    with Shard(shard) as clips:
        return clips[clips.clip_ids.index(name)]


@pytest.mark.parametrize(("name", "case"), CASES.items(), ids=CASES)
def test_each_gives_features_or_says_why_not(stages: Path, name: str, case: Case) -> None:
    facts = pd.DataFrame(read_facts(stages / "facts.csv")).set_index("clip_id").loc[name]
    assert facts["status"] == case.sound
    assert (facts["message"] == "") == (case.sound == "ok")
    acoustic = clip_of(stages / "acoustic.h5", name)
    assert acoustic.status.name == case.sound
    if acoustic.status.usable:
        assert acoustic.valid.mean() > 0.5
        assert -30 < facts["loudness_dbfs"] < -15
    facial = clip_of(stages / "facial.h5", name)
    assert facial.status.name == case.face
    assert (facial.message == "") == (case.face == "ok")
    assert facial.valid.mean() > 0.8 if facial.status.usable else not len(facial.values)


def pictures(path: Path, rate_hz: float = 10.0) -> list[np.ndarray]:
    with VideoReader(path, rate_hz) as reader:
        return list(reader.frames(0.0, 10.0))


SEEN = {name: case for name, case in CASES.items() if case.seconds}


@pytest.mark.parametrize(("name", "case"), SEEN.items(), ids=SEEN)
def test_pictures_are_upright_whole_and_on_time(folder: Path, name: str, case: Case) -> None:
    found, original = pictures(folder / name), pictures(folder / "face.mp4")
    assert len(found) == pytest.approx(case.seconds * 10, abs=1)
    assert {frame.shape for frame in found} == {(*case.shape, 3)}
    if case.like:
        # From picture to picture the face moves by 2.5 pixels, which is a mean difference of 17.
        for t, frame in enumerate(found[:20]):
            shown = original[min(max(t + round(10 * case.shift_s), 0), 19)]
            assert np.abs(frame.astype(int) - shown).mean() < 12, t


def test_what_shows_no_picture_says_so(folder: Path) -> None:
    for name in CASES.keys() - SEEN.keys():
        assert not media.probe(folder / name).has_video
        with pytest.raises(media.MediaError, match=f"{name}: no picture in this file"):
            pictures(folder / name)


def test_fields_are_not_mixed(tmp_path: Path) -> None:
    """A bar that moves fast, interlaced: its edges stay straight, and its colour whole."""
    bars = [np.full((96, 128, 3), 30, np.uint8) for _ in range(50)]
    for t, picture in enumerate(bars):
        picture[:, 2 * t : 2 * t + 24] = [220, 60, 60]
    media.write_video(tmp_path / "bar.mp4", bars, tone(2), 50, crf=5)
    interlaced = ["-crf", "5", "-flags", "+ilme+ildct", "-x264-params", "tff=1"]
    ffmpeg("-i", tmp_path / "bar.mp4", "-vf", "tinterlace=interleave_top", *interlaced, tmp_path / "comb.mp4")
    raw = ffmpeg("-i", tmp_path / "comb.mp4", "-frames:v", "1", "-pix_fmt", "rgb24", "-f", "rawvideo", "pipe:")
    comb = np.frombuffer(raw, np.uint8).reshape(96, 128, 3).astype(int)
    assert np.abs(np.diff(comb, axis=0)).max() > 100  # as decoded, neighbouring lines differ
    for frame in pictures(tmp_path / "comb.mp4"):
        assert frame.shape == (96, 128, 3)
        assert np.abs(np.diff(frame.astype(int), axis=0)).max() < 25


AAC_S = 1024 / media.SAMPLE_RATE_HZ  # what the coder puts before the sound; MPEG-TS has no way to leave it out


@pytest.mark.parametrize(
    ("name", "rate_hz", "options", "shift_s"),
    [
        ("plain.mp4", 25, "-c copy", 0.0),
        ("5.mp4", 5, "-c copy", 0.0),
        ("120.mkv", 120, "-c copy", 0.0),
        ("variable.mp4", 25, "-vf select='not(eq(mod(n\\,7)\\,3))' -fps_mode vfr", 0.0),
        ("late clock.ts", 25, "-c copy -output_ts_offset 40", AAC_S),
        ("late picture.mkv", 25, "-itsoffset 0.7 -i {0} -map 1:v -map 0:a -c copy", 0.7),
        ("late picture.ts", 25, "-itsoffset 0.7 -i {0} -map 1:v -map 0:a -c copy", 0.7 + AAC_S),
        ("negative.mp4", 25, "-c copy -output_ts_offset -0.4", -0.4),
        ("raw.h264", 25, "-c copy -an", 0.0),
    ],
)
def test_pictures_show_their_time(tmp_path: Path, name: str, rate_hz: int, options: str, shift_s: float) -> None:
    """Brightness tells the time: 100 a second."""
    grey = [np.full((96, 96, 3), round(100 * i / rate_hz), np.uint8) for i in range(2 * rate_hz)]
    media.write_video(tmp_path / "grey.mp4", grey, tone(2), rate_hz)
    ffmpeg(
        "-i", tmp_path / "grey.mp4", *(part.format(tmp_path / "grey.mp4") for part in options.split()), tmp_path / name
    )
    off = [frame.mean() - np.clip(10 * t - 100 * shift_s, 0, 198) for t, frame in enumerate(pictures(tmp_path / name))]
    assert len(off) == pytest.approx(20 + 10 * shift_s, abs=1)
    assert np.abs(off).max() <= 100 * 0.5 / rate_hz + 6  # half a source frame, and what the codec loses
