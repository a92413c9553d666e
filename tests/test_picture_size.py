"""Recordings whose pictures change size in mid-stream, as calls and broadcasts do: whole, square, and with their faces.

Two people, a large face on the left and a smaller one on the right, for two seconds in one size and two in another.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from skimage.transform import resize

from mse import media
from mse.config import FacialSettings, SegmentSettings
from mse.extract import facial_shard
from mse.rows import Window
from mse.segment import segment_shard
from mse.store import Shard
from mse.video import VideoReader
from tests.conftest import ffmpeg, tone

X264 = "-c:v libx264 -preset veryfast"


@dataclass(frozen=True)
class Change:
    """A recording whose pictures change.

    Attributes:
        coder: options that encode either part.
        filters: of the first and the second part, from pictures of 480 x 240.
        shapes: height and width of their pictures as shown.
    """

    coder: str
    filters: tuple[str, str]
    shapes: tuple[tuple[int, int], tuple[int, int]]


SMALL, LARGE = (120, 240), (240, 480)
CHANGES = {
    "call.webm": Change(
        "-c:v libvpx -deadline realtime -cpu-used 8 -b:v 1M", ("scale=240:120", "null"), (SMALL, LARGE)
    ),
    "worse line.webm": Change(
        "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 1M", ("null", "scale=240:120"), (LARGE, SMALL)
    ),
    "broadcast.ts": Change(X264, ("scale=360:288,setsar=4/3", "pad=480:270:0:15,setsar=1"), ((288, 480), (270, 480))),
    "turned.mkv": Change(X264, ("pad=480:270:0:15", "scale=270:136,pad=270:480:0:172"), ((270, 480), (480, 270))),
    "disk.ts": Change(
        "-c:v mpeg2video -q:v 3",
        ("pad=480:270:0:15,scale=352:240,setdar=16/9", "pad=480:270:0:15,setsar=1"),
        ((240, 427), (270, 480)),
    ),
    "camera.avi": Change("-c:v mjpeg -q:v 3", ("null", "scale=240:120"), (LARGE, SMALL)),
}


def make_recording(folder: Path, name: str, change: Change) -> Path:
    """Encode either part by itself and put the packets of both into one stream, with the sound of the whole."""
    parts = []
    for number, (window, shown) in enumerate(zip((["-t", "2"], ["-ss", "2"]), change.filters, strict=True)):
        parts.append(folder / f"{number} {name}")
        ffmpeg(*window, "-i", folder / "two.mp4", "-an", "-vf", shown, *change.coder.split(), parts[-1])
    (folder / "parts.txt").write_text("".join(f"file '{part.name}'\n" for part in parts))
    both = ["-f", "concat", "-safe", "0", "-i", folder / "parts.txt", "-i", folder / "two.mp4"]
    ffmpeg(*both, "-map", "0:v", "-map", "1:a", "-c:v", "copy", folder / name)
    return folder / name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, portrait_frames: list[np.ndarray]) -> Path:
    folder = tmp_path_factory.mktemp("sizes")
    faces = [resize(portrait_frames[0][:, ::turned], (side, side)) for side, turned in ((240, 1), (160, -1))]
    picture = np.full((240, 480, 3), 0.5)
    picture[:, :240], picture[40:200, 290:450] = faces
    media.write_video(folder / "two.mp4", [(255 * picture).astype(np.uint8)] * 100, tone(4), 25, crf=10)
    for name, change in CHANGES.items():
        make_recording(folder, name, change)
    return folder


@pytest.mark.parametrize(("name", "change"), CHANGES.items(), ids=CHANGES)
def test_pictures_keep_their_own_size_and_shape(folder: Path, name: str, change: Change) -> None:
    with VideoReader(folder / name, 10.0) as reader:
        shapes = [picture.shape for picture in reader.frames(0.0, 10.0)]
        late = next(iter(reader.frames(0.5, 1.0))), next(iter(reader.frames(3.0, 3.5)))  # after going back
    assert len(shapes) == pytest.approx(40, abs=1)
    assert set(shapes[:19]) == {(*change.shapes[0], 3)}
    assert set(shapes[22:]) == {(*change.shapes[1], 3)}
    assert tuple(picture.shape[:2] for picture in late) == change.shapes
    with VideoReader(folder / name, 10.0, max_side_px=200) as reader:
        assert {max(picture.shape) for picture in reader.frames(0.0, 10.0)} == {200}


def test_one_face_is_described_in_both_sizes(folder: Path, landmarker: Path) -> None:
    clips = [Window(name, str(folder / name), np.nan, np.nan) for name in CHANGES]
    sound, facts, facial = folder / "sound.h5", folder / "facts.csv", folder / "facial.h5"
    segment_shard(clips, sound, facts, "sizes", SegmentSettings())
    facial_shard(facts, sound, facial, "sizes", FacialSettings(who="largest"), landmarker)
    with Shard(facial) as shard:
        place = shard.description.feature_names.index("face_x")
        for name in CHANGES:
            clip = shard[shard.clip_ids.index(name)]
            assert clip.status.name in ("ok", "cut"), (name, clip.message)
            assert clip.valid.mean() > 0.97, name
            assert clip.values[clip.valid, place] == pytest.approx(0.25, abs=0.05), name
