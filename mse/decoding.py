"""Decode one stream of a container: its clock, and its frames with what damage there is."""

import math
import time
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, cast

import av
from av.container import InputContainer
from av.stream import Stream

from mse import limits

CLOCK_MAY_JUMP = 0x200  # libavformat's AVFMT_TS_DISCONT: MPEG-TS and its like
JUMP_S, JUMP_BACK_S = 10.0, 0.1  # there, a larger step of the clock is closed, as ffmpeg's command line does
NO_INDEX = 0x100  # AVFMT_GENERIC_INDEX: libav seeks by reading on and on, and nothing stops it in a broken file
# Formats and codecs in which libav counts packets as if the rate of the first one held for all.
UNTIMED = {("aac", "aac"), ("loas", "aac_latm"), ("ogg", "flac")}

Frame = av.VideoFrame | av.AudioFrame


def clock_tick(stream: Stream) -> Fraction:
    """Length of one count of a stream's clock, in seconds."""
    assert stream.time_base is not None, "only a stream that is being written may lack it"
    return stream.time_base


def clock_zero(container: InputContainer) -> Fraction:
    """Where a container's clock stands at its start, in seconds: ffmpeg's command line calls that zero."""
    return Fraction(container.start_time or 0, av.time_base)


def is_timed(container: InputContainer, stream: Stream) -> bool:
    """Whether the stamps of a stream's packets tell times; else each packet follows the one before."""
    return (container.format.name, getattr(stream.codec_context, "name", "")) not in UNTIMED


def can_seek(container: InputContainer, streams: Iterable[Stream]) -> bool:
    """Whether a seek in a container leads to a time, and ends soon.

    Args:
        container: an open file.
        streams: those that count.
    """
    flags = container.format.flags
    plain = all(getattr(stream.codec_context, "name", "").startswith("pcm_") for stream in streams)
    return not flags & CLOCK_MAY_JUMP and (plain or not flags & NO_INDEX)


class StreamClock:
    """Turns the time stamps of a stream's frames or packets into seconds from the file's start, and closes jumps.

    Args:
        container: an open file.
        stream: one of its streams.
        shift_s: what the jumps before have added.

    Attributes:
        jumped: True when the clock has jumped, so that its times no longer tell places in the file.
        shift_s: what all jumps so far have added (seconds).
    """

    def __init__(self, container: InputContainer, stream: Stream, shift_s: float = 0.0) -> None:
        self.jumped, self.shift_s = False, shift_s
        self._zero, self._tick = clock_zero(container), clock_tick(stream)
        self._timed = is_timed(container, stream)
        self._may_jump = bool(container.format.flags & CLOCK_MAY_JUMP)
        self._last: tuple[float, float] | None = None  # start and end of the one before

    def place(self, stamp: int | None, length_s: float) -> float:
        """Give the start of the next frame or packet in seconds.

        Args:
            stamp: in counts of the stream's clock; None where it has none, and so follows the one before.
            length_s: how long it lasts.
        """
        expected_s = self._last[1] if self._last else 0.0
        start_s = (
            expected_s if stamp is None or not self._timed else float(stamp * self._tick - self._zero) + self.shift_s
        )
        if self._last and self._may_jump and not self._last[0] - JUMP_BACK_S <= start_s <= expected_s + JUMP_S:
            self.shift_s += expected_s - start_s
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
        begin_s: packets that end before it are passed over (seconds from the file's start).

    Attributes:
        stream: as given.
        decoded_s: seconds that came out so far; the caller counts them.
        shift_s: what jumps of the clock had added where decoding began (seconds).
        error: the decoder's latest complaint; empty where it has none.
        damaged: packets and frames that could not be decoded, after the first that could.
    """

    def __init__(
        self, container: InputContainer, stream: Stream, at_key: bool = False, begin_s: float = -math.inf
    ) -> None:
        self.error, self.damaged, self.decoded_s, self.shift_s = "", 0, 0.0, 0.0
        self._limit = limits.TimeLimit()
        self._container, self.stream, self._at_key = container, stream, at_key
        self._begin_s = begin_s if is_timed(container, stream) else -math.inf

    def __iter__(self) -> Iterator[Frame]:
        """Decode frame after frame.

        Raises:
            TimeoutError: it takes too long for what comes out.
        """
        packets, waiting, begun = self._container.demux(self.stream), self._at_key, False
        clock, early = StreamClock(self._container, self.stream), math.isfinite(self._begin_s)
        while True:
            begun_s = time.process_time()  # the decoder's work in all threads
            try:
                packet = next(packets, None)
                if packet is None:  # the end, or damage that hides all that follows
                    return
                waiting = waiting and not packet.is_keyframe
                early = early and packet.size > 0 and self._is_early(packet, clock)
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

    def _is_early(self, packet: Any, clock: StreamClock) -> bool:
        length_s = float((packet.duration or 0) * clock_tick(self.stream))
        early = clock.place(packet.pts, length_s) + length_s < self._begin_s
        self.shift_s = clock.shift_s
        return early


def stamp_of(frame: Frame) -> int | None:
    """When a frame is to be shown or heard, in counts of its stream's clock; None where nothing tells."""
    return frame.dts if frame.pts is None else frame.pts
