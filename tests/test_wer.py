"""Word error rate: what counts, and what does not."""

# ruff: noqa: RUF001 (Chinese punctuation is wide)

import numpy as np
import pytest

from mse.wer import count_words, word_error_rate


@pytest.mark.parametrize(
    ("said", "heard", "language", "rate"),
    [
        (["Bin blue, at F two now."], ["bin blue at f two NOW"], "en", 0.0),
        (["a b c d"], ["a x c"], "en", 0.5),
        (["It\u2019s 'fine' \u2026"], ["it's fine"], "en", 0.0),
        (["two"], ["2"], "en", 1.0),  # numbers as they are written
        (["a b", ""], ["a b", "c"], "en", 0.5),  # made up where nothing was said
        (["yes"], ["yes yes yes"], "en", 2.0),
        (["今天很好，走吧！"], ["今天很好,走吧!"], "zh", 0.0),
        (["今天很好"], ["今天不好。"], "zh", 0.25),
        (["今天 很好"], ["今 天很 好"], "zh", 0.0),
        (["テレビを見た。"], ["テレビ見た"], "ja", 0.1667),
        (["ＡＢＣ２０"], ["abc20"], "zh", 0.0),
        (["今天很好", "good day"], ["今天不好", "good night"], "auto", 0.3333),  # four characters and two words
    ],
)
def test_rate(said: list[str], heard: list[str], language: str, rate: float) -> None:
    assert word_error_rate(said, heard, language) == rate


@pytest.mark.parametrize("said", [[], [""], ["..."], ["，。！"]])
def test_rate_is_unknown_where_nothing_was_said(said: list[str]) -> None:
    assert np.isnan(word_error_rate(said, ["a"] * len(said), "zh"))


def test_words_are_counted_as_they_are_compared() -> None:
    assert count_words("It's two - or three?", "en") == 4
    assert count_words("今天很好，走吧！", "zh") == count_words("今天很好，走吧！", "auto") == 6
    assert count_words(" ... ", "en") == 0
