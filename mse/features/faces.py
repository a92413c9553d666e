"""The faces in one picture after another, found with MediaPipe in the whole picture or, if small, by a closer look."""

import math
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from mse.config import FacialSettings
from mse.errors import MISSING_LIBRARY, UserError
from mse.features.geometry import (
    BOX_NAMES,
    DISTANCE_NAMES,
    GAZE_NAMES,
    POSE_NAMES,
    Box,
    Size,
    box_of,
    carry_over,
    distances,
    gaze,
    head_pose,
    placed,
    uncropped,
)

AGAIN_S = 0.5  # how often parts of a picture are looked at, and detection scores are measured
TILE = 0.6  # side of a part, as a share of the picture's shorter one
LEAST_TILED_PX = 100  # shorter side of a picture that is searched in parts
LEAST_CROWD_PX = 480  # and of one that is searched though a face is found: others in a lesser one are too small
OVERLAP = 0.3  # of neighbouring parts, as a share of their side: a face on the border is whole in one of them
GUESS, GUESSES = 0.25, 4  # least score of a detection that is looked at closely, and how many are
PATIENCE = 4  # where a face is found already, parts of the picture are searched for others this much more seldom
AROUND = 3.0  # side of the part that follows a small face, in sizes of the face
SAME = 0.5  # of two faces whose middles are nearer than this, in sizes of the face, one is meant
LEAST_SCORE = 0.1  # detections below it count as none

Picture = npt.NDArray[np.uint8]  # (height, width, 3), RGB
Floats = npt.NDArray[np.float64]
Crop = tuple[int, int, int, int]  # left, top, right, bottom in pixels


