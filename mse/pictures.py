"""Pictures as they come out of a container: their place on the clock, and upright RGB with square pixels."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.stream import Stream
from av.video.reformatter import VideoReformatter

from mse import limits

CLOCK_MAY_JUMP = 0x200  # libavformat's AVFMT_TS_DISCONT: MPEG-TS and its like
JUMP_S, JUMP_BACK_S = 10.0, 0.1  # there, a larger step of the clock is closed, as ffmpeg's command line does
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


def clock_tick(stream: Stream) -> Fraction:
    """Length of one count of a stream's clock, in seconds."""
    assert stream.time_base is not None, "only a stream that is being written may lack it"
    return stream.time_base


def clock_zero(container: InputContainer) -> Fraction:
    """Where a container's clock stands at its start, in seconds: ffmpeg's command line calls that zero."""
    return Fraction(container.start_time or 0, av.time_base)


class Pictures:
    """Decodes from a container's present place, in rising order; what can't be decoded is left out.

    Args:
        container: an open file.
        stream: its pictures.
        at_key: leave out what comes before the first key frame, as one must after a seek.

    Attributes:
        jumped: True when the clock has jumped, so that its times no longer tell places in the file.
        error: the decoder's latest complaint.
        damaged: packets and pictures that could not be decoded, after the first picture that could.
    """

    def __init__(self, container: InputContainer, stream: av.VideoStream, at_key: bool) -> None:
        self.jumped, self.error, self.damaged = False, "there is none", 0
        self._limit, self._decoded_s = limits.TimeLimit(), 0.0
        self._container, self._stream, self._at_key = container, stream, at_key

    def __iter__(self) -> Iterator[Picture]:
        """Pictures with their times, which follow from the frame rate where the file has none.

        Raises:
            TimeoutError: decoding takes too long for what comes out.
        """
        origin, may_jump = clock_zero(self._container), self._container.format.flags & CLOCK_MAY_JUMP
        nominal = 1 / (self._stream.average_rate or self._stream.guessed_rate or Fraction(25))
        shift_s, before = 0.0, None
        for frame in self._decoded():
            stamp = frame.dts if frame.pts is None else frame.pts
            expected_s = before.end_s if before else 0.0
            start_s = expected_s if stamp is None else float(stamp * clock_tick(self._stream) - origin) + shift_s
            if before and may_jump and not before.start_s - JUMP_BACK_S <= start_s <= expected_s + JUMP_S:
                shift_s += expected_s - start_s
                start_s, self.jumped = expected_s, True
            if before is None or start_s > before.start_s:
                length = frame.duration * clock_tick(self._stream) or nominal
                self._decoded_s += start_s - before.start_s if before else 0.0
                # Asked for here: by the time that the picture is shown, the decoder is at the next one.
                pixel = self._stream.codec_context.sample_aspect_ratio
                before = Picture(start_s, start_s + float(length), frame, pixel)
                yield before

    def _decoded(self) -> Iterator[av.VideoFrame]:
        packets, waiting, begun = self._container.demux(self._stream), self._at_key, False
        while True:
            begun_s = time.process_time()  # the decoder's work in all threads
            try:
                packet = next(packets, None)
                if packet is None:  # the end, or damage that hides all that follows
                    return
                waiting = waiting and not packet.is_keyframe
                frames = [] if waiting else packet.decode()
            except av.error.ExitError as e:  # libav's own clock
                raise TimeoutError(f"given up: no packet came for {limits.DECODE_S:g} s, the limit") from e
            except av.FFmpegError as e:
                self.error, frames = e.strerror or str(e), []
                self.damaged += begun
            self._limit.spend(time.process_time() - begun_s, self._decoded_s)
            for frame in frames:
                if frame.is_corrupt:
                    self.damaged += begun
                else:
                    begun = True
                    yield frame


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
