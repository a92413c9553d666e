"""What linear models make of the same clips: ridge and logistic regression on summed-up features and characters."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from mse.config import Classes, Task
from mse.data import ClipDataset, task_of
from mse.metrics import Scorer, Values
from mse.predictions import clip_table, write_predictions
from mse.progress import say, track

STRENGTHS = (1e3, 1e2, 1e1, 1.0, 1e-1, 1e-2, 1e-3)  # of regularisation, against a sum over clips; of equals the first
PERCENTILES = (10, 90)
SUMMARIES = 2 + len(PERCENTILES)  # numbers a descriptor: mean and deviation, too
CHARACTERS = (1, 3)  # lengths of the pieces of text that are counted
MOST_STEPS = 20_000  # of logistic regression, which converges long before


@dataclass(frozen=True)
class LinearAnswers:
    """Answers of the linear baseline for N clips.

    Attributes:
        predictions: intensities within the task's range, or classes as places in the order, (N,).
        probabilities: of each class, (N, classes), 0 for one that no training clip has; None for intensities.
        strength: of the regularisation that did best on the validation split.
    """

    predictions: Values
    probabilities: Values | None
    strength: float


def linear(dataset: ClipDataset, split: str = "test") -> LinearAnswers:
    """Fit the linear baseline on the train split, choose its strength on the validation split, and answer.

    Sound and picture are each mean, standard deviation and two percentiles over a clip's frames, and whether there are
    any; text is TF-IDF of its characters, so that it needs no word boundaries.

    Args:
        dataset: clips of all splits.
        split: which clips to answer for.

    Returns:
        Answers in the order of dataset.indices(split).

    Raises:
        UserError: the corpus has no task, or a split no clip.
    """
    task = task_of(dataset)
    parts = [dataset.require(name) for name in ("train", "valid", split)]
    ends = np.cumsum([len(part) for part in parts])
    features = _features(dataset, [index for part in parts for index in part], int(ends[0]))
    train, valid, asked = features[: ends[0]], features[ends[0] : ends[1]], features[ends[1] :]
    labels, truth = (dataset.labels[part] for part in parts[:2])
    scorer = Scorer(task, labels)
    models = {strength: _fit(task, strength, train, labels) for strength in STRENGTHS}
    metrics = {strength: scorer.metrics(_answers(task, model, valid)[0], truth) for strength, model in models.items()}
    best = max(STRENGTHS, key=lambda strength: scorer.gain(metrics[strength]))
    say(f"linear baseline: regularisation {best:g}, validation {task.key_metric} {metrics[best][task.key_metric]:.3f}")
    return LinearAnswers(*_answers(task, models[best], asked), best)


def predict_linear(dataset_path: Path, out: Path, split: str = "test", acoustic_sets: Sequence[str] = ()) -> None:
    """Write predictions.csv of the linear baseline: clip_id, prediction, label, text, and p_CLASS of classes.

    Args:
        dataset_path: dataset.h5.
        out: the table.
        split: which clips.
    """
    with ClipDataset(dataset_path, acoustic_sets=acoustic_sets) as dataset:
        with threadpool_limits(1, user_api="blas"):  # the last bits depend on it
            answers = linear(dataset, split)
        task = task_of(dataset)
        table = clip_table(dataset, dataset.indices(split), answers.predictions)
    write_predictions(table, answers.probabilities, [], task, out)


def _features(dataset: ClipDataset, indices: Sequence[int], train: int) -> sparse.csr_array:
    """Features of clips, (N, width), scaled by the first `train` of them.

    Each modality's rows get a mean square norm of 1, which those of TF-IDF have by themselves: otherwise a modality
    with many descriptors would be regularised less than one with few, and text most of all.
    """
    # float32, each block in one place: 28,717 clips of CHERMA's 3,072 descriptors are 1.4 GB so.
    summaries = {
        modality: np.empty((len(indices), SUMMARIES * width + 1), np.float32)
        for modality, width in dataset.widths.items()
    }
    for row, index in enumerate(track(indices, "linear baseline", len(indices))):
        clip = dataset[index]
        for modality, every in summaries.items():
            every[row] = _summary(getattr(clip, modality))
    blocks = []
    for every in summaries.values():
        scaled = StandardScaler(copy=False).fit(every[:train]).transform(every)
        norm = np.sqrt(np.square(scaled[:train]).sum(axis=1, dtype=np.float64).mean())
        scaled /= np.float32(norm or 1)
        blocks.append(sparse.csr_array(scaled))
    texts = [dataset.texts[index] for index in indices]
    if any(text.strip() for text in texts[:train]):
        counter = TfidfVectorizer(analyzer="char", ngram_range=CHARACTERS).fit(texts[:train])
        blocks.append(sparse.csr_array(counter.transform(texts), dtype=np.float32))
    return sparse.hstack(blocks, format="csr")


def _summary(frames: npt.NDArray[np.float32]) -> Values:
    """Mean, deviation and percentiles over the frames (T, D), and 1: (4 D + 1,); all 0 without a frame."""
    if not len(frames):
        return np.zeros(SUMMARIES * frames.shape[1] + 1)
    values = frames.astype(np.float64)
    return np.concatenate([values.mean(axis=0), values.std(axis=0), *np.percentile(values, PERCENTILES, axis=0), [1.0]])


def _fit(task: Task, strength: float, features: sparse.csr_array, labels: Values) -> Any:
    """A fitted model of scikit-learn."""
    if not isinstance(task, Classes):
        return Ridge(alpha=strength, tol=1e-6).fit(features, labels)
    if len(set(labels.tolist())) == 1:  # which logistic regression refuses
        return DummyClassifier().fit(features, labels)
    return LogisticRegression(C=1 / strength, max_iter=MOST_STEPS).fit(features, labels)


def _answers(task: Task, model: Any, features: sparse.csr_array) -> tuple[Values, Values | None]:
    """Predictions (N,), and the probabilities (N, classes) of classes."""
    if not isinstance(task, Classes):
        return np.clip(model.predict(features), task.low, task.high), None
    probabilities = np.zeros((features.shape[0], len(task.names)))
    probabilities[:, model.classes_.astype(np.int64)] = model.predict_proba(features)
    return probabilities.argmax(axis=1).astype(np.float64), probabilities
