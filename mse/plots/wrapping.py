"""Lines that fit, in any script."""

import unicodedata
from itertools import pairwise

CLOSING = ("Pe", "Pf", "Po")  # categories of punctuation that begins no line


def wrapped(text: str, columns: int, most: int) -> list[str]:
    """Lines of a text; words longer than a line are broken beside wide characters, else shortened.

    Args:
        text: what to wrap.
        columns: room in a line. A Chinese, Japanese or Korean character takes two.
        most: lines; what is beyond them is an ellipsis.
    """
    lines = [""]
    for word in text.split():
        space = " "
        for part in [word] if width(word) <= columns else _parts(word):
            if lines[-1] and width(lines[-1] + space + part) > columns:
                lines.append(part)
            else:
                lines[-1] += space + part if lines[-1] else part
            space = ""
    if len(lines) > most:
        lines[most - 1] += "…"
    return [_shortened(line, columns) for line in lines[:most]]


def _shortened(line: str, columns: int) -> str:
    if width(line) <= columns:
        return line
    while width(line) >= columns:
        line = line[:-1]
    return f"{line.rstrip()}…"


def width(text: str) -> int:
    """Columns that a text takes."""
    return len(text) + sum(map(_wide, text))


def _wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in ("W", "F")


def _parts(word: str) -> list[str]:
    """A word in parts between which a line may end."""
    parts = [word[0]]
    for before, after in pairwise(word):
        if (_wide(before) or _wide(after)) and unicodedata.category(after) not in CLOSING:
            parts.append(after)
        else:
            parts[-1] += after
    return parts
