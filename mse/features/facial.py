"""MediaPipe FaceLandmarker: blendshapes, head pose, gaze and scale-free geometry of the one who speaks."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from mse.config import FacialSettings
from mse.features.faces import AGAIN_S, GEOMETRY_NAMES, Face, FaceFinder, Picture, blendshape_names
from mse.features.tracks import Track, can_judge, follow, judge, loudness_db
from mse.media import SAMPLE_RATE_HZ

EVEN = 0.5  # confidence of a mouth that has nothing to do with the sound, on average
LAST_NAMES = ["detection_score", "face_present"]


@dataclass(frozen=True)
class Seen:
    """What was seen in a clip.

    Attributes:
        pictures: how many there are.
        tracks: every face that was followed.
        chosen: what is described, of one track or of several after each other; None where no face was found.
        most: faces in one picture at most.
    """

    pictures: int
    tracks: list[Track]
    chosen: Track | None
    most: int


class FacialExtractor:
    """Facial features of one clip after another; a context manager.

    Args:
        settings: rate, number of faces, thresholds.
        model: path of face_landmarker.task.

    Raises:
        UserError: MediaPipe's system libraries are missing, or the model can't be read.
    """

    def __init__(self, settings: FacialSettings, model: Path) -> None:
        self.rate_hz = settings.rate_hz
        self.feature_names = [*blendshape_names(), *GEOMETRY_NAMES, *LAST_NAMES]
        self._settings = settings
        self._finder = FaceFinder(settings, model)

    def look(self, pictures: Iterable[Picture], samples: npt.NDArray[np.int16]) -> Seen:
        """Find and follow the faces of a clip, and choose one.

        Args:
            pictures: RGB at `rate_hz`, shape (height, width, 3).
            samples: the clip's sound, shape (N,), int16 at 16 kHz; N = 0 without any.
        """
        expected = round(len(samples) / SAMPLE_RATE_HZ * self.rate_hz)
        self._finder.forget(follow_all=not expected or can_judge(expected, self.rate_hz))
        found = [self._finder(picture) for picture in pictures]
        tracks = follow(found, self.rate_hz)
        if len(samples):
            judge(tracks, loudness_db(samples, self.rate_hz, len(found)), self.rate_hz)
        return Seen(len(found), tracks, _choose(tracks, self._settings), max(map(len, found), default=0))

    def describe(self, seen: Seen) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Features of the chosen face.

        Returns:
            values (T, D) float32 and valid (T,), False where it was not found: there face_present is 0 and all else
            NaN. `detection_score` is measured twice a second, and holds until it is measured again.
        """
        values = np.full((seen.pictures, len(self.feature_names)), np.nan, np.float32)
        values[:, -1] = 0
        valid = np.zeros(seen.pictures, bool)
        faces = seen.chosen.faces if seen.chosen else {}
        scores = _held_scores(faces, seen.pictures, round(2 * AGAIN_S * self.rate_hz))
        for number, face in faces.items():
            values[number] = [*face.features, scores[number], 1.0]
            valid[number] = True
        return values, valid

    def close(self) -> None:
        """Close MediaPipe's tasks."""
        self._finder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def facts_of(seen: Seen) -> dict[str, float]:
    """Numbers about a clip: faces seen at once, and the confidence that the described one speaks (NaN: unknown)."""
    return {"faces": float(seen.most), "speaking": seen.chosen.speaking if seen.chosen else float("nan")}


def _choose(tracks: Sequence[Track], settings: FacialSettings) -> Track | None:
    """The face to describe: whose mouth moves most with the sound, if any surely does, else the most prominent.

    After a cut to another view, or a way out of the picture, a face begins a track of its own. Where it is the only
    face, it is taken for the chosen one, unless its mouth rather does not follow the sound.
    """
    speakers = [track for track in tracks if track.synchrony >= settings.min_speaking]
    if settings.who == "speaker" and speakers:
        chosen = max(speakers, key=lambda track: track.evidence)
    elif tracks:
        chosen = max(tracks, key=lambda track: track.prominence)
    else:
        return None
    crowd = Counter(number for track in tracks for number in track.faces)
    faces = dict(chosen.faces)
    for track in tracks:
        alone = all(crowd[number] == 1 for number in track.faces)
        if alone and not track.synchrony < EVEN:  # not known is no reason
            faces |= track.faces
    return replace(chosen, faces=dict(sorted(faces.items())))


def _held_scores(faces: dict[int, Face], pictures: int, longest: int) -> npt.NDArray[np.float64]:
    """Each picture's detection score: the last one measured, if that is at most `longest` pictures ago."""
    scores, last, age = np.full(pictures, np.nan), np.nan, 0
    for number in range(pictures):
        measured = faces[number].score if number in faces else np.nan
        last, age = (measured, 0) if np.isfinite(measured) else (last, age + 1)
        scores[number] = last if age <= longest else np.nan
    return scores