@dataclass(frozen=True, eq=False)  # two faces are never the same by their numbers
class Face:
    """One face in one picture.

    Attributes:
        features: FACE_NAMES, shape (D,).
        points: landmarks in the picture's pixels, shape (478, 3).
        box: around the landmarks.
        picture_px: width and height of the picture, which may change within a recording.
        score: of the face detector; 0 where it sees no face there, NaN where it was not asked.
    """

    features: npt.NDArray[np.float32]
    points: npt.NDArray[np.float32]
    box: Box
    picture_px: Size
    score: float = float("nan")

    @property
    def middle(self) -> Floats:
        """Middle of the box, (2,) in pixels."""
        return np.array([(self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2])

    @property
    def size_px(self) -> float:
        """Geometric mean of the box's sides."""
        return float(np.sqrt((self.box[2] - self.box[0]) * (self.box[3] - self.box[1])))

    @property
    def size(self) -> float:
        """Size as a share of the picture's, whose own geometric mean of the sides is 1."""
        return self.size_px / math.sqrt(self.picture_px[0] * self.picture_px[1])

    def in_picture_of(self, picture_px: Size) -> list[tuple[Floats, float]]:
        """Find middle and size in a picture of this size, for each way that it may show the same view."""
        return carry_over(self.middle, self.size_px, self.picture_px, picture_px)

    @property
    def mouth_opening(self) -> float:
        """In units of the distance between the eyes."""
        return float(self.features[MOUTH])


def blendshape_names() -> list[str]:
    """MediaPipe's 52 blendshapes."""
    from mediapipe.tasks.python.vision.face_landmarker import Blendshapes

    return [shape.name.lower() for shape in Blendshapes]


GEOMETRY_NAMES = [*POSE_NAMES, *GAZE_NAMES, *DISTANCE_NAMES, *BOX_NAMES]  # they follow the blendshapes
MOUTH = GEOMETRY_NAMES.index("mouth_opening") - len(GEOMETRY_NAMES)


@contextmanager
def landmarker(model: Path, **options: Any) -> Iterator[Any]:
    """An open FaceLandmarker.

    Args:
        model: path of face_landmarker.task.
        options: fields of FaceLandmarkerOptions.

    Raises:
        UserError: MediaPipe's system libraries are missing, or the model can't be read.
    """
    from mediapipe.tasks.python import BaseOptions, vision

    chosen = vision.FaceLandmarkerOptions(base_options=BaseOptions(model_asset_path=str(_there(model))), **options)
    with _opened(model, vision.FaceLandmarker, chosen) as opened:
        yield opened


@contextmanager
def _detector(model: Path) -> Iterator[Any]:
    """The face detector that the bundle of face_landmarker.task holds, by itself."""
    from mediapipe.tasks.python import BaseOptions, vision

    try:
        with zipfile.ZipFile(_there(model)) as bundle:
            content = bundle.read("face_detector.tflite")
    except (KeyError, zipfile.BadZipFile) as e:
        raise UserError(f"{model}: MediaPipe can't use this model: {e}; fetch it again") from e
    base = BaseOptions(model_asset_buffer=content)
    options = vision.FaceDetectorOptions(base_options=base, min_detection_confidence=LEAST_SCORE)
    with _opened(model, vision.FaceDetector, options) as opened:
        yield opened


def _there(model: Path) -> Path:
    if not model.is_file():
        raise UserError(f"{model}: no such file; `mse fetch face_landmarker` gets it")
    return model


@contextmanager
def _opened(model: Path, kind: Any, options: Any) -> Iterator[Any]:
    """A MediaPipe task; it is closed, since its finaliser would fail at the interpreter's exit."""
    with ExitStack() as stack:
        try:
            opened = stack.enter_context(kind.create_from_options(options))
        except OSError as e:
            raise UserError(f"MediaPipe can't be loaded ({e}): {MISSING_LIBRARY}") from e
        except (RuntimeError, ValueError) as e:
            raise UserError(f"{model}: MediaPipe can't use this model: {e}; fetch it again") from e
        yield opened


class FaceFinder:
    """Finds the faces of one picture after another; MediaPipe follows them from picture to picture.

    Args:
        settings: rate, number of faces, thresholds.
        model: path of face_landmarker.task.

    Raises:
        UserError: MediaPipe's system libraries are missing, or the model can't be read.
    """

    def __init__(self, settings: FacialSettings, model: Path) -> None:
        from mediapipe.tasks.python import vision

        options = {
            "min_face_detection_confidence": settings.min_confidence,
            "min_face_presence_confidence": settings.min_confidence,
            "output_face_blendshapes": True,
            "output_facial_transformation_matrixes": True,
        }
        self._settings = settings
        self._every = max(1, round(AGAIN_S * settings.rate_hz))
        self._stack = ExitStack()
        video = vision.RunningMode.VIDEO
        # To follow several faces MediaPipe detects anew in each picture: a quarter more time, so only where needed.
        self._single = self._stack.enter_context(landmarker(model, running_mode=video, num_faces=1, **options))
        most = settings.max_faces
        self._several = self._stack.enter_context(landmarker(model, running_mode=video, num_faces=most, **options))
        self._look = self._stack.enter_context(landmarker(model, num_faces=most, **options))
        self._detect = self._stack.enter_context(_detector(model))
        self._clock = 0  # times must rise over all clips, in thousandths of a picture
        self.forget()

    def forget(self, follow_all: bool = True) -> None:
        """What comes next is another clip.

        Args:
            follow_all: find all faces in each picture. Else those beside the most prominent one are found only as often
                as parts of a picture are looked at, which is enough to count them where nobody asks who speaks.
        """
        self._follow_all = follow_all
        self._seen = 0
        self._picture_px: Size | None = None
        self._follower: Any = None
        self._small: list[Face] = []

    def __call__(self, picture: Picture) -> list[Face]:
        """The faces in the clip's next picture, at most max_faces."""
        resized = self._resized(picture)
        asked = resized or self._seen % self._every == 0
        whole = whole_of(picture)
        detections = self._detections(picture, whole) if asked else []
        result = self._followed(picture, self._chosen(detections) if asked else self._follower)
        faces = _faces(result, whole, picture, detections if asked else None)
        if self._settings.small_faces and len(faces) < self._settings.max_faces:
            faces += self._second_look(picture, faces, detections, asked)
        self._seen += 1
        return faces

    def _resized(self, picture: Picture) -> bool:
        """Tell whether this picture has another size than the one before, in whose pixels MediaPipe follows faces."""
        before, self._picture_px = self._picture_px, (picture.shape[1], picture.shape[0])
        if resized := before not in (None, self._picture_px):
            self._follower = None  # whatever follows from here on takes over
        return resized

    def _chosen(self, detections: Sequence[Any]) -> Any:
        """What follows the faces until the detector is asked again."""
        sure = [d for d in detections if d.categories[0].score >= self._settings.min_confidence]
        return self._several if len(sure) > 1 and self._settings.max_faces > 1 else self._single

    def _followed(self, picture: Picture, follower: Any) -> Any:
        """What MediaPipe finds; one that takes over looks at an empty picture first, to forget what it followed."""
        taking_over = follower is not self._follower
        for image in [np.zeros_like(picture), picture] if taking_over else [picture]:
            self._clock += 1000
            result = follower.detect_for_video(_image(image), round(self._clock / self._settings.rate_hz))
        self._follower = follower
        return result

    def _detections(self, picture: Picture, crop: Crop) -> Sequence[Any]:
        found: Sequence[Any] = self._detect.detect(_image(_part(picture, crop))).detections
        return found

    def _second_look(
        self, picture: Picture, faces: Sequence[Face], detections: Sequence[Any], asked: bool
    ) -> list[Face]:
        """Small faces beside those found: a close look at where they were last, and at where the detector guesses one.

        Args:
            picture: the whole of it.
            faces: found in it so far.
            detections: in it, where the detector was asked.
            asked: whether it was.
        """
        height, width = picture.shape[:2]
        most = len(self._small) if asked or self._follow_all else max(0, 1 - len(faces))
        followed, waiting = self._small[:most], self._small[most:]
        places = [_around(*face.in_picture_of((width, height))[0], width, height) for face in followed]
        if asked:
            crowded = min(width, height) >= LEAST_CROWD_PX and self._seen % (PATIENCE * self._every) == 0
            tiles = _tiles(width, height) if crowded or not faces else []
            guesses = [(d, whole_of(picture)) for d in detections]
            guesses += [(d, tile) for tile in tiles for d in self._detections(picture, tile)]
            places = [*places, *_places(guesses, faces, places, width, height)]
        found: list[Face] = []
        for crop in places:
            result = self._look.detect(_image(_part(picture, crop)))
            scores = self._detections(picture, crop) if asked and result.face_landmarks else None
            found += _faces(result, crop, picture, scores)
        small = _different(found, faces)[: self._settings.max_faces - len(faces)]
        if not self._follow_all and followed:  # the first one stays the first, as long as it is there
            small.sort(key=lambda face: np.linalg.norm(face.middle - followed[0].middle) > SAME * face.size_px)
        self._small = small + waiting
        return small

    def close(self) -> None:
        """Close MediaPipe's tasks."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _image(picture: Picture) -> Any:
    import mediapipe as mp

    # MediaPipe reads memory row after row: of a slice it would see something else.
    return mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(picture))


def whole_of(picture: Picture) -> Crop:
    """The part that is all of a picture."""
    return 0, 0, picture.shape[1], picture.shape[0]


def _faces(result: Any, crop: Crop, picture: Picture, detections: Sequence[Any] | None) -> list[Face]:
    """The faces of a FaceLandmarkerResult, with scores where the detector was asked about the same part."""
    faces = [_face(result, index, crop, picture.shape) for index in range(len(result.face_landmarks))]
    faces = [face for face in faces if face.size_px > 1]
    return faces if detections is None else [_scored(face, detections, crop) for face in faces]


def _places(
    guesses: Sequence[tuple[Any, Crop]], faces: Sequence[Face], known: Sequence[Crop], width: int, height: int
) -> list[Crop]:
    """Parts around guessed faces, the likeliest first, without those where a face is already, or looked for.

    Args:
        guesses: detections, each with the part that it was found in.
        faces: found in the whole picture.
        known: parts that are looked at anyway.
        width, height: of the picture.
    """
    taken = [(face.middle, face.size_px) for face in faces]
    taken += [(np.array([(a + c) / 2, (b + d) / 2]), (c - a) / AROUND) for a, b, c, d in known]
    places = []
    for detection, part in sorted(guesses, key=lambda guess: -guess[0].categories[0].score):
        middle, size_px = _middle(detection.bounding_box, part), float(detection.bounding_box.width)
        near = any(np.linalg.norm(middle - other) < SAME * max(size_px, wide) for other, wide in taken)
        if detection.categories[0].score >= GUESS and not near:
            taken.append((middle, size_px))
            places.append(_around(middle, size_px, width, height))
    return places[:GUESSES]


def _face(result: Any, index: int, crop: Crop, shape: tuple[int, ...]) -> Face:
    """One face of a FaceLandmarkerResult, in the pixels of the whole picture of shape (height, width, 3)."""
    left, top, right, bottom = crop
    height, width = shape[:2]
    # x, y and z are fractions of the part's width, height and width: in pixels they are one scale.
    scale = np.array([right - left, bottom - top, right - left])
    points = np.array([(p.x, p.y, p.z) for p in result.face_landmarks[index]]) * scale + (left, top, 0)  # (478, 3)
    matrix = np.array(result.facial_transformation_matrixes[index])
    matrix[:3, 3] = uncropped(matrix[:3, 3], crop, width, height)
    shapes = [shape.score for shape in result.face_blendshapes[index]]  # (52,)
    box = box_of(points)
    features = [*shapes, *head_pose(matrix), *gaze(points), *distances(points), *placed(box, width, height)]
    return Face(np.array(features, np.float32), points.astype(np.float32), box, (width, height))


def _scored(face: Face, detections: Sequence[Any], crop: Crop) -> Face:
    """The face with the score of the detection whose middle is nearest, if it is on the face."""
    scores = {0.0: 0.0}
    for detection in detections:
        away = float(np.linalg.norm(face.middle - _middle(detection.bounding_box, crop))) / face.size_px
        if away < SAME:
            scores[-away] = detection.categories[0].score
    nearest = max((away for away in scores if away < 0), default=0.0)
    return replace(face, score=scores[nearest])


def _middle(box: Any, crop: Crop) -> Floats:
    """Middle of a detector's box that was found in a part, in the whole picture's pixels."""
    return np.array([crop[0] + box.origin_x + box.width / 2, crop[1] + box.origin_y + box.height / 2])


def _part(picture: Picture, crop: Crop) -> Picture:
    left, top, right, bottom = crop
    return picture[top:bottom, left:right]


def _tiles(width: int, height: int) -> list[Crop]:
    """Squares that cover a picture and overlap; none of one that is too low or narrow for a small face in it."""
    if min(width, height) < LEAST_TILED_PX:
        return []
    side = round(TILE * min(width, height))
    starts = [
        np.linspace(0, end - side, 1 + math.ceil((end - side) / ((1 - OVERLAP) * side))).round().astype(int).tolist()
        for end in (height, width)
    ]
    return [(x, y, x + side, y + side) for y, x in product(*starts)]


def _around(middle: Floats, size_px: float, width: int, height: int) -> Crop:
    """The square part of a picture around a small face, moved inwards at the edges."""
    side = max(1, min(round(AROUND * size_px), width, height))
    left, top = (
        int(np.clip(place - side / 2, 0, end - side)) for place, end in zip(middle, (width, height), strict=True)
    )
    return left, top, left + side, top + side


def _different(faces: Sequence[Face], others: Sequence[Face] = ()) -> list[Face]:
    """Faces without those that are among others, or were found in two parts; the largest first."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.size_px):
        if all(np.linalg.norm(face.middle - other.middle) > SAME * other.size_px for other in [*others, *kept]):
            kept.append(face)
    return kept
