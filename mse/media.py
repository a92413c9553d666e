"""Read and write media files. The only module that runs ffmpeg.

Every path is handed to ffmpeg as ``file:PATH`` in an argument list, never through a shell, so names
with spaces, colons, quotes or a leading dash are plain names.
"""

import contextlib
import itertools
import math
import os
import shutil
import subprocess
import tempfile
import wave
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import ffmpeg
import numpy as np
import numpy.typing as npt

from mse.atomic import replacing
from mse.errors import UserError
from mse.pictures import CLOCK_MAY_JUMP, Picture, Pictures, ToRgb, clock_tick, clock_zero

SAMPLE_RATE_HZ = 16_000  # what openSMILE's sets, wav2vec 2.0 and Whisper all expect
SEEK_S = 10.0  # a longer gap between two windows of pictures is skipped by seeking
SEEK_BACK_S = (0.5, 4.0, 32.0)  # how long before a window to look for a key frame, in turn
TIE_S = 1e-6  # times that differ by less are the same


class MediaError(UserError):
    """A media file that cannot be used; the message names the file and says why."""


@dataclass(frozen=True)
class MediaInfo:
    """What a container says of itself.

    Attributes:
        duration_s: length in seconds; where the container does not tell, the end of its last packet.
        has_audio: True when there is at least one sound stream.
        has_video: True when there is at least one picture stream that is not a cover image.
    """

    duration_s: float
    has_audio: bool
    has_video: bool


@cache
def ffmpeg_path() -> str:
    """The ffmpeg on PATH, else the static one that the imageio-ffmpeg wheel carries."""
    found = shutil.which("ffmpeg")
    if found:
        return str(found)
    import imageio_ffmpeg

    return str(imageio_ffmpeg.get_ffmpeg_exe())


def probe(path: Path) -> MediaInfo:
    """Read a file's container header.

    Raises:
        MediaError: the file is missing, empty, or no media file.
    """
    with _open(path) as container:
        try:
            return MediaInfo(
                duration_s=container.duration / av.time_base if container.duration else _last_packet_s(container),
                has_audio=bool(container.streams.audio),
                has_video=bool(_pictures(container)),
            )
        except av.FFmpegError as e:
            raise _unreadable(path, e) from e


def _open(path: Path) -> av.container.InputContainer:
    if not os.path.isfile(path):  # unlike Path's, it bears names that are too long
        raise MediaError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise MediaError(f"{path}: the file is empty (0 bytes)")
    try:
        return av.open(f"file:{path}", metadata_errors="replace")
    except (av.FFmpegError, OSError) as e:
        raise _unreadable(path, e) from e


def _unreadable(path: Path, error: OSError | av.FFmpegError) -> MediaError:
    return MediaError(f"{path}: not readable as sound or video ({error.strerror or error})")


def _pictures(container: av.container.InputContainer) -> list[av.VideoStream]:
    """Picture streams, without cover images."""
    cover = av.stream.Disposition.attached_pic
    return [stream for stream in container.streams.video if not stream.disposition & cover]


def _last_packet_s(container: av.container.InputContainer) -> float:
    """Read through a container that was streamed, as browsers and some cameras write them, to find its end."""
    ends_s = [Fraction(0)] * len(container.streams)
    for packet in container.demux():
        tick_s, index = clock_tick(packet.stream), packet.stream_index
        # Packets without a time, as in raw H.264, follow one another.
        begin_s = ends_s[index] if packet.pts is None else packet.pts * tick_s - clock_zero(container)
        ends_s[index] = max(ends_s[index], begin_s + (packet.duration or 0) * tick_s)
    return float(max(ends_s, default=0.0))


def _input(path: Path, start_s: float | None, end_s: float | None) -> ffmpeg.nodes.Stream:
    """An ffmpeg input cut to [start_s, end_s); seeking decodes from the key frame before, so it is exact."""
    window: dict[str, float] = {"threads": 1}
    if start_s is not None:
        window["ss"] = start_s
    if end_s is not None:
        window["t"] = end_s - (start_s or 0.0)
    return ffmpeg.input(f"file:{path}", **window)


def _command(stream: ffmpeg.nodes.Stream) -> list[str]:
    command: list[str] = stream.global_args("-nostdin", "-loglevel", "error").compile(
        cmd=ffmpeg_path(), overwrite_output=True
    )
    return command


def _decode_error(path: Path, stderr: bytes) -> MediaError:
    lines = stderr.decode(errors="replace").strip().splitlines()
    return MediaError(f"{path}: ffmpeg could not decode it ({lines[-1] if lines else 'no reason given'})")


def _late_s(path: Path) -> float:
    """How much later than the file its sound starts, where ffmpeg would leave that out.

    In formats whose clock may jump (MPEG-TS and its like) ffmpeg counts from the start of the streams it uses.
    """
    with _open(path) as container:
        sound = container.streams.audio[0] if container.streams.audio else None
        if not container.format.flags & CLOCK_MAY_JUMP or sound is None or sound.start_time is None:
            return 0.0
        return float(sound.start_time * clock_tick(sound) - clock_zero(container))


