"""Read and write media files. The only module that runs ffmpeg.

Every path is handed to ffmpeg as ``file:PATH`` in an argument list, never through a shell, so names
with spaces, colons, quotes or a leading dash are plain names.
"""

import contextlib
import errno
import itertools
import os
import select
import shutil
import stat
import subprocess
import tempfile
import wave
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import ffmpeg
import numpy as np
import numpy.typing as npt

from mse import limits
from mse.atomic import replacing
from mse.errors import UserError
from mse.pictures import CLOCK_MAY_JUMP, clock_tick, clock_zero

SAMPLE_RATE_HZ = 16_000  # what openSMILE's sets, wav2vec 2.0 and Whisper all expect
TICK_S = 1.0  # steps in which ffmpeg is waited for
LISTS = {"concat", "dash", "hls", "imf", "sdp"}  # formats that only name where sound and pictures are
ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)


class MediaError(UserError):
    """A media file that cannot be used; the message names the file and says why."""


class MissingError(MediaError):
    """There is no such file."""


@dataclass(frozen=True)
class MediaInfo:
    """What a container says of itself.

    Attributes:
        duration_s: length in seconds; where the header does not tell, or can't be right, the end of the last packet.
        has_audio: True when there is at least one sound stream.
        has_video: True when there is at least one picture stream that is not a cover image.
        note: what is wrong with the header, if anything.
    """

    duration_s: float
    has_audio: bool
    has_video: bool
    note: str = ""


@cache
def ffmpeg_path() -> str:
    """The ffmpeg on PATH, else the static one that the imageio-ffmpeg wheel carries."""
    found = shutil.which("ffmpeg")
    if found:
        return str(found)
    import imageio_ffmpeg

    return str(imageio_ffmpeg.get_ffmpeg_exe())


def probe(path: Path) -> MediaInfo:
    """Read a file's container header, and the file itself where the header can't be right.

    Raises:
        MediaError: the file is missing, empty, out of reach, or no media file.
    """
    with open_media(path) as container:
        try:
            duration_s, note = _duration(container, path)
            return MediaInfo(duration_s, bool(container.streams.audio), bool(picture_streams(container)), note)
        except av.FFmpegError as e:
            raise _unreadable(path, e) from e


def open_media(path: Path) -> av.container.InputContainer:
    """Open a file that is one: neither a pipe or device, which may never end, nor a list of other files.

    Raises:
        MediaError: as for `probe`.
    """
    _require_file(path)
    formats = {"format_whitelist": _formats()}
    try:
        return av.open(f"file:{path}", metadata_errors="replace", options=formats, timeout=limits.DECODE_S)
    except (av.FFmpegError, OSError) as e:
        raise _unreadable(path, e) from e


def _require_file(path: Path) -> None:
    try:
        found = os.stat(path)
    except ValueError as e:  # a name with a NUL
        raise MissingError(f"{path}: no such file") from e
    except OSError as e:
        if e.errno in ABSENT:
            raise MissingError(f"{path}: no such file") from e
        raise _unreadable(path, e) from e  # links in a circle, or a folder that may not be entered
    if not stat.S_ISREG(found.st_mode):
        raise MediaError(f"{path}: a folder, pipe or device; expected a file with sound or pictures")
    if found.st_size == 0:
        raise MediaError(f"{path}: the file is empty (0 bytes)")


@cache
def _formats() -> str:
    """The formats that hold sound or pictures themselves; a list may name pipes, which are waited for for ever."""
    return ",".join(sorted(av.formats_available - LISTS))


def _unreadable(path: Path, error: OSError | av.FFmpegError) -> MediaError:
    if isinstance(error, av.error.ExitError):
        return MediaError(f"{path}: given up: nothing came out of it for {limits.DECODE_S:g} s, the limit")
    return MediaError(f"{path}: not readable as sound or video ({error.strerror or error})")


