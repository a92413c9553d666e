"""Faces followed over a clip's pictures, and which of them speaks: the one whose mouth moves with the sound."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from mse.features.faces import Face
from mse.media import SAMPLE_RATE_HZ

GONE_S = 3.0  # a face that was away for longer is another one
REACH = 0.6  # how far a face moves between two pictures at most, in its own sizes
REACH_RESHAPED = 0.3  # the same where the pictures' shape changes: of the ways that it may, one fits well or none does
DRIFT = 1.0  # and how much farther for each second that it was away
RESIZED = 1.6  # how much larger or smaller it may come back
QUIET_DB = 40.0  # sound this far below the loudest counts as silence
LAG_S = 0.1  # the mouth may be this much ahead of its sound, or behind
SHIFT_S = 0.8  # shifts of the sound that count as unrelated are at least this long
LEAST_SHIFTS, MOST_SHIFTS = 8, 300  # fewer tell nothing, more nothing new
MOST_LIKE = 0.999  # Fisher's z of a correlation of 1 is infinite
LEAST_SEEN_S = 2.0  # a face that is seen for less is not judged: by chance its mouth would fit the sound best


@dataclass
class Track:
    """One face over time.

    Attributes:
        faces: by the number of the picture.
        synchrony: confidence that its mouth moves with the sound, 0 to 1; NaN where that can't be told.
        speaking: confidence that it is the one who speaks: less than that where another face fits the sound as well.
        likeness: the correlation that both rest on.
    """

    faces: dict[int, Face] = field(default_factory=dict)
    synchrony: float = float("nan")
    speaking: float = float("nan")
    likeness: float = float("nan")

    @property
    def last(self) -> int:
        """Number of the last picture with it."""
        return max(self.faces)

    @property
    def evidence(self) -> float:
        """Fisher's z of the likeness, times the root of the number of pictures: short tracks need a greater one."""
        return float(np.arctanh(min(self.likeness, MOST_LIKE)) * np.sqrt(len(self.faces)))

    @property
    def prominence(self) -> float:
        """Size summed over pictures: large and long seen comes first."""
        return sum(face.size for face in self.faces.values())


def follow(seen: Sequence[Sequence[Face]], rate_hz: float) -> list[Track]:
    """Link faces of successive pictures: each goes to the track whose last face is nearest, if it is near enough.

    Args:
        seen: the faces of each picture.
        rate_hz: pictures a second.

    Returns:
        Tracks in the order of their first pictures; each face is in exactly one.
    """
    tracks: list[Track] = []
    for number, faces in enumerate(seen):
        open_ones = [track for track in tracks if (number - track.last) / rate_hz <= GONE_S]
        costs = np.array([[_distance(track, face, number, rate_hz) for face in faces] for track in open_ones])
        pairs = _matched(costs) if costs.size else {}
        for index, face in enumerate(faces):
            track = open_ones[pairs[index]] if index in pairs else Track()
            if index not in pairs:
                tracks.append(track)
            track.faces[number] = face
    return tracks


def _distance(track: Track, face: Face, number: int, rate_hz: float) -> float:
    """Distance to a track's last face in its sizes, as a share of what is near enough; above 1: too far.

    Where the pictures have changed size meanwhile, it is the least over the ways to fit one into the other.
    """
    away_s = (number - track.last - 1) / rate_hz
    nearest, ways = np.inf, track.faces[track.last].in_picture_of(face.picture_px)
    for middle, size_px in ways:
        if 1 / RESIZED <= face.size_px / size_px <= RESIZED:
            nearest = min(nearest, float(np.linalg.norm(face.middle - middle)) / max(size_px, face.size_px))
    return nearest / ((REACH if len(ways) == 1 else REACH_RESHAPED) + DRIFT * away_s)


def _matched(costs: npt.NDArray[np.float64]) -> dict[int, int]:
    """The face's number to the track's, the nearest pair first; costs has shape (tracks, faces)."""
    pairs: dict[int, int] = {}
    for place in np.argsort(costs, axis=None, kind="stable"):
        track, face = map(int, np.unravel_index(place, costs.shape))
        if costs[track, face] <= 1 and face not in pairs and track not in pairs.values():
            pairs[face] = track
    return pairs


def loudness_db(samples: npt.NDArray[np.int16], rate_hz: float, pictures: int) -> npt.NDArray[np.float64]:
    """Loudness around each picture, relative to the loudest, at least -QUIET_DB.

    Args:
        samples: the clip's sound, shape (N,), 16 kHz.
        rate_hz: pictures a second.
        pictures: how many there are (T).

    Returns:
        Shape (T,) in decibels; NaN where the sound has ended.
    """
    edges = np.round((np.arange(pictures + 1) - 0.5) / rate_hz * SAMPLE_RATE_HZ).clip(0, len(samples)).astype(int)
    power = np.array([np.mean((samples[a:b] / 32768.0) ** 2) if b > a else np.nan for a, b in pairwise(edges)])
    level = 10 * np.log10(np.maximum(power, 1e-12))
    return np.asarray(np.maximum(level - np.nanmax(level, initial=-120.0), -QUIET_DB))


