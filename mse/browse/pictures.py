"""Small pictures of clips for a page: a thumbnail each, and of some the clip's time axis, as `mse show` draws it."""

import base64
import io
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from mse.browse.clips import Shown
from mse.errors import describe_error
from mse.media import MediaError
from mse.progress import SharedTerminal, say, take_terminal, track
from mse.video import VideoReader

HEIGHT_PX = 72  # of a thumbnail
WIDEST_PX = 1600  # of a time axis
QUALITY = 80  # of WebP
RATE_HZ = 10.0  # of the pictures that a thumbnail is taken from: one is decoded


def thumbnail(clip: Shown) -> str:
    """The picture in the middle of a clip as a data address; empty where there is none to see."""
    if clip.media is None:
        return ""
    middle_s = sum(clip.window_s) / 2
    try:
        with VideoReader(clip.media, RATE_HZ, 4 * HEIGHT_PX) as reader:
            picture = next(iter(reader.frames(middle_s, middle_s + 1 / RATE_HZ)), None)
        return "" if picture is None else _address(picture, HEIGHT_PX)
    except MediaError:  # sound alone, or damaged: quality.csv says so
        return ""
    except Exception as e:  # the other clips are not to blame
        say(f"{clip.clip_id}: no thumbnail: {describe_error(e)}")
        return ""


def _address(picture: npt.NDArray[np.uint8], height_px: int) -> str:
    image = Image.fromarray(picture)
    return _webp(image.resize((max(1, round(image.width * height_px / image.height)), height_px)))


def _webp(image: Image.Image) -> str:
    held = io.BytesIO()
    image.convert("RGB").save(held, "WEBP", quality=QUALITY)
    return "data:image/webp;base64," + base64.b64encode(held.getvalue()).decode()


def time_axes(clips: Sequence[Shown], corpus: str, work: Path, model: Path, jobs: int) -> dict[str, str]:
    """The picture of `mse show` of some clips, as data addresses by clip; those that can't be shown are left out.

    Args:
        clips: which.
        corpus: the corpus's name.
        work: work/CORPUS.
        model: face_landmarker.task.
        jobs: processes. They are spawned: MediaPipe's threads do not survive a fork.
    """
    asked = [(clip.clip_id, corpus, work, model) for clip in clips if clip.media is not None]
    if not asked:
        return {}
    found = {}
    pool = ProcessPoolExecutor(min(jobs, len(asked)), get_context("spawn"), take_terminal, (SharedTerminal(),))
    with pool:
        drawn: Iterator[str] = pool.map(_time_axis, *zip(*asked, strict=True))
        for (clip_id, *_), picture in zip(asked, track(drawn, "drawing", len(asked)), strict=True):
            if picture:
                found[clip_id] = picture
    return found


def _time_axis(clip_id: str, corpus: str, work: Path, model: Path) -> str:
    from mse.clip_view import read_clip
    from mse.show import draw

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "clip.png"
        try:
            draw(read_clip(clip_id, corpus, work, model), out)
        except Exception as e:  # the other clips are not to blame
            say(f"{clip_id}: not drawn: {describe_error(e)}")
            return ""
        with Image.open(out) as image:
            smaller = image.resize((WIDEST_PX, round(image.height * WIDEST_PX / image.width)), Image.Resampling.LANCZOS)
            return _webp(smaller)
