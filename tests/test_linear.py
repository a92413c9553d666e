"""The linear baseline on made features and texts that tell the label."""

import math
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from mse.config import Classes, Intensity
from mse.data import ClipDataset
from mse.errors import UserError
from mse.linear import STRENGTHS, LinearAnswers, linear
from mse.metrics import Scorer
from tests.made import make_dataset

SIGNS = Classes(classes={"sad": ["-"], "glad": ["+"]})


def scores(dataset: ClipDataset, answers: LinearAnswers, split: str = "test") -> tuple[dict[str, float], ...]:
    """Metrics of the answers, and of the constant."""
    assert dataset.task is not None
    scorer = Scorer(dataset.task, dataset.labels[dataset.indices("train")])
    truth = dataset.labels[dataset.indices(split)]
    return scorer.metrics(answers.predictions, truth), scorer.metrics(np.full(len(truth), scorer.constant), truth)


def test_intensities_are_heard_and_seen(tmp_path: Path) -> None:
    with ClipDataset(make_dataset(tmp_path, 80)) as dataset:
        answers = linear(dataset)
        got, constant = scores(dataset, answers)
    assert got["mae"] < 0.5 * constant["mae"] and got["corr"] > 0.9
    assert answers.predictions.shape == (20,) and np.abs(answers.predictions).max() <= 3
    assert answers.probabilities is None and answers.strength in STRENGTHS


@pytest.mark.parametrize("key_metric", ["weighted_f1", "macro_f1", "accuracy"])
def test_classes_have_probabilities(tmp_path: Path, key_metric: str) -> None:
    task = SIGNS.model_copy(update={"key_metric": key_metric})
    with ClipDataset(make_dataset(tmp_path, 80, task=task)) as dataset:
        answers = linear(dataset)
        got, constant = scores(dataset, answers)
    assert got["accuracy"] > constant["accuracy"] + 0.2
    assert answers.probabilities is not None
    assert answers.probabilities.shape == (20, 2) and answers.probabilities.sum(axis=1) == pytest.approx(1)
    assert (answers.probabilities.argmax(axis=1) == answers.predictions).all()


def test_text_alone_is_enough_and_needs_no_spaces(tmp_path: Path) -> None:
    with ClipDataset(make_dataset(tmp_path, modalities=["text"], task=SIGNS)) as dataset:
        said = ["他今天很难过", "她今天很高兴"]
        dataset.texts = [said[int(label)] + "真的" * (place % 3) for place, label in enumerate(dataset.labels)]
        assert scores(dataset, linear(dataset))[0]["accuracy"] == 1


def test_nothing_to_learn_from_answers_the_training_mean(tmp_path: Path) -> None:
    with ClipDataset(make_dataset(tmp_path, modalities=["text"])) as dataset:
        dataset.texts = [" "] * len(dataset)
        assert linear(dataset).predictions == pytest.approx(dataset.labels[dataset.indices("train")].mean())


@pytest.mark.parametrize("task", [Intensity(), SIGNS])
def test_same_clips_same_numbers(tmp_path: Path, task: Intensity | Classes) -> None:
    with ClipDataset(make_dataset(tmp_path, task=task)) as dataset:
        first, second = linear(dataset), linear(dataset)
    assert first.predictions.tobytes() == second.predictions.tobytes() and first.strength == second.strength
    if first.probabilities is not None and second.probabilities is not None:
        assert first.probabilities.tobytes() == second.probabilities.tobytes()


def test_test_clips_teach_nothing(tmp_path: Path) -> None:
    with ClipDataset(make_dataset(tmp_path)) as dataset:
        before, test = linear(dataset, "valid"), dataset.indices("test")
        dataset.labels[test] = math.nan
        dataset.texts = ["x" if place in test else text for place, text in enumerate(dataset.texts)]
        linear(dataset)
        after = linear(dataset, "valid")
    assert before.strength == after.strength and (before.predictions == after.predictions).all()


def test_answers_are_in_the_order_of_the_split(tmp_path: Path) -> None:
    with ClipDataset(make_dataset(tmp_path, 80)) as dataset:
        for split in ("train", "valid"):
            assert scores(dataset, linear(dataset, split), split)[0]["corr"] > 0.9
        with pytest.raises(UserError, match="no clip in the split 'dev'; expected one of test, train, valid"):
            linear(dataset, "dev")
        dataset.splits = ["test" if name == "valid" else name for name in dataset.splits]
        with pytest.raises(UserError, match="no clip in the split 'valid'; expected one of test, train"):
            linear(dataset)


def test_clips_without_any_face_or_sound_are_answered(tmp_path: Path) -> None:
    with ClipDataset(make_dataset(tmp_path, 80)) as dataset:
        whole = linear(dataset).predictions
        for sets in dataset._sets.values():
            sets[0].present[dataset.indices("test")[0]] = False
        answers = linear(dataset)
    assert np.isfinite(answers.predictions).all()
    assert answers.predictions[1:] == pytest.approx(whole[1:], abs=0.2)


def test_classes_that_no_training_clip_has(tmp_path: Path) -> None:
    task = Classes(classes={"none": ["0"], "sad": ["-"], "glad": ["+"], "never": ["!"]})
    with ClipDataset(make_dataset(tmp_path, task=task)) as dataset:  # the first two occur
        dataset.labels += 1
        dataset.labels[dataset.indices("test")[0]] = 3
        answers = linear(dataset)
        assert answers.probabilities is not None and answers.probabilities.shape == (10, 4)
        assert (answers.probabilities[:, [0, 3]] == 0).all()
        assert set(answers.predictions) == {1.0, 2.0}
        dataset.labels[dataset.indices("train")] = 2
        alone = linear(dataset)
    assert alone.probabilities is not None
    assert (alone.predictions == 2).all() and (alone.probabilities[:, 2] == 1).all()


def test_models_converge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ClipDataset(make_dataset(tmp_path / "a", task=SIGNS)) as dataset, warnings.catch_warnings():
        warnings.simplefilter("error")
        linear(dataset)
    with ClipDataset(make_dataset(tmp_path / "b")) as dataset:
        iterated = linear(dataset).predictions
        monkeypatch.setattr("mse.linear.Ridge", _Exact)
        assert iterated == pytest.approx(linear(dataset).predictions, abs=1e-3)


class _Exact(Ridge):
    """Ridge by a decomposition instead of steps."""

    def fit(self, features, labels):  # type: ignore[no-untyped-def]
        return super().fit(features.toarray(), labels)

    def predict(self, features):  # type: ignore[no-untyped-def]
        return super().predict(features.toarray())
