"""Draw the clips of the demo corpus: who says what, in which voice and face, for how long, in which file."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from mse.demo.recipe import Mixture, Recipe, Speaker, Split, Timing

COMPONENTS = ("word", "voice", "face")  # the parts of a label, each seen by one modality alone
LABEL_LIMIT = 3.0

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Clip:
    """One clip to make; the components are on the mixture's levels in [-1, 1].

    Attributes:
        start_s, length_s: whole numbers of frames, in seconds; start_s counts from the file's start.
    """

    clip_id: str
    media: str  # path relative to the corpus
    start_s: float
    length_s: float
    split: str
    speaker: str
    text: str
    label: float
    word: float
    voice: float
    face: float


@dataclass(frozen=True)
class Plan:
    """All clips of a speaker, in the order in which they are made, and the seed of everything random in them."""

    speaker: Speaker
    seed: int
    clips: tuple[Clip, ...]


def label_of(word: float, voice: float, face: float, scale: float) -> float:
    """The documented mixture: clip(round(scale * (word + voice + face), 1), -3, 3)."""
    return min(max(round(scale * (word + voice + face), 1), -LABEL_LIMIT), LABEL_LIMIT)


def make_plan(recipe: Recipe, seed: int) -> list[Plan]:
    """Draw all clips of the corpus.

    Args:
        recipe: what to draw from.
        seed: two plans of the same recipe and seed are equal.

    Returns:
        One plan a speaker, in the recipe's order.
    """
    plans = []
    for number, (name, split) in enumerate(recipe.splits.items()):
        rng = np.random.default_rng([seed, number])
        components = draw_components(split, recipe.mixture, rng)
        texts = [text for text, _ in split.texts]
        order = rng.permutation(split.clips).tolist()  # else each speaker would keep to a few sentences
        for place, speaker in enumerate(split.speakers):
            mine = order[place :: len(split.speakers)]
            spots = _spots(len(mine), name, speaker.name, recipe.timing, recipe.picture.rate_hz, rng)
            clips = []
            for i, (clip_id, media, start_s, length_s) in zip(mine, spots, strict=True):
                word, voice, face = map(float, components[i])
                label = label_of(word, voice, face, recipe.mixture.scale)
                text = texts[i % len(texts)]
                clips.append(
                    Clip(clip_id, media, start_s, length_s, name, speaker.name, text, label, word, voice, face)
                )
            plans.append(Plan(speaker, int(rng.integers(2**32)), tuple(clips)))
    return plans


def draw_components(split: Split, mixture: Mixture, rng: np.random.Generator) -> Floats:
    """Word, voice and face of a split's clips, as good as uncorrelated with each other.

    Args:
        split: clip i says its sentence i, counted round and round.
        mixture: the levels of voice and face, and how many shuffles to try.
        rng: the source of the shuffles.

    Returns:
        Shape (clips, 3): the shuffle whose largest correlation between two components is smallest.
    """
    texts = split.texts
    words = np.array([texts[i % len(texts)][1] for i in range(split.clips)])
    levels = np.resize(np.array(mixture.levels), split.clips)
    tries = (np.column_stack([words, rng.permutation(levels), rng.permutation(levels)]) for _ in range(mixture.draws))
    return min(tries, key=_largest_correlation)


def _largest_correlation(components: Floats) -> float:
    spread = components - components.mean(axis=0)
    norms = np.linalg.norm(spread, axis=0)
    if not norms.all():  # a tiny split in which a component does not vary
        return 1.0
    correlations = (spread / norms).T @ (spread / norms)
    return float(np.abs(correlations[np.triu_indices(3, 1)]).max())


def _spots(
    count: int, split: str, speaker: str, timing: Timing, rate_hz: int, rng: np.random.Generator
) -> list[tuple[str, str, float, float]]:
    """Clip name, file, start and length of a speaker's clips; the recorded ones follow each other in one file."""
    recorded = set(rng.permutation(count)[: round(count * timing.recorded_share)].tolist())
    spots = []
    frame = _frames(timing.pause_s, rate_hz, rng)  # first frame of the next recorded clip
    for i in range(count):
        length = _frames(timing.clip_s, rate_hz, rng)
        clip_id = f"{split}_{speaker}_{i:02d}"
        if i in recorded:
            spots.append((clip_id, f"recordings/{split}_{speaker}.mp4", frame / rate_hz, length / rate_hz))
            frame += length + _frames(timing.pause_s, rate_hz, rng)
        else:
            spots.append((clip_id, f"videos/{clip_id}.mp4", 0.0, length / rate_hz))
    return spots


def _frames(interval_s: tuple[float, float], rate_hz: int, rng: np.random.Generator) -> int:
    low, high = (math.ceil(limit * rate_hz) for limit in interval_s)
    return int(rng.integers(low, high + 1))


def as_table(plans: list[Plan]) -> pd.DataFrame:
    """The corpus's table: one row a clip; start and end are empty where the clip is the whole file."""
    rows = []
    for clip in (clip for plan in plans for clip in plan.clips):
        whole = clip.media.startswith("videos/")
        rows.append(
            {
                "clip_id": clip.clip_id,
                "media": clip.media,
                "start_s": None if whole else round(clip.start_s, 3),
                "end_s": None if whole else round(clip.start_s + clip.length_s, 3),
                "split": clip.split,
                "speaker": clip.speaker,
                "text": clip.text,
                "label": clip.label,
                "word": clip.word,
                "voice": clip.voice,
                "face": clip.face,
            }
        )
    return pd.DataFrame(rows)


def attainable(table: pd.DataFrame) -> dict[tuple[str, ...], float]:
    """How well the label can be known from each set of components.

    Args:
        table: clips with the columns label, word, voice and face.

    Returns:
        For each non-empty set of components, the multiple correlation with the label (least squares with an
        intercept on these very clips); NaN where the labels do not vary.
    """
    label = table["label"].to_numpy(float)
    result = {}
    for size in range(1, len(COMPONENTS) + 1):
        for names in itertools.combinations(COMPONENTS, size):
            inputs = np.column_stack([np.ones(len(table)), table[list(names)].to_numpy(float)])
            fitted = inputs @ np.linalg.lstsq(inputs, label, rcond=None)[0]
            constant = np.ptp(label) == 0 or np.ptp(fitted) < 1e-12
            result[names] = math.nan if constant else float(np.corrcoef(fitted, label)[0, 1])
    return result