def picture_streams(container: av.container.InputContainer) -> list[av.VideoStream]:
    """Picture streams, without cover images."""
    cover = av.stream.Disposition.attached_pic
    return [stream for stream in container.streams.video if not stream.disposition & cover]


def _duration(container: av.container.InputContainer, path: Path) -> tuple[float, str]:
    """Seconds, and a note where the header tells far more."""
    said_s = container.duration / av.time_base if container.duration else None
    if said_s is not None and said_s <= path.stat().st_size / limits.LEAST_BYTES_PER_S:
        return said_s, ""
    found_s = _last_packet_s(container)
    if found_s > limits.LONGEST_S:
        raise MediaError(f"{path}: lasts {found_s:g} s by its clock; expected less than {limits.LONGEST_S:g} s")
    if said_s is None or said_s <= 2 * found_s:
        return found_s, ""
    return found_s, f"{path}: its header says that it lasts {said_s:g} s, but it ends at {found_s:.2f} s"


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
    window: dict[str, float] = {"threads": 1, "max_pixels": limits.MOST_PIXELS}
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
    with open_media(path) as container:
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
        MediaError: nothing could be decoded, or it took too long.
    """
    sound = _input(path, start_s, end_s).audio
    late_s = _late_s(path) - (start_s or 0.0)
    if late_s > 0:
        sound = sound.filter("asetpts", f"PTS+{late_s:.6f}/TB")
    # Sound that starts late or has gaps is filled with silence, or it would run ahead of the picture.
    sound = sound.filter("aresample", SAMPLE_RATE_HZ, **{"async": 1, "first_pts": 0})
    if late_s > 0 and end_s is not None:
        sound = sound.filter("atrim", end_sample=round((end_s - (start_s or 0.0)) * SAMPLE_RATE_HZ))
    command = _command(sound.output("pipe:", format="s16le", acodec="pcm_s16le", ac=1))
    with contextlib.closing(decoded_bytes(command, path, 2 * round(block_s * SAMPLE_RATE_HZ))) as blocks:
        for block in blocks:
            yield np.frombuffer(block[: len(block) & ~1], dtype="<i2")


def decoded_bytes(command: Sequence[str], path: Path, block_bytes: int) -> Generator[bytes, None, None]:
    """What ffmpeg writes, block by block; it is ended when it takes too long for what comes out."""
    limit, decoded_s = limits.TimeLimit(), 0.0
    with tempfile.TemporaryFile() as stderr:  # a file: nobody would drain a second pipe meanwhile
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, bufsize=0)
        assert process.stdout is not None
        try:
            block, part = bytearray(), b"-"
            while part:
                # Counted in steps, so that a job that was stopped for an hour has waited for one step alone.
                while not select.select([process.stdout], [], [], TICK_S)[0]:
                    limit.spend(TICK_S, decoded_s)
                part = process.stdout.read(block_bytes - len(block))
                decoded_s += len(part) / 2 / SAMPLE_RATE_HZ
                block += part
                if len(block) == block_bytes or (block and not part):
                    yield bytes(block)
                    block.clear()
            if process.wait() < 0:  # by a signal: no fault of the file's, and not to be taken for its end
                raise UserError(f"{path}: ffmpeg was killed (signal {-process.returncode}) while it decoded the sound")
            if process.returncode and not decoded_s:
                stderr.seek(0)
                raise _decode_error(path, stderr.read())
        except TimeoutError as e:
            raise MediaError(f"{path}: {e}") from e
        finally:  # also when the caller stops early
            process.stdout.close()
            process.kill()
            process.wait()


def read_audio(path: Path, start_s: float | None = None, end_s: float | None = None) -> npt.NDArray[np.int16]:
    """All that `iter_audio` gives, as one array of shape (N,); like it, raises MediaError."""
    blocks = list(iter_audio(path, start_s, end_s))
    return np.concatenate(blocks) if blocks else np.zeros(0, np.int16)


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
