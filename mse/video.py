"""Pictures of one recording at an even rate, decoded in this process."""

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
import numpy.typing as npt

from mse import limits
from mse.decoding import clock_tick, clock_zero
from mse.media import MediaError, open_media, picture_streams
from mse.pictures import Picture, Pictures, ToRgb

SEEK_S = 10.0  # a longer gap between two windows of pictures is skipped by seeking
SEEK_BACK_S = (0.5, 4.0, 32.0)  # how long before a window to look for a key frame, in turn
TIE_S = 1e-6  # times that differ by less are the same


class VideoReader:
    """Pictures of one recording at an even rate, decoded in this process.

    The reader keeps its place: windows asked for one after the other in rising order decode the recording once.
    An earlier window seeks back, and a gap of more than SEEK_S seeks forward. The first window opens the file; one
    window is read at a time.

    Args:
        path: any file with a picture stream; a cover image is none.
        rate_hz: pictures a second, whatever the file's own rate (constant or not).
        max_side_px: larger pictures are scaled down so that no side is longer.
        threads: CPU threads that decode.

    Attributes:
        damaged: packets and pictures so far that could not be decoded.
    """

    def __init__(self, path: Path, rate_hz: float, max_side_px: int = 1280, threads: int = 1) -> None:
        self._path, self._rate_hz, self._threads = path, rate_hz, threads
        self._to_rgb = ToRgb(max_side_px)
        self._container: av.container.InputContainer | None = None
        self.damaged = 0
        self._given_up = ""  # why; each further window would take as long
        self._has_clock = True  # whether the container's times tell places in it
        self._shown: Picture | None = None  # nearest to the time asked for last,
        self._since_s = -math.inf  # and from here on,
        self._next: Picture | None = None  # until halfway to this one

    def frames(self, start_s: float, end_s: float) -> Iterator[npt.NDArray[np.uint8]]:
        """Pictures of a window: picture t is the source's nearest to start_s + t / rate_hz.

        A source slower than the rate repeats pictures (the same array), a faster one skips some. Where pictures can't
        be decoded, or start later than the file, the nearest stand in.

        Args:
            start_s: begin here (seconds from the file's start, which is the sound's clock too).
            end_s: stop before this, or where the last picture's duration ends.

        Yields:
            RGB pictures, upright, with square pixels, shape (height, width, 3), uint8. Their size changes where that of
            the recording does.

        Raises:
            MediaError: the file can't be read, not one picture of the window could be decoded, or it took too long.
        """
        if self._given_up:
            raise MediaError(self._given_up)
        try:
            yield from self._window(start_s, end_s)
            self._count_damage()
        except TimeoutError as e:
            self._given_up = f"{self._path}: {e}"
            raise MediaError(self._given_up) from e

    def _count_damage(self) -> None:
        self.damaged += self._pictures.decoder.damaged
        self._pictures.decoder.damaged = 0

    def _window(self, start_s: float, end_s: float) -> Iterator[npt.NDArray[np.uint8]]:
        self._go_to(start_s)
        converted, array = None, np.zeros((0, 0, 3), np.uint8)
        for t in range(math.ceil((end_s - start_s) * self._rate_hz - TIE_S)):
            shown = self._nearest(start_s + t / self._rate_hz)
            if shown is None and t == 0:
                raise self._nothing(start_s, end_s)
            if shown is None:
                return
            if shown is not converted:
                converted, array = shown, self._converted(shown)
            yield array

    def _converted(self, picture: Picture) -> npt.NDArray[np.uint8]:
        try:
            # What the container says of the pixels' shape, it says of the pictures that it begins with.
            as_begun = picture.size_px == self._first_px
            return self._to_rgb(picture.frame, self._stream.sample_aspect_ratio if as_begun else picture.pixel)
        except (av.FFmpegError, ValueError) as e:
            raise MediaError(f"{self._path}: the picture at {picture.start_s:g} s can't be converted ({e})") from e

    def _nothing(self, start_s: float, end_s: float) -> MediaError:
        complaint = self._pictures.decoder.error or "there is none"
        reason = f"the pictures end at {self._shown.end_s:g} s" if self._shown else complaint
        return MediaError(f"{self._path}: no picture from {start_s:g} to {end_s:g} s could be decoded ({reason})")

    def _nearest(self, time_s: float) -> Picture | None:
        """Go on to the picture nearest to a time; of two equally near, the earlier. None after the end."""
        while self._shown and self._next:
            between_s = (self._shown.start_s + self._next.start_s) / 2
            if time_s <= between_s + TIE_S:
                return self._shown
            self._since_s, self._shown, self._next = between_s, self._next, next(self._following, None)
        return self._shown if self._shown and time_s < self._shown.end_s - TIE_S else None

    def _go_to(self, time_s: float) -> None:
        """Be at a place from where `_nearest` finds the picture of this time."""
        if self._container is None:
            self._open()
        self._has_clock &= not self._pictures.jumped
        far = self._shown and self._next and time_s - self._shown.end_s > SEEK_S
        if time_s <= self._since_s + TIE_S or (far and self._has_clock):
            self._seek(time_s)

    def _open(self) -> None:
        self.close()
        self._container = open_media(self._path)
        streams = [stream for stream in picture_streams(self._container) if stream.codec_context]
        if not streams:
            self.close()
            raise MediaError(f"{self._path}: no picture in this file that can be decoded")
        self._stream, decoder = streams[0], streams[0].codec_context
        if decoder.width * decoder.height > limits.MOST_PIXELS:
            self.close()
            size = f"{decoder.width} x {decoder.height} pixels"
            raise MediaError(f"{self._path}: pictures of {size}; expected {limits.MOST_PIXELS} in all at most (8K)")
        decoder.thread_count, decoder.thread_type = self._threads, "AUTO"
        decoder.options = {"max_pixels": str(limits.MOST_PIXELS)}  # a picture may say otherwise than the header
        self._has_clock &= self._container.start_time is not None
        self._begin(self._container, at_key=False)
        self._first_px = self._shown.size_px if self._shown else None
        self._since_s = -math.inf  # the first picture stands for all that is before it

    def _begin(self, container: av.container.InputContainer, at_key: bool) -> None:
        self._pictures = Pictures(container, self._stream, at_key)
        self._following = iter(self._pictures)
        self._shown, self._next = next(self._following, None), next(self._following, None)
        self._since_s = self._shown.start_s if self._shown else -math.inf

    def _seek(self, time_s: float) -> None:
        """Go to a key frame before a time, or to the file's start where none can be found."""
        assert self._container is not None
        for back_s in SEEK_BACK_S if self._has_clock else ():
            place_s = clock_zero(self._container) + Fraction(time_s - back_s)
            try:
                self._container.seek(math.floor(place_s / clock_tick(self._stream)), stream=self._stream)
            except av.FFmpegError:  # this container can't, or not there
                continue
            self._begin(self._container, at_key=True)
            if self._shown and self._shown.start_s <= time_s:
                return
        self._open()

    def close(self) -> None:
        """Close the file; a further window opens it again."""
        if self._container is not None:
            self._container.close()
        self._container = self._shown = self._next = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
