"""Texts with {names} in them: filled from a table's row, or read out of a file's name or line.

    Raw/{video_id}/{clip_id:0>4}.mp4        filled: format specifications may pad and align
    audio/{kind}-{emotion,\\d\\d}.flac        read: a name stands for what fits its regular expression

A doubled brace is a plain brace.
"""

import re
import string
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

ALIGNMENT = re.compile(r"(.?[<>^])?\d{0,3}")  # fill, direction and width: all that makes sense for text
GROUP = re.compile(r"\{\{|\}\}|\{(?P<name>[A-Za-z_]\w*)(?:,(?P<regex>(?:[^{}]|\{[\d,]+\})+))?\}")
INVISIBLE = dict.fromkeys(map(ord, "\ufeff\u200b\u200c\u200d\u2060"))
QUOTED = re.compile("[\"'\u2018\u201a\u201c\u201e«](.*)[\"'\u2018\u2019\u201c\u201d»]")
PATH_PART = r"[^/\\]+"


def clean_name(name: str) -> str:
    """A column's name without what nobody sees or means in it: spaces and quotation marks around it, odd spaces."""
    plain = " ".join(unicodedata.normalize("NFC", name).translate(INVISIBLE).split())
    quoted = QUOTED.fullmatch(plain)
    return quoted[1].strip() if quoted else plain


@dataclass(frozen=True)
class Template:
    """A column's name, or a text with columns' names in braces.

    Attributes:
        text: without braces the name of one column, which is taken as it is.
    """

    text: str

    @cached_property
    def _parts(self) -> list[tuple[str, str | None, str]]:
        """Literal text, then the column that follows it (None at the end) and its alignment."""
        if "{" not in self.text and "}" not in self.text:
            return [("", clean_name(self.text), "")]
        parts = []
        for literal, name, spec, conversion in string.Formatter().parse(self.text):
            if conversion or not ALIGNMENT.fullmatch(spec or ""):
                raise ValueError(f"{{{name}}}: after a colon only fill, alignment and width may stand, such as 0>4")
            if name == "":
                raise ValueError("{} names no column")
            parts.append((literal, None if name is None else clean_name(name), spec or ""))
        return parts

    @property
    def columns(self) -> list[str]:
        """The columns that it takes from.

        Raises:
            ValueError: the braces don't match, or what follows a colon is no alignment.
        """
        return [name for _, name, _ in self._parts if name is not None]

    def fill(self, row: Mapping[str, str]) -> str:
        """The text for one row."""
        return "".join(literal + (format(row[name], spec) if name else "") for literal, name, spec in self._parts)


@dataclass(frozen=True)
class Pattern:
    """A text in which {name} or {name,regular expression} stands for something to be read.

    Attributes:
        text: the pattern; everything outside braces stands for itself.
        default: the regular expression of a name that has none.
        meanings: names that have another one.
    """

    text: str
    default: str = PATH_PART
    meanings: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        parts, end, seen = [], 0, set()
        for group in GROUP.finditer(self.text):
            parts.append(re.escape(self._literal(self.text[end : group.start()])))
            end, name = group.end(), group["name"]
            if name is None:
                parts.append(re.escape(group[0][0]))
            elif name in seen:
                parts.append(f"(?P={name})")
            else:
                seen.add(name)
                parts.append(f"(?P<{name}>{group['regex'] or self.meanings.get(name, self.default)})")
        parts.append(re.escape(self._literal(self.text[end:])))
        try:
            return re.compile("".join(parts))
        except re.error as e:
            raise ValueError(f"not a regular expression: {e}") from e

    def _literal(self, text: str) -> str:
        if "{" in text or "}" in text:
            raise ValueError(f"{text!r}: braces hold a name, or a name, a comma and a regular expression")
        return text

    @property
    def names(self) -> list[str]:
        """What it reads.

        Raises:
            ValueError: a brace is alone, or a regular expression is none.
        """
        return list(self._regex.groupindex)

    def read(self, text: str) -> dict[str, str] | None:
        """What stands for each name in a text; None where the text does not fit."""
        found = self._regex.fullmatch(text)
        return None if found is None else found.groupdict(default="")
