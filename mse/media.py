"""Read and write media files. The only module that opens them.

Every path is handed to libav and ffmpeg as ``file:PATH`` in an argument list, never through a shell, so names
with spaces, colons, quotes or a leading dash are plain names.
"""

import contextlib
import errno
import itertools
import os
import shutil
import stat
import subprocess
import tempfile
import wave
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

import av
import ffmpeg
import numpy as np
import numpy.typing as npt

from mse import limits
from mse.atomic import replacing
from mse.decoding import StreamClock, StreamDecoder, can_seek, clock_tick, is_timed
from mse.errors import UserError

SAMPLE_RATE_HZ = 16_000  # what openSMILE's sets, wav2vec 2.0 and Whisper all expect
END_TOLERANCE_S = 0.1  # containers round their duration; a clip may end this much later unremarked
LOOK_S = 1.0  # before the end that a header tells, where the last packets are looked for
LISTS = {"concat", "dash", "hls", "imf", "sdp"}  # formats that only name where sound and pictures are
ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)


class MediaError(UserError):
    """A media file that cannot be used; the message names the file and says why."""


class MissingError(MediaError):
    """There is no such file."""


@dataclass(frozen=True)
class MediaInfo:
    """What a file holds.

    Attributes:
        duration_s: length in seconds; where the header does not tell, or can't be right, the end of the last packet.
        has_audio: True when there is at least one sound stream.
        has_video: True when there is at least one picture stream that is not a cover image.
        note: what is wrong with the header, if anything.
        audio_tracks: how many sound streams there are.
        audio_track: the one that is taken where nothing else is asked for, from 1; 0 where there is none.
    """

    duration_s: float
    has_audio: bool
    has_video: bool
    note: str = ""
    audio_tracks: int = 0
    audio_track: int = 0


@cache
def ffmpeg_path() -> str:
    """The ffmpeg on PATH, else the static one that the imageio-ffmpeg wheel carries."""
    found = shutil.which("ffmpeg")
    if found:
        return str(found)
    import imageio_ffmpeg

    return str(imageio_ffmpeg.get_ffmpeg_exe())


def probe(path: Path) -> MediaInfo:
    """Read a file's container header, its last packets, and all of it where those two differ.

    Raises:
        MediaError: the file is missing, empty, out of reach, or no media file.
    """
    with open_media(path) as container:
        try:
            has_video, tracks = bool(picture_streams(container)), len(container.streams.audio)
            track = default_track(container)
            duration_s, note = _duration(container, path)
            return MediaInfo(duration_s, bool(tracks), has_video, note, tracks, track)
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


def default_track(container: av.container.InputContainer) -> int:
    """Number of the audio track that a player takes, from 1: the first that is marked as default, or else the first.

    A track that can't be decoded is taken only where none can; 0 where there is no track.
    """
    marked = av.stream.Disposition.default
    tracks = enumerate(container.streams.audio, start=1)
    ranked = [(stream.codec_context is None, not stream.disposition & marked, number) for number, stream in tracks]
    return min(ranked)[-1] if ranked else 0


def audio_stream(container: av.container.InputContainer, path: Path, track: int | None) -> av.AudioStream:
    """Find a file's audio track.

    Args:
        container: the open file.
        path: its name, for messages.
        track: number of the track, from 1; None for the default one.

    Raises:
        MediaError: there is none, or it can't be decoded.
    """
    streams = container.streams.audio
    if not streams:
        raise MediaError(f"{path}: no sound in this file")
    if track is not None and track > len(streams):
        raise MediaError(f"{path}: audio_track = {track}, but this file has {len(streams)}")
    stream = streams[(track or default_track(container)) - 1]
    if stream.codec_context is None:
        raise MediaError(f"{path}: no sound in this file that can be decoded")
    return stream


def describe_tracks(path: Path, info: MediaInfo, chosen: int | None) -> str:
    """Tell which of a file's audio tracks is used; empty where there is one.

    Args:
        path: the file.
        info: what it holds.
        chosen: segment.audio_track.
    """
    if info.audio_tracks < 2:
        return ""
    track, why = (chosen, "as segment.audio_track says") if chosen else (info.audio_track, "see segment.audio_track")
    return f"{path}: it has {info.audio_tracks} audio tracks; track {track} was used ({why})"


def _duration(container: av.container.InputContainer, path: Path) -> tuple[float, str]:
    """Seconds, and a note where the header tells far more than there is, or the file can't be read to its end."""
    said_s = container.duration / av.time_base if container.duration else None
    found_s, complaint = _end_s(container, path, said_s)
    if found_s > limits.LONGEST_S:
        raise MediaError(f"{path}: lasts {found_s:g} s by its clock; expected less than {limits.LONGEST_S:g} s")
    note = f"{path}: can't be read beyond {found_s:.2f} s ({complaint})" if complaint else ""
    if said_s is not None and abs(said_s - found_s) <= END_TOLERANCE_S:
        return said_s, note
    counted_from_s = (container.start_time or 0) / av.time_base
    if said_s is not None and abs(said_s - counted_from_s - found_s) <= END_TOLERANCE_S:  # by a clock that starts late
        return found_s, note
    if said_s is None or said_s < found_s or not _header_tells_length(path):
        return found_s, note
    if said_s <= limits.MOST_MISSING * found_s:  # cut off: each stage tells what of it is missing
        return said_s, ""
    return found_s, f"{path}: its header says that it lasts {said_s:g} s, but it ends at {found_s:.2f} s"


