"""Labels as text, and back."""

import pytest

from mse.config import Intensity
from mse.labels import IntensityText


@pytest.mark.parametrize(
    ("value", "plain", "signed"),
    [(-1.24, "-1.2", "-1.2"), (0.0, "0.0", "+0.0"), (-0.04, "0.0", "+0.0"), (3, "3.0", "+3.0")],
)
def test_writing(value: float, plain: str, signed: str) -> None:
    assert IntensityText(Intensity(), False).write(value) == plain
    assert IntensityText(Intensity(), True).write(value) == signed


@pytest.mark.parametrize("plus", [False, True])
def test_every_legal_text_reads_back(plus: bool) -> None:
    labels = IntensityText(Intensity(), plus)
    legal = labels.legal()
    assert len(legal) == len(set(legal)) == 61
    assert [labels.write(labels.read(text) or 0.0) for text in legal] == legal


@pytest.mark.parametrize(
    "answer", ["", "good", "3.1", "-9", "1.2.3", "--1", "1,2", "nan", "inf", "1e0", "1.2 or so", "\u0661"]
)
def test_what_is_no_answer_stays_none(answer: str) -> None:
    assert IntensityText(Intensity(), True).read(answer) is None


def test_lenient_where_it_is_clear() -> None:
    assert IntensityText(Intensity(), True).read(" 2\n") == 2.0
    assert IntensityText(Intensity(), False).read("+1.5") == 1.5
