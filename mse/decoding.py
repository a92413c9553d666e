"""Decode one stream of a container: its clock, and its frames with what damage there is."""

import time
from collections.abc import Iterator
from fractions import Fraction
from typing import cast

import av
from av.container import InputContainer
from av.stream import Stream

from mse import limits

CLOCK_MAY_JUMP = 0x200  # libavformat's AVFMT_TS_DISCONT: MPEG-TS and its like
NO_INDEX = (
    0x100  # AVFMT_GENERIC_INDEX: libav seeks there by reading on and on, with nothing to stop it in a broken file
)
UNTIMED = {"aac"}  # formats in which libav counts packets as if the rate of the first one held for all: ADTS
JUMP_S, JUMP_BACK_S = 10.0, 0.1  # there, a larger step of the clock is closed, as ffmpeg's command line does

Frame = av.VideoFrame | av.AudioFrame


def clock_tick(stream: Stream) -> Fraction:
    """Length of one count of a stream's clock, in seconds."""
    assert stream.time_base is not None, "only a stream that is being written may lack it"
    return stream.time_base


def clock_zero(container: InputContainer) -> Fraction:
    """Where a container's clock stands at its start, in seconds: ffmpeg's command line calls that zero."""
    return Fraction(container.start_time or 0, av.time_base)


class StreamClock:
    """Turns the time stamps of a stream's frames or packets into seconds from the file's start, and closes jumps.

    Args:
        container: an open file.
        stream: one of its streams.

    Attributes:
        jumped: True when the clock has jumped, so that its times no longer tell places in the file.
    """

    def __init__(self, container: InputContainer, stream: Stream) -> None:
        self.jumped = False
        self._zero, self._tick = clock_zero(container), clock_tick(stream)
        self._timed = container.format.name not in UNTIMED
        self._may_jump = bool(container.format.flags & CLOCK_MAY_JUMP)
        self._shift_s = 0.0
        self._last: tuple[float, float] | None = None  # start and end of the one before

    def place(self, stamp: int | None, length_s: float) -> float:
        """Give the start of the next frame or packet in seconds.

        Args:
            stamp: in counts of the stream's clock; None where it has none, and so follows the one before.
            length_s: how long it lasts.
        """
        expected_s = self._last[1] if self._last else 0.0
        start_s = (
            expected_s if stamp is None or not self._timed else float(stamp * self._tick - self._zero) + self._shift_s
        )
        if self._last and self._may_jump and not self._last[0] - JUMP_BACK_S <= start_s <= expected_s + JUMP_S:
            self._shift_s += expected_s - start_s
            start_s, self.jumped = expected_s, True
        if self._last is None or start_s > self._last[0]:
            self._last = start_s, start_s + length_s
        return start_s


class StreamDecoder:
    """Decodes a stream from its container's present place; what can't be decoded is left out.

    Args:
        container: an open file.
        stream: one of its streams, of pictures or of sound.
        at_key: leave out what comes before the first key frame, as one must after a seek.
        begin: packets with an earlier stamp are passed over (counts of the stream's clock); None for none.

    Attributes:
        decoded_s: seconds that came out so far; the caller counts them.
        error: the decoder's latest complaint; empty where it has none.
        damaged: packets and frames that could not be decoded, after the first that could.
    """

    def __init__(
        self, container: InputContainer, stream: Stream, at_key: bool = False, begin: int | None = None
    ) -> None:
        self.error, self.damaged, self.decoded_s = "", 0, 0.0
        self._limit = limits.TimeLimit()
        self._container, self._stream, self._at_key, self._begin = container, stream, at_key, begin

    def __iter__(self) -> Iterator[Frame]:
        """Decode frame after frame.

        Raises:
            TimeoutError: it takes too long for what comes out.
        """
        packets, waiting, begun = self._container.demux(self._stream), self._at_key, False
        while True:
            begun_s = time.process_time()  # the decoder's work in all threads
            try:
                packet = next(packets, None)
                if packet is None:  # the end, or damage that hides all that follows
                    return
                waiting = waiting and not packet.is_keyframe
                early = self._begin is not None and packet.pts is not None and packet.pts < self._begin
                frames = [] if waiting or early else cast(list[Frame], packet.decode())
            except av.error.ExitError as e:  # libav's own clock
                raise TimeoutError(f"given up: no packet came for {limits.DECODE_S:g} s, the limit") from e
            except av.FFmpegError as e:
                self.error, frames = e.strerror or str(e), []
                self.damaged += begun
            self._limit.spend(time.process_time() - begun_s, self.decoded_s)
            for frame in frames:
                if frame.is_corrupt:
                    self.damaged += begun
                else:
                    begun = True
                    yield frame


def stamp_of(frame: Frame) -> int | None:
    """When a frame is to be shown or heard, in counts of its stream's clock; None where nothing tells."""
    return frame.dts if frame.pts is None else frame.pts