def iter_audio(
    path: Path, start_s: float | None = None, end_s: float | None = None, block_s: float = 30.0
) -> Generator[npt.NDArray[np.int16], None, None]:
    """Decode sound, mixed down to mono at 16 kHz, block by block in bounded memory.

    Args:
        path: any file with a sound stream.
        start_s: begin here (seconds from the file's start); None for the start.
        end_s: stop here; None for the end.
        block_s: length of a block in seconds; the last may be shorter.

    Yields:
        Samples, shape (N,), int16. Fewer than asked for where the file ends or is damaged before end_s.

    Raises:
        MediaError: nothing could be decoded.
    """
    sound = _input(path, start_s, end_s).audio
    late_s = _late_s(path) - (start_s or 0.0)
    if late_s > 0:
        sound = sound.filter("asetpts", f"PTS+{late_s:.6f}/TB")
    # Sound that starts late or has gaps is filled with silence, or it would run ahead of the picture.
    sound = sound.filter("aresample", SAMPLE_RATE_HZ, **{"async": 1, "first_pts": 0})
    if late_s > 0 and end_s is not None:
        sound = sound.filter("atrim", end_sample=round((end_s - (start_s or 0.0)) * SAMPLE_RATE_HZ))
    stream = sound.output("pipe:", format="s16le", acodec="pcm_s16le", ac=1)
    block_bytes = 2 * round(block_s * SAMPLE_RATE_HZ)
    with tempfile.TemporaryFile() as stderr:  # a file: nobody would drain a second pipe meanwhile
        process = subprocess.Popen(_command(stream), stdout=subprocess.PIPE, stderr=stderr)
        assert process.stdout is not None
        try:
            block = process.stdout.read(block_bytes)
            if not block and process.wait() != 0:
                stderr.seek(0)
                raise _decode_error(path, stderr.read())
            while block:
                yield np.frombuffer(block[: len(block) & ~1], dtype="<i2")
                block = process.stdout.read(block_bytes)
            if process.wait() < 0:  # by a signal: no fault of the file's, and not to be taken for its end
                raise UserError(f"{path}: ffmpeg was killed (signal {-process.returncode}) while it decoded the sound")
        finally:  # also when the caller stops early
            process.stdout.close()
            process.kill()
            process.wait()


def read_audio(path: Path, start_s: float | None = None, end_s: float | None = None) -> npt.NDArray[np.int16]:
    """All that `iter_audio` gives, as one array of shape (N,); like it, raises MediaError."""
    blocks = list(iter_audio(path, start_s, end_s))
    return np.concatenate(blocks) if blocks else np.zeros(0, np.int16)


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
    """

    def __init__(self, path: Path, rate_hz: float, max_side_px: int = 1280, threads: int = 1) -> None:
        self._path, self._rate_hz, self._threads = path, rate_hz, threads
        self._to_rgb = ToRgb(max_side_px)
        self._container: av.container.InputContainer | None = None
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
            RGB pictures, upright, with square pixels, shape (height, width, 3), uint8.

        Raises:
            MediaError: the file can't be read, or not one picture of the window could be decoded.
        """
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
            return self._to_rgb(picture.frame, self._stream.sample_aspect_ratio)
        except (av.FFmpegError, ValueError) as e:
            raise MediaError(f"{self._path}: the picture at {picture.start_s:g} s can't be converted ({e})") from e

    def _nothing(self, start_s: float, end_s: float) -> MediaError:
        reason = f"the pictures end at {self._shown.end_s:g} s" if self._shown else self._pictures.error
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
        self._container = _open(self._path)
        streams = [stream for stream in _pictures(self._container) if stream.codec_context]
        if not streams:
            self.close()
            raise MediaError(f"{self._path}: no picture in this file that can be decoded")
        self._stream = streams[0]
        self._stream.codec_context.thread_count = self._threads
        self._stream.codec_context.thread_type = "AUTO"
        self._has_clock &= self._container.start_time is not None
        self._begin(self._container, at_key=False)
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


def write_video(
    path: Path,
    frames: Iterable[npt.NDArray[np.uint8]],
    samples: npt.NDArray[np.int16],
    rate_hz: int,
    crf: int = 20,
) -> None:
    """Write an MP4 (H.264 and AAC) that is the same to the byte for the same input and ffmpeg.

    Args:
        path: the file to write, through a temporary name beside it.
        frames: RGB pictures of one even size, shape (height, width, 3), uint8.
        samples: mono sound at 16 kHz, int16.
        rate_hz: pictures a second.
        crf: x264's constant rate factor; lower is better and larger.

    Raises:
        MediaError: ffmpeg refused.
    """
    pictures = iter(frames)
    first = next(pictures)
    height, width, _ = first.shape
    with replacing(path) as partial, tempfile.NamedTemporaryFile(suffix=".wav") as sound:
        with wave.open(sound, "wb") as wav:
            wav.setparams((1, 2, SAMPLE_RATE_HZ, len(samples), "NONE", "NONE"))
            wav.writeframes(samples.astype("<i2").tobytes())
        sound.flush()
        raw = ffmpeg.input("pipe:", format="rawvideo", pix_fmt="rgb24", s=f"{width}x{height}", r=rate_hz)
        stream = ffmpeg.output(
            raw.video,
            ffmpeg.input(f"file:{sound.name}").audio,
            f"file:{partial}",
            format="mp4",
            vcodec="libx264",
            preset="veryfast",
            crf=crf,
            pix_fmt="yuv420p",
            acodec="aac",
            audio_bitrate="64k",
            threads=1,
            map_metadata=-1,
            fflags="+bitexact",
            movflags="+faststart",
        )
        with tempfile.TemporaryFile() as stderr:
            process = subprocess.Popen(_command(stream), stdin=subprocess.PIPE, stderr=stderr)
            assert process.stdin is not None
            try:
                with contextlib.suppress(BrokenPipeError):  # ffmpeg died; its message follows
                    for picture in itertools.chain([first], pictures):
                        process.stdin.write(picture.tobytes())
                    process.stdin.close()
                failed = process.wait() != 0
            finally:  # also when the pictures' source fails
                process.kill()
                process.wait()
            if failed:
                stderr.seek(0)
                message = stderr.read().decode(errors="replace").strip()
                raise MediaError(f"{path}: ffmpeg could not write it ({message})")