def _end_s(container: av.container.InputContainer, path: Path, said_s: float | None) -> tuple[float, str]:
    """Find where the last packet ends: after a seek to where the header says, or, if need be, by all of the file.

    Many formats tell no length, and libav then guesses one from the size and the first packets' bit rate. Where the
    clock may jump, the last packet's time is not the length.

    Returns:
        Seconds, and why the file can't be read on from there; empty where that is its end.
    """
    if said_s is not None and can_seek(container, container.streams):
        with contextlib.suppress(av.FFmpegError):  # this container can't seek, or not there
            container.seek(max(0, int((said_s - LOOK_S) * av.time_base)) + (container.start_time or 0))
            found_s, complaint = _last_packet_s(container, from_start=False)
            if found_s > 0 and not complaint:
                return found_s, ""
    with open_media(path) as whole:
        if whole.streams.audio and not is_timed(whole, whole.streams.audio[0]):
            return _decoded_s(StreamDecoder(whole, whole.streams.audio[0])), ""
        return _last_packet_s(whole, from_start=True)


def _decoded_s(decoder: StreamDecoder) -> float:
    """Decode all sound to find how long it lasts, in seconds."""
    return sum(frame.samples / frame.sample_rate for frame in decoder if isinstance(frame, av.AudioFrame))


def _last_packet_s(container: av.container.InputContainer, from_start: bool) -> tuple[float, str]:
    """Read on to a container's last packet: its end in seconds (0: nothing tells it), and the reader's complaint."""
    clocks = [StreamClock(container, stream) if stream.time_base else None for stream in container.streams]
    end_s = 0.0
    try:
        for packet in container.demux():
            clock = clocks[packet.stream_index]
            if not packet.size or clock is None:  # PyAV marks the end by empty packets
                continue
            stamp = packet.pts if packet.dts is None else packet.dts  # which rises, while pictures may change places
            if stamp is None and not from_start:
                return 0.0, ""
            tick_s = clock_tick(packet.stream)
            length_s = float((packet.duration or 0) * tick_s)
            shown_later_s = 0.0 if packet.pts is None or stamp is None else float((packet.pts - stamp) * tick_s)
            # Packets without a time, as in raw H.264, follow one another.
            end_s = max(end_s, clock.place(stamp, length_s) + shown_later_s + length_s)
    except av.error.ExitError:
        raise
    except av.FFmpegError as e:
        return end_s, e.strerror or str(e)
    return end_s, ""


def _header_tells_length(path: Path) -> bool:
    """Whether a file tells its length itself: read as a stream, whose size is not known, libav can't guess any."""
    options = {"format_whitelist": _formats()}
    try:
        with (
            path.open("rb") as file,
            av.open(_Stream(file), "r", metadata_errors="replace", options=options) as streamed,
        ):
            return bool(streamed.duration)
    except av.FFmpegError:  # its header lies at its end
        return True


class _Stream:
    """A file that can be read on and on, and nothing else."""

    def __init__(self, file: BinaryIO) -> None:
        self.read = file.read


def _command(stream: ffmpeg.nodes.Stream) -> list[str]:
    command: list[str] = stream.global_args("-nostdin", "-loglevel", "error").compile(
        cmd=ffmpeg_path(), overwrite_output=True
    )
    return command


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
    import cv2

    pictures = iter(frames)
    first = next(pictures)
    height, width, _ = first.shape
    with replacing(path) as partial, tempfile.NamedTemporaryFile(suffix=".wav") as sound:
        with wave.open(sound, "wb") as wav:
            wav.setparams((1, 2, SAMPLE_RATE_HZ, len(samples), "NONE", "NONE"))
            wav.writeframes(samples.astype("<i2").tobytes())
        sound.flush()
        raw = ffmpeg.input("pipe:", format="rawvideo", pix_fmt="yuv420p", s=f"{width}x{height}", r=rate_hz)
        stream = ffmpeg.output(
            raw.video,
            ffmpeg.input(f"file:{sound.name}").audio,
            f"file:{partial}",
            format="mp4",
            vcodec="libx264",
            preset="ultrafast",
            crf=crf,
            acodec="aac",
            audio_bitrate="96k",
            aac_coder="fast",
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
                    for picture in itertools.chain([first], pictures):  # ffmpeg's own conversion takes longer
                        process.stdin.write(cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420).data)
                    process.stdin.close()
                failed = process.wait() != 0
            finally:  # also when the pictures' source fails
                process.kill()
                process.wait()
            if failed:
                stderr.seek(0)
                message = stderr.read().decode(errors="replace").strip()
                raise MediaError(f"{path}: ffmpeg could not write it ({message})")
