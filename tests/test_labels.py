"""Labels as text, and back."""

import numpy as np
import pytest

from mse.config import Classes, Intensity
from mse.labels import ClassText, IntensityText, label_text


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


def test_classes_as_names_and_numbers() -> None:
    task = Classes(classes={"Freude": ["joy"], "愤怒": ["anger", "rage"]})
    named, numbered = label_text(task, True), ClassText(task.model_copy(update={"answer": "index"}))
    assert named.legal() == ["Freude", "愤怒"] and numbered.legal() == ["0", "1"]
    for labels in (named, numbered):
        assert [labels.read(labels.write(value)) for value in (0.0, 1.0)] == [0.0, 1.0]
        assert labels.read("joy") is None and labels.read("") is None and labels.read("2") is None
    assert named.read(" freude\n") == 0.0


def test_how_right_neighbours_are() -> None:
    near = IntensityText(Intensity(), True).weights(1.24, 0.5 / 6)
    legal = IntensityText(Intensity(), True).legal()
    assert max(near) == near[legal.index("+1.2")] == 1
    assert near[legal.index("+1.7")] == near[legal.index("+0.7")] == pytest.approx(0.6065, abs=1e-4)
    for text in legal:  # its mean is the label, at the ends of the range, too
        weights = np.array(IntensityText(Intensity(), True).weights(float(text), 0.08))
        assert weights @ np.array(legal, float) / weights.sum() == pytest.approx(float(text), abs=1e-9)
    assert label_text(Classes(classes={"a": ["1"], "b": ["2"]}), True).weights(1.0, 0.5) == [0, 1]
    exact = IntensityText(Intensity(), True).weights(1.04, 0.0)
    assert sum(exact) == exact[legal.index("+1.0")] == 1
