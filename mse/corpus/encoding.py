"""How a table's bytes were written as characters: read them as told, or guess and say so."""

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from charset_normalizer import from_bytes

from mse.corpus.language import ALPHABETS, FREQUENT_HAN, guess_language, share_of_known_words
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
    b"PK\x03\x04": "a spreadsheet or a zip archive, and no text; save the table as CSV (UTF-8)",
    b"\xd0\xcf\x11\xe0": "a spreadsheet of an old format, and no text; save the table as CSV (UTF-8)",
    b"\x1f\x8b": "compressed with gzip; unpack it",
}
# What spreadsheets, editors and terminals write on some computer in the world; of equals the first is taken.
MULTIBYTE = ("gb18030", "big5", "cp932", "cp949", "euc_jp")
KNOWN = (
    "gb18030", "big5", "cp932", "cp1252", "cp1251", "cp949", "euc_jp", "cp1250", "cp1254", "cp1253", "cp1255",
    "cp1256", "cp1257", "cp874", "mac_roman", "cp850", "koi8_r", "cp866", "iso8859_2",
)  # fmt: skip
OLD = ("mac_roman", "cp850", "koi8_r", "cp866", "iso8859_2")  # of systems that are seldom met today
SAMPLE_BYTES = 100_000  # of lines that are not ASCII
BONUS = 0.02  # for what charset-normalizer would choose
SHOWN = 30  # characters of an example
DOUBTFUL = 0.3  # how much more ordinary another reading must be to be told
VALID_FOR_ONE_BAD = 10  # of a file's sequences in UTF-8 for each that is broken, to be called UTF-8
HALVES = re.compile("[\ud800-\udfff\0]")
PUNCTUATION = frozenset(
    "\u2018\u2019\u201c\u201d\u201e\u2026\u2013\u2014\u2022\u20ac«»¿¡°·£§©®\u2122\u2713\u3000\u3001\u3002\u300a\u300b\u300c\u300d"
    "\u300e\u300f\u3010\u3011\uff08\uff09\uff0c\uff01\uff1f\uff1a\uff1b\uff5e"
)
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
    sample = _sample(data)
    readings = []
    found = from_bytes(sample, cp_isolation=list(KNOWN)).best()
    for encoding in KNOWN:
        if _decodes(data, encoding):
            text = sample.decode(encoding)
            score = ordinary(text, encoding) - 0.05 * (encoding in OLD)
            if encoding not in MULTIBYTE:
                score += 0.2 * share_of_known_words(text)
            score += BONUS * bool(found and (encoding in found.could_be_from_charset))
            readings.append(Reading(encoding, _example(text), score))
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


def ordinary(text: str, encoding: str) -> float:
    """How ordinary the characters beyond ASCII of a text are, from 0 (nonsense) to 1.

    A wrong encoding makes rare ideographs, accents side by side and capitals within words.

    Args:
        text: what was read.
        encoding: as what; each has its own commonest characters.
    """
    odd = [index for index, letter in enumerate(text) if letter > "\x7f"]
    if not odd:
        return 1.0
    value = _in_multibyte(encoding) if encoding in MULTIBYTE else _in_single_byte(text)
    return sum(value(text, index) for index in odd) / len(odd)


def _in_multibyte(encoding: str) -> Callable[[str, int], float]:
    """What a character is worth in a text of Chinese, Japanese or Korean."""

    level = 0.8 if encoding in ("cp932", "euc_jp") else 0.6

    @cache
    def worth(letter: str) -> float:
        if letter in PUNCTUATION:
            return 0.8
        if "\uac00" <= letter <= "\ud7a3":
            return 1.0 if encoding == "cp949" and len(letter.encode("euc_kr", "ignore")) == 2 else 0.1
        if "\u3041" <= letter <= "\u30ff":
            return 1.0 if encoding in ("cp932", "euc_jp") else 0.1
        if "\u4e00" <= letter <= "\u9fff":
            if encoding in ("gb18030", "big5") and letter in FREQUENT_HAN:
                return 1.0
            standard, first, last = LEVEL_1[encoding]
            lead = letter.encode(standard, "ignore")[:1]
            return level if lead and first <= lead[0] <= last else 0.1
        return 0.5 if letter > "\U0001f000" else 0.1  # pictures such as emoji, and all else

    return lambda text, index: worth(text[index])


# Which lead bytes of which standard hold the characters that a school teaches; a Korean text has none of them.
LEVEL_1 = {
    "gb18030": ("gb2312", 0xB0, 0xD7),
    "big5": ("big5", 0xA4, 0xC6),
    "cp932": ("euc_jp", 0xB0, 0xCF),
    "euc_jp": ("euc_jp", 0xB0, 0xCF),
    "cp949": ("ascii", 1, 0),
}


def _in_single_byte(text: str) -> Callable[[str, int], float]:
    """What a character is worth in a text whose script has letters of one byte."""
    language = guess_language(text)
    greek = 1.0 if GREEK_ACCENTS.search(text) else 0.8  # most words of Greek have one
    alphabet = frozenset(ALPHABETS.get(language or "", ""))

    def worth(text: str, index: int) -> float:
        letter = text[index]
        before, after = text[index - 1 : index] if index else "", text[index + 1 : index + 2]
        if not letter.isalpha() and letter not in THAI:
            within = before.isalpha() and after.isalpha()
            return 0.8 if letter in PUNCTUATION and (not within or letter == "\u2019") else 0.1
        if letter.isupper() and before.islower():
            return 0.0
        if letter.isupper() and before.isupper() and letter > "\u0250":
            return 0.85
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
    """The cell of the first line that is not ASCII, shortened."""
    cells = (cell for line in text.splitlines() for cell in re.split(r"[,;\t|]", line) if not cell.isascii())
    return clean(next(cells, "").strip(' "')[:SHOWN])


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
        notes.append(f"{broken} broken characters are read as \ufffd (the first in line {line})")
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
        return f"{wrong}, and no other encoding fits; mend this line, or save the table as UTF-8"
    likely = ", or ".join(f"{reading.encoding} ({reading.example!r})" for reading in apart(readings)[:2])
    return f"{wrong}; it may be {likely}: say `encoding: {readings[0].encoding}` for this table"


def _doubts(data: bytes, encoding: str) -> list[str]:
    """A note where another encoding makes a far more ordinary text."""
    readings = rank_encodings(data)
    if not readings or codecs.lookup(readings[0].encoding) == codecs.lookup(encoding):
        return []
    best, text = readings[0], _sample(data).decode(encoding, "replace")
    like = "gb18030" if codecs.lookup(encoding).name.startswith("gb") else codecs.lookup(encoding).name
    if best.score - ordinary(text, like) < DOUBTFUL:
        return []
    return [
        f"reads oddly as {encoding} ({_example(text)!r}); as {best.encoding} it would be {best.example!r}: "
        "mend its table's `encoding`"
    ]
