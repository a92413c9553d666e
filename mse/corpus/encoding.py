"""Read a table's bytes as text in the configured encoding, or guess the encoding and report the guess."""

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mse.corpus.language import ALPHABETS, FREQUENT, guess_language, share_of_known_words
from mse.errors import UserError

UTF8 = ("utf-8", "utf8", "utf-8-sig", "utf_8", "utf_8_sig")
MARKS = {  # the first bytes of a file that says itself how it is written; the longer ones first
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
NO_TEXT = {  # the first bytes of what people take for a table
    b"PK\x03\x04": "a spreadsheet or a zip archive, not text; save the table as CSV (UTF-8)",
    b"\xd0\xcf\x11\xe0": "a spreadsheet of an old format, not text; save the table as CSV (UTF-8)",
    b"\x1f\x8b": "compressed with gzip; decompress it",
}
MULTIBYTE = ("gb18030", "big5", "cp932", "cp949", "euc_jp")
# What spreadsheets, editors and terminals write, and how much rarer than the commonest it is on people's computers.
RARITY = {
    "cp1252": 0.0, "gb18030": 0.0, "big5": 0.02, "cp932": 0.02, "cp949": 0.02, "cp1251": 0.02, "cp1250": 0.05,
    "cp1254": 0.05, "cp1253": 0.05, "cp1255": 0.05, "cp1256": 0.05, "cp1257": 0.05, "cp874": 0.1, "euc_jp": 0.1,
    "iso8859_2": 0.1, "mac_roman": 0.15, "koi8_r": 0.15, "cp866": 0.15, "cp850": 0.17,
}  # fmt: skip
HOMES = {  # the encodings of a language; cp1252 for every other
    **dict.fromkeys(("pl", "cs", "sk", "hu", "ro", "hr"), ("cp1250", "iso8859_2")),
    **dict.fromkeys(("lt", "lv"), ("cp1257",)),
    "tr": ("cp1254",),
}
AT_HOME = 0.15  # for an encoding of the language that the words in ASCII are in
KNOWN_WORDS = 0.4  # for a text all of whose words are common ones
SAMPLE_BYTES = 100_000  # of lines that are not ASCII
SHOWN = 30  # characters of an example
DOUBTFUL = 0.3  # how much more ordinary another reading must be to be reported
VALID_FOR_ONE_BAD = 10  # of a file's sequences in UTF-8 for each that is broken, to be called UTF-8
HALVES = re.compile("[\ud800-\udfff\0]")
PUNCTUATION = frozenset(
    "\u2018\u2019\u201c\u201d\u201e\u2026\u2013\u2014\u2022\u20ac«»¿¡°·£§©®½¼\u00d7\u2122\u2713\u3000\u3001\u3002\u300a\u300b\u300c\u300d"
    "\u300e\u300f\u3010\u3011\uff08\uff09\uff0c\uff01\uff1f\uff1a\uff1b\uff5e"
)
WITHIN_WORDS = frozenset("\u2019\u2026\u2013\u2014")  # wait…what
WORDS_OF_ONE = frozenset("àéèóåöяивскоуаÀÉÈÅÖЯИВСКОУА")  # letters that stand alone
WESTERN = frozenset("".join(ALPHABETS[code] for code in ("de", "fr", "es", "it", "pt", "sv", "da")))
THAI = frozenset("านรอกเงมยลวดทสตะปบคหแจพชขใ่้ีิัื็์ุูำไ")
ARABIC = frozenset("اليمونرتبةعدسفهكقأحجشط")
GREEK_ACCENTS = re.compile("[άέήίόύώΆΈΉΊΌΎΏ]")
RARE_CYRILLIC = frozenset("щъэфёцЎўЈјЉљЊњЋћЌќЏџЂђЃѓҐґЅѕ")


@dataclass(frozen=True)
class Reading:
    """One way to read bytes as text.

    Attributes:
        encoding: a codec's name.
        example: the first line that is not ASCII, as it reads then.
        score: how ordinary the text looks, from 0 to 1.
    """

    encoding: str
    example: str
    score: float


def read_text(path: Path, encoding: str, notes: list[str]) -> str:
    """Read a file as text.

    Args:
        path: the file.
        encoding: how it is written, as the corpus's YAML says; a mark at the file's beginning tells it better.
        notes: what was mended, and what looks as if it were written in another way, is added here.

    Raises:
        UserError: it is no text, or not written so; the message names the line and what would fit.
        LookupError: there is no such encoding.
        OSError: it can't be read.
    """
    data = path.read_bytes()
    codecs.lookup(encoding)
    kind = next((what for first, what in NO_TEXT.items() if data.startswith(first)), None)
    if kind:
        raise UserError(f"{path}: is {kind}")
    marked = next((name for mark, name in MARKS.items() if data.startswith(mark)), None)
    if marked:
        if marked != "utf-8-sig" and not encoding.lower().replace("_", "-").startswith(marked):
            notes.append(f"its first bytes say {marked}, so it is read as that, not as {encoding}")
        encoding = marked
    is_utf8 = encoding.lower() in UTF8
    wide = _without_mark(data)
    if wide and is_utf8:
        raise UserError(f"{path}: looks like {wide}, not {encoding}; say `encoding: {wide}` for this table")
    try:
        text = data.decode("utf-8-sig" if is_utf8 else encoding)
    except UnicodeDecodeError as e:
        text = _mended(data, notes) if is_utf8 else ""
        if not text:
            raise UserError(f"{path}: {_unfit(data, encoding, e)}") from e
    else:
        if not (is_utf8 or marked or wide):
            notes += _doubts(data, encoding)
    return text.removeprefix("\ufeff")


def rank_encodings(data: bytes) -> list[Reading]:
    """Find how bytes may be written, the most ordinary reading first; empty where no reading makes text of them."""
    marked = next((name for mark, name in MARKS.items() if data.startswith(mark)), None)
    wide = None if marked else _without_mark(data)
    if marked or wide or _mended(data, []):
        encoding = marked or wide or "utf-8"
        return [Reading(encoding, _example(data.decode(encoding, "replace")), 1.0)]
    sample, language = _sample(data), _language_of_ascii(data)
    readings = []
    for encoding in RARITY:
        if _decodes(data, encoding):
            text = sample.decode(encoding)
            readings.append(Reading(encoding, _example(text), _score(text, encoding, language)))
    return sorted(readings, key=lambda reading: -reading.score)


def apart(readings: list[Reading]) -> list[Reading]:
    """Readings whose examples differ, the best of each."""
    best: dict[str, Reading] = {}
    for reading in readings:
        best.setdefault(reading.example, reading)
    return list(best.values())


def clean(text: str) -> str:
    """A text without what no file or terminal takes: halves of a character's pair and NUL become U+FFFD."""
    if not HALVES.search(text):
        return text
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")  # two halves make a character
    return whole.replace("\0", "\ufffd")


def _language_of_ascii(data: bytes) -> str | None:
    """Guess the language of a table by the words that read the same in most encodings, near the others if possible."""

    def guess(lines: bytes) -> str | None:
        return guess_language(re.sub(rb"[A-Za-z]*[\x80-\xff][A-Za-z\x80-\xff]*", b" ", lines).decode("ascii"))

    return guess(_sample(data)) or guess(data[:SAMPLE_BYTES])


def _score(text: str, encoding: str, language: str | None) -> float:
    """How likely a reading is: ordinary characters and words, by a common encoding, which suits the language."""
    score = ordinary(text, encoding, language) - RARITY.get(encoding, 0.0)
    if encoding not in MULTIBYTE:
        score += KNOWN_WORDS * share_of_known_words(text)
    return score + AT_HOME * bool(language and encoding in HOMES.get(language, ("cp1252",)))


def ordinary(text: str, encoding: str, language: str | None = None) -> float:
    """How ordinary the characters beyond ASCII of a text are, from 0 (nonsense) to 1.

    A wrong encoding makes rare ideographs, accents side by side and capitals within words.

    Args:
        text: what was read.
        encoding: as what; each has its own commonest characters.
        language: what its words in ASCII are in; None where they do not tell.
    """
    odd = [index for index, letter in enumerate(text) if letter > "\x7f"]
    if not odd:
        return 1.0
    value = _in_multibyte(encoding) if encoding in MULTIBYTE else _in_single_byte(text, language)
    return sum(value(text, index) for index in odd) / len(odd)


def _in_multibyte(encoding: str) -> Callable[[str, int], float]:
    """What a character is worth in a text of Chinese, Japanese or Korean."""

    standard, first, last = LEVEL_1[encoding]

    @cache
    def worth(letter: str) -> float:
        if letter in FREQUENT[encoding] or ("\u3041" <= letter <= "\u30ff" and encoding in ("cp932", "euc_jp")):
            return 1.0
        if letter in PUNCTUATION:
            return 0.8
        code = letter.encode(standard, "ignore")
        if len(code) == 2 and first <= code[0] <= last:
            return 0.6 if encoding == "cp949" else 0.75
        return 0.5 if letter > "\U0001f000" else 0.1  # pictures such as emoji, and all else

    def in_place(text: str, index: int) -> float:
        before = text[index - 1 : index]
        return 0.1 if before.isascii() and before.isalpha() else worth(text[index])

    return in_place


# Which lead bytes of which standard hold the characters that a school teaches.
LEVEL_1 = {
    "gb18030": ("gb2312", 0xB0, 0xD7),
    "big5": ("big5", 0xA4, 0xC6),
    "cp932": ("euc_jp", 0xB0, 0xCF),
    "euc_jp": ("euc_jp", 0xB0, 0xCF),
    "cp949": ("euc_kr", 0xB0, 0xC8),
}


def _in_single_byte(text: str, language: str | None) -> Callable[[str, int], float]:
    """What a character is worth in a text whose script has letters of one byte."""
    greek = 1.0 if GREEK_ACCENTS.search(text) else 0.8  # most words of Greek have one
    alphabet = frozenset(ALPHABETS.get(language or guess_language(text) or "", ""))

    def worth(text: str, index: int) -> float:
        letter = text[index]
        before, after = text[index - 1 : index] if index else "", text[index + 1 : index + 2]
        if letter in PUNCTUATION:
            return 0.9 if letter in WITHIN_WORDS or not (before.isalpha() and after.isalpha()) else 0.1
        if not letter.isalpha() and letter not in THAI:
            return 0.1
        two = text[max(0, index - 2) : index]
        after_capitals = len(two) == 2 and two.isalpha() and two.isupper()
        if (letter.isupper() and before.islower()) or (letter.islower() and after_capitals):
            return 0.0
        if not (before.isalpha() or after.isalpha()) and letter not in WORDS_OF_ONE:
            return 0.5
        if letter.isupper() and before.isupper() and letter > "\u0250":
            return 0.7
        if letter < "\u0250":  # Latin: an accent seldom stands beside another
            if max(before, after) > "\x7f" and (before + after).strip("\u2019\u201c\u201d\u201e\u2026«»"):
                return 0.4
            small = letter.lower()
            return 1.0 if small in alphabet else 0.8 if small in WESTERN else 0.6
        if any(beside.isascii() and beside.isalpha() for beside in (before, after)):
            return 0.1
        if "\u0e00" <= letter < "\u0e80":
            return 0.9 if letter in THAI else 0.1
        if letter == "\u03c2" and after.isalpha():  # a Greek s of the end within a word
            return 0.0
        if letter <= "\u03ff":
            return greek
        if "\u0600" <= letter <= "\u06ff":
            return 1.0 if letter in ARABIC else 0.6
        return 0.5 if letter in RARE_CYRILLIC else 0.7 if letter in "іїєІЇЄ" else 1.0 if letter < "\ufb00" else 0.1

    return worth


def _sample(data: bytes) -> bytes:
    """Lines that are not ASCII, up to some length."""
    lines = [line for line in re.split(rb"[\r\n]+", data) if not line.isascii()]
    sample = b"\n".join(lines)
    return sample if len(sample) <= SAMPLE_BYTES else sample[:SAMPLE_BYTES].rpartition(b"\n")[0] or sample


def _example(text: str) -> str:
    """The first cell, or value of JSON, that is not ASCII, shortened; "" where all are."""
    cells = (cell for line in text.splitlines() for cell in re.split(r'[,;\t|]|":', line) if not cell.isascii())
    return clean(next(cells, "").strip(' "[]{}')[:SHOWN])


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _without_mark(data: bytes) -> str | None:
    """UTF-16 that does not begin with a mark: every other byte of its ASCII characters is 0."""
    even, odd = data[:2000:2].count(0), data[1:2000:2].count(0)
    if len(data) % 2 or not data or max(even, odd) < 4 or max(even, odd) < 10 * min(even, odd):
        return None
    encoding = "utf-16-le" if odd > even else "utf-16-be"
    return encoding if _decodes(data, encoding) else None


def _mended(data: bytes, notes: list[str]) -> str:
    """UTF-8 with a few broken characters, which become U+FFFD; "" where it is another encoding."""
    text = data.decode("utf-8-sig", "surrogatepass" if _decodes_halves(data) else "replace")
    broken = text.count("\ufffd") - data.count("\ufffd".encode())
    whole = sum(letter > "\x7f" for letter in text) - broken
    if broken and whole < VALID_FOR_ONE_BAD * broken:
        return ""
    if broken:
        line = next(n for n, line in enumerate(re.split(r"\r\n|\r|\n", text), start=1) if "\ufffd" in line)
        notes.append(f"broken characters are read as \ufffd: {broken} (the first in line {line})")
    return text


def _decodes_halves(data: bytes) -> bool:
    """Whether halves of pairs, each written as if it were a character, are all that is wrong."""
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def _unfit(data: bytes, encoding: str, error: UnicodeDecodeError) -> str:
    """What is wrong with an encoding, and which fits."""
    line = len(re.findall(rb"\r\n|\r|\n", data[: error.start])) + 1
    wrong = f"not readable as {encoding}: line {line} holds the byte 0x{data[error.start]:02x}"
    readings = rank_encodings(data)
    if not readings:
        return f"{wrong}, and no other encoding fits; correct this line, or save the table as UTF-8"
    likely = ", or ".join(f"{reading.encoding} ({reading.example!r})" for reading in apart(readings)[:2])
    return f"{wrong}; it may be {likely}: say `encoding: {readings[0].encoding}` for this table"


def _doubts(data: bytes, encoding: str) -> list[str]:
    """A note where another encoding makes a far more ordinary text."""
    readings = rank_encodings(data)
    if not readings or codecs.lookup(readings[0].encoding) == codecs.lookup(encoding):
        return []
    best, text = readings[0], _sample(data).decode(encoding, "replace")
    like = "gb18030" if codecs.lookup(encoding).name.startswith("gb") else codecs.lookup(encoding).name
    if best.score - _score(text, like, _language_of_ascii(data)) < DOUBTFUL:
        return []
    return [
        f"reads oddly as {encoding} ({_example(text)!r}); as {best.encoding} it would be {best.example!r}: "
        "correct its table's `encoding`"
    ]
