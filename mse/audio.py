"""Sound of one recording as mono PCM at 16 kHz, decoded in this process."""

import math
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path

import av
import av.filter
import numpy as np
import numpy.typing as npt

from mse.decoding import StreamClock, StreamDecoder, can_seek, clock_zero, stamp_of
from mse.media import SAMPLE_RATE_HZ, MediaError, audio_stream, open_media

Samples = npt.NDArray[np.int16]

WARM_UP_S = 1.0  # decoded before a window: what MP3, AAC and Opus make of a packet depends on those before it
EVIDENCE_S = 1.0  # audio by which a mix and its channels are compared at a time
# A mix that is this much quieter than one of its channels is not used. Of two unlike channels it is 3 to 6 dB quieter
# than the louder one; of eight, of which the middle one speaks alone, 13 dB.
QUIETER_DB, QUIETER_OF_MANY_DB = 8.0, 15.0


class AudioReader:
    """Sound of one recording as mono PCM at 16 kHz.

    Several channels are mixed down; where that leaves far less than the loudest of them, it is taken alone.

    Args:
        path: any file with a sound stream.
        track: which of its audio tracks, from 1; None for the one marked as default, or else the first.
    """

    def __init__(self, path: Path, track: int | None = None) -> None:
        self._path, self._track = path, track
        self._alone: tuple[int, int] | None = None

    @property
    def note(self) -> str:
        """What was done beside decoding so far, in words; empty for nothing."""
        if self._alone is None:
            return ""
        channel, channels = self._alone
        return (
            f"{self._path}: the mix of its {channels} channels is far quieter than channel {channel + 1} alone, which "
            "was used (opposite phase?)"
        )

    def blocks(
        self, start_s: float | None = None, end_s: float | None = None, block_s: float = 30.0
    ) -> Generator[Samples, None, None]:
        """Decode a window block by block, in bounded memory; sound keeps its place on the file's clock.

        Args:
            start_s: begin here (seconds from the file's start); None for the start.
            end_s: stop here; None for the end.
            block_s: length of a block in seconds; the last may be shorter.

        Yields:
            Samples, shape (N,), int16. Fewer than asked for where the file ends or is damaged before end_s.

        Raises:
            MediaError: there is no such track, nothing could be decoded, or it took too long.
        """
        size = round(block_s * SAMPLE_RATE_HZ)
        held: list[Samples] = []
        count = 0
        for part in self._parts(start_s or 0.0, end_s):
            held.append(part)
            count += len(part)
            if count >= size:
                whole = np.concatenate(held)
                ready = count // size * size
                yield from np.split(whole[:ready], range(size, ready, size))
                held, count = [whole[ready:]], count - ready
        if count:
            yield np.concatenate(held)

    def _parts(self, start_s: float, end_s: float | None) -> Iterator[Samples]:
        """Decode a window, after a seek where that leads somewhere, else from the file's start."""
        begin_s = start_s - WARM_UP_S if start_s > WARM_UP_S else -math.inf
        found = False
        try:
            for may_seek in (True, False):
                with open_media(self._path) as container:
                    stream = audio_stream(container, self._path, self._track)
                    stream.codec_context.thread_count = 1
                    if may_seek and not _seek(container, stream, begin_s):
                        continue
                    decoder = StreamDecoder(container, stream, begin_s=begin_s)
                    for part in self._mixed(_frames_between(container, decoder, start_s, end_s), start_s, end_s):
                        found = True
                        yield part
                if found:
                    return
        except TimeoutError as e:
            raise MediaError(f"{self._path}: {e}") from e
        except (av.FFmpegError, ValueError) as e:
            raise MediaError(f"{self._path}: its audio can't be decoded ({e})") from e
        if decoder.error:
            raise MediaError(f"{self._path}: its audio can't be decoded ({decoder.error})")

    def _mixed(
        self, frames: Iterator[tuple[av.AudioFrame, float]], start_s: float, end_s: float | None
    ) -> Iterator[Samples]:
        """Mix frames; where the audio changes its rate, layout or format, another mixer goes on."""
        mixer, reached_s = None, start_s  # up to where there is audio
        for frame, at_s in frames:
            if mixer and not mixer.takes(frame):
                yield self._noted(mixer, mixer.finish())
                reached_s, mixer = mixer.reached_s, None
            mixer = mixer or _Mixer(frame, reached_s, end_s)
            if (part := mixer.mix(frame, at_s)) is not None:
                yield self._noted(mixer, part)
        if mixer:
            yield self._noted(mixer, mixer.finish())

    def _noted(self, mixer: "_Mixer", part: Samples) -> Samples:
        self._alone = mixer.alone if self._alone is None else self._alone
        return part


def _seek(container: av.container.InputContainer, stream: av.AudioStream, begin_s: float) -> bool:
    """Seek to a time before a window; False where this container can't."""
    if not (math.isfinite(begin_s) and can_seek(container, [stream])):
        return False
    try:
        container.seek(math.floor((clock_zero(container) + Fraction(begin_s)) * av.time_base))
    except av.FFmpegError:
        return False
    return True


