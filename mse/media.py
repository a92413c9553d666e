"""Read and write media files. The only module that runs ffmpeg.

Every path is handed to ffmpeg as ``file:PATH`` in an argument list, never through a shell, so names
with spaces, colons, quotes or a leading dash are plain names.
"""

import contextlib
import itertools
import os
import shutil
import subprocess
import tempfile
import wave
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

import av
import ffmpeg
import numpy as np
import numpy.typing as npt

from mse.atomic import replacing
from mse.errors import UserError

SAMPLE_RATE_HZ = 16_000  # what openSMILE's sets, wav2vec 2.0 and Whisper all expect


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
    if not os.path.isfile(path):  # unlike Path's, it bears names that are too long
        raise MediaError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise MediaError(f"{path}: the file is empty (0 bytes)")
    try:
        with av.open(f"file:{path}") as container:
            pictures = [
                stream
                for stream in container.streams.video
                if not stream.disposition & av.stream.Disposition.attached_pic
            ]
            return MediaInfo(
                duration_s=container.duration / av.time_base if container.duration else _last_packet_s(container),
                has_audio=bool(container.streams.audio),
                has_video=bool(pictures),
            )
    except (av.FFmpegError, OSError) as e:
        raise MediaError(f"{path}: not readable as sound or video ({e.strerror or e})") from e


def _last_packet_s(container: av.container.InputContainer) -> float:
    """Read through a container that was streamed, as browsers and some cameras write them, to find its end."""
    end_s = 0.0
    for packet in container.demux():
        if packet.pts is not None and packet.time_base is not None:
            end_s = max(end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
    return end_s


def _input(path: Path, start_s: float | None, end_s: float | None) -> ffmpeg.nodes.Stream:
    """An ffmpeg input cut to [start_s, end_s); seeking decodes from the key frame before, so it is exact."""
    window: dict[str, float] = {}
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


def read_audio(path: Path, start_s: float | None = None, end_s: float | None = None) -> npt.NDArray[np.int16]:
    """Decode sound, mixed down to mono at 16 kHz.

    Args:
        path: any file with a sound stream.
        start_s: begin here (seconds from the file's start); None for the start.
        end_s: stop here; None for the end.

    Returns:
        Samples, shape (N,), int16. Shorter than asked for where the file ends or is damaged before end_s.

    Raises:
        MediaError: nothing could be decoded.
    """
    # Sound that starts late or has gaps is filled with silence, or it would run ahead of the picture.
    sound = _input(path, start_s, end_s).audio.filter("aresample", SAMPLE_RATE_HZ, **{"async": 1, "first_pts": 0})
    stream = sound.output("pipe:", format="s16le", acodec="pcm_s16le", ac=1)
    done = subprocess.run(_command(stream), capture_output=True)
    if done.returncode != 0 and not done.stdout:
        raise _decode_error(path, done.stderr)
    return np.frombuffer(done.stdout, dtype="<i2")


def iter_frames(
    path: Path,
    rate_hz: float,
    start_s: float | None = None,
    end_s: float | None = None,
    max_side_px: int = 640,
) -> Iterator[npt.NDArray[np.uint8]]:
    """Decode pictures at an even rate: frame t shows the clip at t / rate_hz seconds after start_s.

    Args:
        path: any file with a picture stream; its rotation mark is obeyed.
        rate_hz: pictures a second, whatever the file's own rate (constant or not).
        start_s: begin here (seconds from the file's start); None for the start.
        end_s: stop here; None for the end.
        max_side_px: larger pictures are scaled down so that no side is longer.

    Yields:
        RGB pictures, shape (height, width, 3), uint8.

    Raises:
        MediaError: no picture could be decoded; a file that is damaged later on ends early instead.
    """
    video = _input(path, start_s, end_s).video
    video = video.filter("fps", fps=rate_hz, start_time=0).filter(
        "scale", f"min(iw,{max_side_px})", f"min(ih,{max_side_px})", force_original_aspect_ratio="decrease"
    )
    # PPM frames carry their own size, so rotation and changes of size within a file need no bookkeeping.
    stream = video.output("pipe:", format="image2pipe", vcodec="ppm", pix_fmt="rgb24")
    with tempfile.TemporaryFile() as stderr:  # a file: nobody would drain a second pipe meanwhile
        process = subprocess.Popen(_command(stream), stdout=subprocess.PIPE, stderr=stderr)
        assert process.stdout is not None
        frame = None
        try:
            for frame in _read_ppm(process.stdout):
                yield frame
            if process.wait() != 0 and frame is None:
                stderr.seek(0)
                raise _decode_error(path, stderr.read())
        finally:  # also when the caller stops early
            process.stdout.close()
            process.kill()
            process.wait()


def _read_ppm(pipe: IO[bytes]) -> Iterator[npt.NDArray[np.uint8]]:
    """Split a run of binary PPM pictures (header lines P6, "width height", 255) into arrays."""
    while pipe.readline():
        width, height = map(int, pipe.readline().split())
        pipe.readline()
        pixels = pipe.read(width * height * 3)
        if len(pixels) == width * height * 3:  # else ffmpeg died; its exit status tells
            yield np.frombuffer(pixels, dtype=np.uint8).reshape(height, width, 3)


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
