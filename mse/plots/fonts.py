"""Fonts for whatever script a corpus is in."""

import unicodedata
from pathlib import Path

from matplotlib import font_manager

from mse.progress import say

UNSEEN = ("Cc", "Cf", "Zs")  # categories of characters without a shape


def font_families(text: str) -> list[str]:
    """Installed fonts that together have all characters of a text: the usual one, then those that it needs.

    What none has is said, since it will be drawn as boxes.
    """
    usual = font_manager.findfont(font_manager.FontProperties())
    missing = _lacking(usual, {character for character in text if unicodedata.category(character) not in UNSEEN})
    lacking: dict[str, set[str]] = {}
    for entry in sorted(font_manager.fontManager.ttflist, key=lambda entry: entry.fname) if missing else []:
        # The list may be older than the disk, and the font of last resort has nothing but boxes.
        if Path(entry.fname).is_file() and "Last Resort" not in entry.name:
            lacking.setdefault(entry.name, _lacking(entry.fname, missing))
    families = [font_manager.get_font(usual).family_name]
    for family in sorted(lacking, key=lambda family: len(lacking[family])):
        if missing - lacking[family]:
            families.append(family)
            missing &= lacking[family]
    if missing:
        shown = " ".join(sorted(missing)[:10])
        say(f"no installed font has {shown}: drawn as boxes in PNG and PDF; install a font for the script (Noto, say)")
    return families


def _lacking(font: str, characters: set[str]) -> set[str]:
    has = font_manager.get_font(font).get_char_index
    return {character for character in characters if not has(ord(character))}