def _frames_between(
    container: av.container.InputContainer, decoder: StreamDecoder, start_s: float, end_s: float | None
) -> Iterator[tuple[av.AudioFrame, float]]:
    """Frames that reach into a window, and when each begins (seconds from the file's start)."""
    clock = None
    for frame in decoder:
        assert isinstance(frame, av.AudioFrame)
        clock = clock or StreamClock(container, decoder.stream, decoder.shift_s)
        length_s = frame.samples / frame.sample_rate
        at_s = clock.place(stamp_of(frame), length_s)
        decoder.decoded_s += length_s
        if end_s is not None and at_s >= end_s:
            return
        if at_s + length_s > start_s:
            yield frame, at_s


class _Mixer:
    """Mixes sound of one rate, layout and format down to mono at 16 kHz.

    Sound that starts late or has gaps is filled with silence, or it would run ahead of the picture.

    Args:
        frame: the first to be mixed.
        start_s: where what it gives begins (seconds from the file's start).
        end_s: where it ends; None for the sound's own end.

    Attributes:
        alone: the channel that was taken in place of the mix, from 0, and how many there are; None where none was.
        reached_s: where what it has given so far ends (seconds from the file's start).
    """

    def __init__(self, frame: av.AudioFrame, start_s: float, end_s: float | None) -> None:
        self.alone: tuple[int, int] | None = None
        self.reached_s = self._start_s = start_s
        self._form = _form_of(frame)
        length_s = None if end_s is None else end_s - start_s
        self._graphs = [_resampler(frame, length_s, "mono")]
        if frame.layout.nb_channels > 1:
            self._graphs.append(_resampler(frame, length_s, None))
        self._held: list[list[Samples]] = [[] for _ in self._graphs]  # each (N, channels)
        self._count = 0  # samples that are held
        self._channels = frame.layout.nb_channels

    def takes(self, frame: av.AudioFrame) -> bool:
        """Whether a frame is of this rate, layout and format."""
        return _form_of(frame) == self._form

    def mix(self, frame: av.AudioFrame, at_s: float) -> Samples | None:
        """Mix in another frame, which begins at `at_s`; gives what is ready, None for nothing."""
        frame.time_base = Fraction(1, frame.sample_rate)
        frame.pts = round((at_s - self._start_s) * frame.sample_rate)
        self._push(frame)
        return self._ready() if len(self._graphs) == 1 or self._count >= EVIDENCE_S * SAMPLE_RATE_HZ else None

    def finish(self) -> Samples:
        """Give what is left."""
        self._push(None)
        return self._ready()

    def _push(self, frame: av.AudioFrame | None) -> None:
        for graph, held, channels in zip(self._graphs, self._held, (1, self._channels), strict=False):
            graph.push(frame)
            while True:
                try:
                    out = graph.pull()
                except (av.error.BlockingIOError, av.error.EOFError):
                    break
                assert isinstance(out, av.AudioFrame)
                held.append(
                    np.frombuffer(memoryview(out.planes[0]), np.int16)[: out.samples * channels].reshape(-1, channels)
                )
                self._count += out.samples if graph is self._graphs[0] else 0

    def _ready(self) -> Samples:
        """Take what is held: the mix, or the loudest channel where the mix is far quieter."""
        mix, *channels = (np.concatenate(held) if held else np.zeros((0, 1), np.int16) for held in self._held)
        self._held, self._count = [[] for _ in self._graphs], 0
        self.reached_s += len(mix) / SAMPLE_RATE_HZ
        if not channels or not len(mix):
            return mix[:, 0]
        energies = np.square(channels[0], dtype=np.float64).sum(axis=0)
        loudest = int(energies.argmax())
        if self.alone is not None and energies[self.alone[0]] >= energies[loudest] / 4:
            loudest = self.alone[0]  # of two that are about as loud, always the same
        quieter_db = QUIETER_DB if self._channels == 2 else QUIETER_OF_MANY_DB
        if np.square(mix, dtype=np.float64).sum() >= energies[loudest] * 10 ** (-quieter_db / 10):
            return mix[:, 0]
        self.alone = loudest, self._channels
        return np.ascontiguousarray(channels[0][:, loudest])


def _form_of(frame: av.AudioFrame) -> tuple[str, int, str]:
    return frame.format.name, frame.sample_rate, frame.layout.name


def _resampler(frame: av.AudioFrame, length_s: float | None, layout: str | None) -> av.filter.Graph:
    """Make a filter graph from frames like this one to 16 bits at 16 kHz, from time 0 to the window's end.

    Args:
        frame: as they come.
        length_s: of the window; None where it has no end.
        layout: to mix down to; None keeps the channels.
    """
    graph = av.filter.Graph()
    tick_s = Fraction(1, frame.sample_rate)
    end = "" if length_s is None else f":end={max(length_s, 0.0):.6f}"
    form = f"sample_fmts=s16:sample_rates={SAMPLE_RATE_HZ}" + (f":channel_layouts={layout}" if layout else "")
    graph.link_nodes(
        graph.add_abuffer(sample_rate=frame.sample_rate, format=frame.format, layout=frame.layout, time_base=tick_s),
        graph.add("atrim", f"start=0{end}"),
        graph.add("aresample", f"{SAMPLE_RATE_HZ}:async=1:first_pts=0"),
        graph.add("aformat", form),
        graph.add("abuffersink"),
    ).configure()
    return graph


def read_audio(
    path: Path, start_s: float | None = None, end_s: float | None = None, track: int | None = None
) -> Samples:
    """All that `AudioReader` gives of a window, as one array of shape (N,); like it, raises MediaError."""
    blocks = list(AudioReader(path, track).blocks(start_s, end_s))
    return np.concatenate(blocks) if blocks else np.zeros(0, np.int16)
