"""Pictures as they come out of a container: their place on the clock, and upright RGB with square pixels."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.video.reformatter import VideoReformatter

from mse.decoding import StreamClock, StreamDecoder, clock_tick, stamp_of

PLAUSIBLE_PIXELS = Fraction(1, 4), Fraction(4)  # a pixel's width by its height; what lies beyond is a mistake


@dataclass(frozen=True)
class Picture:
    """A decoded picture, when it is shown (seconds from the file's start), and the shape of its pixels.

    `pixel` is a pixel's width by its height (sample aspect ratio) as the pictures themselves tell, which may change
    with their size; None where they don't. The container may know better.
    """

    start_s: float
    end_s: float
    frame: av.VideoFrame
    pixel: Fraction | None

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height as decoded."""
        return self.frame.width, self.frame.height


class Pictures:
    """Decodes from a container's present place, in rising order; what can't be decoded is left out.

    Args:
        container: an open file.
        stream: its pictures.
        at_key: leave out what comes before the first key frame, as one must after a seek.

    Attributes:
        decoder: counts damage, and knows the latest complaint.
    """

    def __init__(self, container: InputContainer, stream: av.VideoStream, at_key: bool) -> None:
        self.decoder = StreamDecoder(container, stream, at_key)
        self._stream, self._clock = stream, StreamClock(container, stream)

    @property
    def jumped(self) -> bool:
        """Whether the clock has jumped, so that its times no longer tell places in the file."""
        return self._clock.jumped

    def __iter__(self) -> Iterator[Picture]:
        """Pictures with their times, which follow from the frame rate where the file has none.

        Raises:
            TimeoutError: decoding takes too long for what comes out.
        """
        nominal = 1 / (self._stream.average_rate or self._stream.guessed_rate or Fraction(25))
        before = None
        for frame in self.decoder:
            assert isinstance(frame, av.VideoFrame)
            length_s = float(frame.duration * clock_tick(self._stream) or nominal)
            start_s = self._clock.place(stamp_of(frame), length_s)
            if before is None or start_s > before.start_s:
                self.decoder.decoded_s += start_s - before.start_s if before else 0.0
                # Asked for here: by the time that the picture is shown, the decoder is at the next one.
                before = Picture(start_s, start_s + length_s, frame, self._stream.codec_context.sample_aspect_ratio)
                yield before


class ToRgb:
    """Converts pictures; swscale's tables are kept as long as size and format stay the same.

    Args:
        max_side_px: larger pictures are scaled down so that no side is longer.
    """

    def __init__(self, max_side_px: int) -> None:
        self._max_side_px = max_side_px
        self._scaler = VideoReformatter()

    def __call__(self, frame: av.VideoFrame, pixel: Fraction | None) -> npt.NDArray[np.uint8]:
        """Convert one picture.

        Args:
            frame: as decoded.
            pixel: width of a pixel by its height (sample aspect ratio); None where nothing tells.

        Returns:
            RGB, shape (height, width, 3).
        """
        width, height = _shown_size(frame.width, frame.height, pixel, self._max_side_px)
        source = _one_field(frame) if frame.interlaced_frame else frame
        # One thread: the work is small, and a job's CPUs are shared out by the caller.
        rgb = self._scaler.reformat(source, width, height, "rgb24", threads=1)
        return _upright(rgb.to_ndarray().astype(np.uint8, copy=False), frame)


def _shown_size(width: int, height: int, pixel: Fraction | None, max_side_px: int) -> tuple[int, int]:
    """Width and height on a screen of square pixels; never fewer pixels than the picture has, but for the limit."""
    wide, high = Fraction(width), Fraction(height)
    if pixel and PLAUSIBLE_PIXELS[0] <= pixel <= PLAUSIBLE_PIXELS[1]:
        wide, high = (wide * pixel, high) if pixel > 1 else (wide, high / pixel)
    scale = min(Fraction(1), max_side_px / max(wide, high))
    return max(1, round(wide * scale)), max(1, round(high * scale))


def _one_field(frame: av.VideoFrame) -> av.VideoFrame:
    """Every other line of an interlaced picture: the two fields show different moments, which looks like a comb."""
    field = av.VideoFrame(frame.width, frame.height // 2, frame.format.name)
    field.colorspace, field.color_range = frame.colorspace, frame.color_range
    for source, target in zip(frame.planes, field.planes, strict=True):
        lines = np.frombuffer(memoryview(source), np.uint8).reshape(-1, source.line_size)[::2]
        kept = np.frombuffer(memoryview(target), np.uint8).reshape(-1, target.line_size)
        width = min(source.line_size, target.line_size)  # bytes; beyond the picture's own width lies padding
        kept[: target.height, :width] = lines[: target.height, :width]
    return field


def _upright(picture: npt.NDArray[np.uint8], frame: av.VideoFrame) -> npt.NDArray[np.uint8]:
    """Turn and mirror by quarter turns as the display matrix says.

    The matrix (9 fixed-point numbers, three rows of a b u, c d v, x y w) takes a pixel at (p, q), q downwards, to
    (a p + c q, b p + d q).
    """
    side_data: Mapping[str, Any] = frame.side_data  # PyAV's own annotation knows of one kind only
    try:
        matrix = side_data["DISPLAYMATRIX"]
    except KeyError:
        return picture
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):  # columns become lines
        picture = picture.transpose(1, 0, 2)
    across, down = (-1 if min(a, c) < 0 else 1), (-1 if min(b, d) < 0 else 1)
    return np.ascontiguousarray(picture[::down, ::across])
