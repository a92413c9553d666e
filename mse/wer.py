"""How much of what was said was recognised: word error rate, or character error rate where no spaces are written."""

import re
import unicodedata
from collections.abc import Sequence

SPACELESS = {"zh", "yue", "ja", "th", "lo", "km", "my", "bo"}  # languages written without spaces between words
# Their scripts, for a language that is not known: Thai and Lao, Tibetan, Burmese, Khmer, kana, Han.
SPACELESS_SCRIPT = re.compile(r"[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
APOSTROPHES = str.maketrans(dict.fromkeys("\u2019\u02bc\uff07", "'"))


def word_error_rate(said: Sequence[str], heard: Sequence[str], language: str) -> float:
    """Words that were misheard, missed or made up, as a share of those that were said.

    Args:
        said: the corpus's own texts.
        heard: what was recognised of each.
        language: ISO 639-1 code, or `auto`; of Chinese, Japanese and others without spaces, characters are counted.

    Returns:
        From 0; more than 1 where more was made up than said; NaN where nothing was said. Case and punctuation, wide or
        narrow, do not count; numbers are compared as they are written.
    """
    import jiwer

    by_character = [_by_character(text, language) for text in said]
    references = [units(text, single) for text, single in zip(said, by_character, strict=True)]
    hypotheses = [units(text, single) for text, single in zip(heard, by_character, strict=True)]
    if not any(references):
        return float("nan")
    return round(float(jiwer.wer([" ".join(r) for r in references], [" ".join(h) for h in hypotheses])), 4)


def count_words(text: str, language: str) -> int:
    """Number of words; of characters in a language without spaces."""
    return len(units(text, _by_character(text, language)))


def units(text: str, by_character: bool) -> list[str]:
    """What is counted of a text: its words or characters in lower case, without marks.

    Args:
        text: as written.
        by_character: whether each character counts, which is a word otherwise.
    """
    plain = unicodedata.normalize("NFKC", text.translate(APOSTROPHES)).casefold()
    kept = "".join(c if unicodedata.category(c)[0] in "LMN" or c == "'" else " " for c in plain)
    words = [word.strip("'") for word in kept.split()]
    return [c for word in words for c in word] if by_character else [word for word in words if word]


def _by_character(text: str, language: str) -> bool:
    if language == "auto":
        return SPACELESS_SCRIPT.search(text) is not None
    return language in SPACELESS