def can_judge(pictures: int, rate_hz: float) -> bool:
    """Whether a clip of so many pictures is long enough to tell who speaks in it."""
    return pictures - 2 * round(SHIFT_S * rate_hz) + 1 >= LEAST_SHIFTS


def judge(tracks: Sequence[Track], loudness: npt.NDArray[np.float64], rate_hz: float) -> None:
    """Give each track its confidence that it speaks.

    How a mouth opens and moves is correlated with the loudness. So is it with the same sound shifted in time, which is
    as much speech but not this mouth's: `synchrony` is the share of shifts that fit less well.

    Of several faces that fit, the best need not be the speaker: two may talk at once. `speaking` is the synchrony,
    lowered for each other face by the probability that the sound is that one's (see `_doubt`). Of two that fit alike it
    is about a half, if both are always seen; one that is silent lowers it little.

    Args:
        tracks: of one clip; their `synchrony`, `speaking` and `likeness` are set.
        loudness: around each picture, shape (T,).
        rate_hz: pictures a second.
    """
    near = np.arange(-round(LAG_S * rate_hz), round(LAG_S * rate_hz) + 1)
    far = np.arange(round(SHIFT_S * rate_hz), len(loudness) - round(SHIFT_S * rate_hz) + 1)
    if not can_judge(len(loudness), rate_hz) or not np.isfinite(loudness).any() or np.nanstd(loudness) == 0:
        return
    far = far[np.unique(np.linspace(0, len(far) - 1, min(len(far), MOST_SHIFTS)).round().astype(int))]
    shifts = np.concatenate([[0], far])[:, None] + near  # (shifts, lags); the first row is the sound as it is
    moved = np.stack([np.roll(loudness, shift) for shift in shifts.ravel()])  # (shifts x lags, T)
    judged: list[tuple[Track, npt.NDArray[np.float64]]] = []
    for track in tracks:
        if len(track.faces) < LEAST_SEEN_S * rate_hz:
            continue
        likeness = _likeness(_mouth(track, len(loudness)), moved).reshape(shifts.shape).max(axis=1)
        if np.isfinite(likeness[0]):
            track.likeness = float(likeness[0])
            track.synchrony = float(np.mean(likeness[1:] < likeness[0]))
            judged.append((track, np.arctanh(np.nan_to_num(likeness).clip(-MOST_LIKE, MOST_LIKE))))
    for track, fit in judged:
        doubts = [_doubt(track, fit, other, its_fit) for other, its_fit in judged if other is not track]
        track.speaking = track.synchrony * float(np.prod(1 - np.array(doubts)))


def _doubt(track: Track, fit: npt.NDArray[np.float64], other: Track, its_fit: npt.NDArray[np.float64]) -> float:
    """Give the probability that the sound is another face's, as far as this one is seen together with it.

    It is the other one's synchrony, times the probability that the lead over it is chance: that of a normal deviate
    beyond the lead, whose standard deviation is that of the leads under shifted sounds.

    Args:
        track: who is in question.
        fit: Fisher's z of its likeness to the sound and to each shifted sound, shape (1 + shifts,).
        other: who may speak instead.
        its_fit: the same of that one.
    """
    leads = fit - its_fit
    lead = leads[0] / max(float(np.std(leads[1:])), 1e-9)
    together = len(track.faces.keys() & other.faces.keys()) / len(track.faces)
    return together * other.synchrony * math.erfc(lead / math.sqrt(2)) / 2


def _mouth(track: Track, pictures: int) -> npt.NDArray[np.float64]:
    """Opening and speed of the mouth, shape (2, T), NaN where it is not seen."""
    opening = np.full(pictures, np.nan)
    for number, face in track.faces.items():
        opening[number] = face.mouth_opening
    speed = np.full(pictures, np.nan)
    speed[1:-1] = np.abs(opening[2:] - opening[:-2])
    return np.stack([opening, speed])


def _likeness(mouth: npt.NDArray[np.float64], moved: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Mean correlation of opening and speed, (2, T), with each of N moved sounds, (N, T); NaN if nothing varies."""
    found = []
    for series in mouth:
        both = np.isfinite(series) & np.isfinite(moved)  # (N, T)
        count = np.maximum(both.sum(axis=1, keepdims=True), 1)
        here = np.where(both, series, 0.0)
        there = np.where(both, moved, 0.0)
        here = np.where(both, here - here.sum(axis=1, keepdims=True) / count, 0.0)
        there = np.where(both, there - there.sum(axis=1, keepdims=True) / count, 0.0)
        scale = np.sqrt((here**2).sum(axis=1) * (there**2).sum(axis=1))
        found.append(np.where(scale > 1e-9, (here * there).sum(axis=1) / np.maximum(scale, 1e-9), np.nan))
    measured = np.isfinite(found)
    total = np.where(measured, found, 0.0).sum(axis=0)
    return np.where(measured.any(axis=0), total / np.maximum(measured.sum(axis=0), 1), np.nan)
