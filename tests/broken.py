"""Fifteen ways in which a clip can be broken: each makes a file that cameras, disks and careless hands do make."""

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.conftest import ffmpeg

WHOLE = "whole.mp4"  # in the working folder: a face with a tone, 1.2 s, 10 pictures a second
HUGE_PX = 16_000  # libav itself would bear as many, in 256 million pixels


@dataclass(frozen=True)
class Way:
    """One way of being broken.

    Attributes:
        make: from the folder with WHOLE, makes the file, or does not.
        ending: of its name.
        sound: status after segmenting.
        acoustic: status of the features of the sound.
        facial: status of those of the face.
        use: how much of the clip is used.
        message: a part of the reason.
    """

    make: Callable[[Path, Path], object]
    ending: str
    sound: str
    acoustic: str
    facial: str
    use: str
    message: str


def by_ffmpeg(*options: str) -> Callable[[Path, Path], object]:
    return lambda folder, out: ffmpeg("-i", folder / WHOLE, *options, out)


def truncated(folder: Path, out: Path) -> None:
    data = (folder / WHOLE).read_bytes()
    out.write_bytes(data[: len(data) * 6 // 10])


def without_streams(folder: Path, out: Path) -> None:
    """An MP4 that says how long it lasts, and nothing else."""

    def box(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", 8 + len(content)) + kind + content

    header = struct.pack(">4x2I2I76x2I", 0, 0, 1000, 1200, 0, 1)
    out.write_bytes(box(b"ftyp", b"isom\0\0\2\0isom") + box(b"moov", box(b"mvhd", header)))


def absurd_rate(folder: Path, out: Path) -> None:
    """An AVI whose header tells a thousand million pictures a second."""
    ffmpeg("-i", folder / WHOLE, "-c:v", "mjpeg", "-c:a", "pcm_s16le", out)
    data = bytearray(out.read_bytes())
    place = data.index(b"vids") + 20  # scale, then rate, which is that many times the pictures a second
    data[place : place + 8] = struct.pack("<2I", 1, 1_000_000_000)
    out.write_bytes(data)


def corrupted(folder: Path, out: Path) -> None:
    """Noise over a part of the pictures' packets, in their middle."""
    ffmpeg("-i", folder / WHOLE, "-g", "2", "-crf", "10", out)
    data = bytearray(out.read_bytes())
    begin, end = len(data) * 4 // 10, len(data) * 5 // 10
    data[begin:end] = np.random.default_rng(0).bytes(end - begin)
    out.write_bytes(data)


def huge(folder: Path, out: Path) -> None:
    """Every picture says that it has HUGE_PX in width and height, and so does the AVI's header."""
    ffmpeg("-i", folder / WHOLE, "-c:v", "mjpeg", "-c:a", "pcm_s16le", out)
    data = bytearray(out.read_bytes())
    place = data.index(b"strf") + 12
    data[place : place + 8] = struct.pack("<2I", HUGE_PX, HUGE_PX)
    place = 0
    while (place := data.find(b"\xff\xc0\x00\x11\x08", place + 1)) > 0:  # the beginning of a picture in three colours
        data[place + 5 : place + 9] = struct.pack(">2H", HUGE_PX, HUGE_PX)
    out.write_bytes(data)


def endless(folder: Path, out: Path) -> None:
    """A Matroska file whose header says that it lasts for 10 million seconds."""
    ffmpeg("-i", folder / WHOLE, "-c", "copy", out)
    data = bytearray(out.read_bytes())
    place = data.index(b"\x44\x89\x88") + 3  # Duration, eight bytes
    data[place : place + 8] = struct.pack(">d", 1e10)  # milliseconds
    out.write_bytes(data)


def forbidden(folder: Path, out: Path) -> None:
    out.write_bytes((folder / WHOLE).read_bytes())
    out.chmod(0)


LOST = ("unreadable", "unreadable", "unreadable", "unusable")
WAYS = {
    "zero bytes": Way(lambda folder, out: out.touch(), ".mp4", *LOST, "the file is empty (0 bytes)"),
    "truncated": Way(truncated, ".mp4", "cut", "cut", "cut", "full", "3 of 6 pictures could be decoded"),
    "wrong extension": Way(lambda folder, out: out.write_text("a letter\n" * 99), ".mp4", *LOST, "not readable as"),
    "no streams": Way(without_streams, ".mp4", *LOST, "neither sound nor pictures"),
    "sound only": Way(by_ffmpeg("-vn"), ".wav", "ok", "ok", "no_stream", "partial", "no picture in this file"),
    "picture only": Way(by_ffmpeg("-an"), ".mp4", "no_stream", "no_stream", "ok", "partial", "no sound in this clip"),
    "silence": Way(
        by_ffmpeg("-af", "volume=0"), ".mp4", "nothing_found", "nothing_found", "ok", "partial", "only silence"
    ),
    "short": Way(by_ffmpeg("-t", "0.05"), ".mp4", *["too_short"] * 3, "unusable", "less than 0.2 s (segment.min_s)"),
    "absurd rate": Way(absurd_rate, ".avi", "ok", "ok", "cut", "full", "pictures could be decoded"),
    "corrupted": Way(corrupted, ".mp4", "ok", "ok", "cut", "full", "damaged pictures"),
    "missing": Way(lambda folder, out: None, ".mp4", *["missing"] * 3, "unusable", "no such file"),
    "forbidden": Way(forbidden, ".mp4", *LOST, "Permission denied"),
    "huge": Way(huge, ".avi", "ok", "ok", "unreadable", "partial", "16000 x 16000 pixels"),
    "endless": Way(endless, ".mkv", "cut", "cut", "ok", "full", "its header says that it lasts 1e+07 s"),
    "circle of links": Way(
        lambda folder, out: os.symlink(out.name, out), ".mp4", *LOST, "Too many levels of symbolic links"
    ),
}
