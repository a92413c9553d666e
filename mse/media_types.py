"""Tell media files from others by the ending of their name: the one list that every command goes by.

The endings are those that libav knows for the formats below, for reading or for writing, and those that cameras and
programs use for the same formats though libav lists them nowhere.
"""

import contextlib
import re
from collections.abc import Iterable
from functools import cache
from pathlib import PurePath

from av.format import ContainerFormat

VIDEO_FORMATS = (
    "mov mp4 3gp 3g2 ipod psp ismv f4v matroska webm avi asf mpeg vob dvd svcd mpegts flv amv mxf ogg ogv dv gxf wtv "
    "rm nut ivf dhav kux ty vivo roq m4v h261 h263 h264 hevc vvc obu mpeg1video mpeg2video mjpeg dirac vc1 yuv4mpegpipe"
)
AUDIO_FORMATS = (
    "wav w64 aiff au caf flac mp3 mp2 aac adts latm ac3 eac3 dts dtshd mlp truehd amr ape mpc tak tta wv shn oga opus "
    "spx gsm g722 g729 ilbc codec2 lc3 sbc sox voc ircam nistsphere pvf avr dss oma qoa iamf"
)
ALIASES = {
    "mov": "qt insv lrv 360",  # the latter of 360-degree and action cameras
    "mp4": "mp4v m4r m4p f4a f4p 3gpp 3gp2 3gpp2",
    "matroska": "weba",
    "avi": "divx xvid",
    "asf": "wm dvr-ms",
    "mpeg": "mpe m2p m2s mod tod vro evo",  # mod and tod of camcorders with a hard disk
    "mpegts": "tp trp m2tp",
    "mpeg2video": "mpv",
    "rm": "rmvb rv",
    "ogg": "ogx",
    "nsv": "nsv",
    "pva": "pva",
    "amr": "awb 3ga",
    "wav": "wave bwf rf64",
    "au": "snd",
    "mp3": "mp1 mpga",
    "aac": "aacp",
    "dsf": "dsf",
}
NO_MEDIA = {"avif", "heic", "heif", "ism", "mks", "mpo"}  # pictures, subtitles and lists in the formats of videos
MOST_NAMED = 3  # of each kind that is passed over


@cache
def media_endings() -> frozenset[str]:
    """Endings of video and sound files, in lower case and without the dot."""
    formats = f"{VIDEO_FORMATS} {AUDIO_FORMATS}".split()
    known = {ending for name in formats for ending in _registered(name)}
    return frozenset(known.union(*(endings.split() for endings in ALIASES.values())) - NO_MEDIA)


def _registered(name: str) -> set[str]:
    """The endings that libav knows for reading or for writing a format; some it can do one of alone."""
    found: set[str] = set()
    for mode in ("r", "w"):
        with contextlib.suppress(ValueError):
            found |= {ending.lower() for ending in ContainerFormat(name, mode).extensions}
    return found


def ending_regex() -> str:
    """A regular expression for the ending of any medium, in capitals or not."""
    return f"(?i:{'|'.join(map(re.escape, sorted(media_endings())))})"


def is_medium(path: str | PurePath) -> bool:
    """Whether a name ends as a video or sound file does; what is in the file is not looked at."""
    return PurePath(path).suffix[1:].lower() in media_endings()


def describe_skipped(paths: Iterable[str], unfit: str = "") -> str:
    """Count and name files that are passed over, by kind: "3 files: 2 .txt (a.txt, b.txt), 1 hidden (._a.mp4)".

    Args:
        paths: of the files, relative to their folder.
        unfit: why a medium among them is passed over.
    """
    kinds: dict[str, list[str]] = {}
    for path in sorted(paths):
        name = PurePath(path)
        if any(part.startswith(".") for part in name.parts):
            kind = "hidden"
        elif not is_utf8(path):
            kind = "whose name is no UTF-8"
        elif path.endswith("/"):
            kind = "folder that can't be opened"
        elif is_medium(name):
            kind = unfit
        else:
            kind = name.suffix.lower() or "without an ending"
        kinds.setdefault(kind, []).append(path if path.isprintable() else ascii(path)[1:-1])
    count = sum(map(len, kinds.values()))
    said = [f"{len(found)} {kind} ({_some(found)})" for kind, found in kinds.items()]
    return f"{count} file{'s' if count > 1 else ''}: {', '.join(said)}" if said else ""


def is_utf8(name: str) -> bool:
    """Whether a name can be written down; the disk may hold others, such as names in Latin-1."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _some(names: list[str]) -> str:
    return ", ".join(names[:MOST_NAMED]) + (", ..." if len(names) > MOST_NAMED else "")
