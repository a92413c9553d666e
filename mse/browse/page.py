"""One HTML file that needs nothing else: no server, no network, no folder beside it (recordings alone lie outside).

Whatever clips are called and whatever was said in them stands in the page as data, never as markup, and the page's own
policy lets no script run but its own.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import mse
from mse.atomic import replacing
from mse.browse.clips import Result, beside
from mse.browse.pictures import thumbnail
from mse.config import Classes
from mse.progress import track


def write_page(result: Result, pictures: Mapping[str, str], out: Path) -> None:
    """Write the page.

    Args:
        result: the clips and their answers.
        pictures: time axes by clip, as data addresses.
        out: the HTML file; recordings are named relative to its folder.
    """
    clips = [
        clip.entry
        | {
            "media": beside(clip.media, out) if clip.media else "",
            "window": [round(second, 3) for second in clip.window_s],
            "thumbnail": thumbnail(clip),
            "picture": pictures.get(clip.clip_id, ""),
        }
        for clip in track(result.clips, "thumbnails", len(result.clips))
    ]
    task = result.task
    scale: dict[str, Any] = (
        {"kind": "classes", "names": task.names}
        if isinstance(task, Classes)
        else {"kind": "intensity", "low": task.low, "high": task.high}
    )
    told = {"title": result.title, "corpus": result.corpus, "task": scale, "runs": result.runs, "clips": clips}
    with replacing(out) as partial:
        partial.write_text(_page(told), encoding="utf-8")


def _page(told: Mapping[str, Any]) -> str:
    style, script = (files("mse.browse").joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return Template(files("mse.browse").joinpath("page.html").read_text(encoding="utf-8")).substitute(
        title=_text(str(told["title"])),
        version=mse.__version__,
        style=style,
        script=script,
        style_digest=_digest(style),
        script_digest=_digest(script),
        data=_data(told),
    )


def _data(told: Mapping[str, Any]) -> str:
    """JSON that can't end the element that it stands in."""
    text = json.dumps(told, ensure_ascii=False, allow_nan=False)
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


def _text(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _digest(text: str) -> str:
    """By which the page's policy knows its own script and style."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
