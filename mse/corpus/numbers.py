"""Numbers and times as people write them: with a comma, another minus, or thousands apart."""

import math
import re

NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
SECONDS = re.compile(r"\d+(?:[.,]\d*)?|[.,]\d+")
CLOCK = re.compile(r"(?:(?P<h>\d+):)?(?P<m>[0-5]?\d):(?P<s>[0-5]?\d(?:[.,]\d*)?)")
SIGNS = str.maketrans(dict.fromkeys("\u2010\u2011\u2013\u2212\ufe63\uff0d", "-") | {"\uff0b": "+"})
SPACES = re.compile(r"(?<=\d)[\s\u202f'\u2019](?=\d{3}(?!\d))")  # between thousands; \s knows the narrow ones too
COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")
THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d*)?")
THOUSANDS_BY_DOTS = re.compile(r"[+-]?\d{1,3}(?:\.\d{3})+,\d*")


def plain_numbers(text: str) -> list[str]:
    """What numbers a text may stand for, each as a program writes it; empty where it is none.

    "-1,5" is -1.5, "1.234,5" is 1234.5; "1,234" may be either of two, the decimal comma first.
    """
    text = SPACES.sub("", text.strip().translate(SIGNS))
    if NUMBER.fullmatch(text):
        return [text]
    found = []
    if COMMA.fullmatch(text):
        found.append(text.replace(",", "."))
    if THOUSANDS.fullmatch(text):
        found.append(text.replace(",", ""))
    if THOUSANDS_BY_DOTS.fullmatch(text):
        found.append(text.replace(".", "").replace(",", "."))
    return found


def seconds(text: str) -> float:
    """A time as seconds, from 83.5, 1:23.5, 0:01:23,500; NaN where it is none."""
    text = text.strip()
    if SECONDS.fullmatch(text):
        return float(text.replace(",", "."))
    found = CLOCK.fullmatch(text)
    if not found:
        return math.nan
    hours, minutes = int(found["h"] or 0), int(found["m"])
    return round(hours * 3600 + minutes * 60 + float(found["s"].replace(",", ".")), 6)
