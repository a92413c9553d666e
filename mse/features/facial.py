"""MediaPipe FaceLandmarker: blendshapes, head pose and scale-free distances, frame by frame."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mse.config import FacialSettings
from mse.errors import UserError

# Landmark numbers of MediaPipe's face mesh (left and right are the person's own).
LEFT_EYE, RIGHT_EYE = (362, 263), (33, 133)  # corners
LEFT_LIDS, RIGHT_LIDS = (386, 374), (159, 145)  # upper, lower
LEFT_BROW, RIGHT_BROW = 282, 52
MOUTH_CORNERS, LIPS = (61, 291), (13, 14)  # lips: inner edge, upper and lower

POSE_NAMES = ["head_pitch_deg", "head_yaw_deg", "head_roll_deg", "head_x_cm", "head_y_cm", "head_z_cm"]
DISTANCE_NAMES = [
    "mouth_width",
    "mouth_opening",
    "left_eye_opening",
    "right_eye_opening",
    "left_brow_height",
    "right_brow_height",
]  # in units of the distance between the eyes


@contextmanager
def landmarker(model: Path, **options: Any) -> Iterator[Any]:
    """An open FaceLandmarker; MediaPipe's C++ notes on standard error are kept away meanwhile.

    Args:
        model: path of face_landmarker.task.
        options: fields of FaceLandmarkerOptions.

    Raises:
        UserError: MediaPipe's system libraries are missing, or the model can't be read.
    """
    from mediapipe.tasks.python import BaseOptions, vision

    if not model.is_file():
        raise UserError(f"{model}: no such file; `mse fetch face_landmarker` gets it")
    chosen = vision.FaceLandmarkerOptions(base_options=BaseOptions(model_asset_path=str(model)), **options)
    with _quiet(), ExitStack() as stack:
        try:
            opened = stack.enter_context(vision.FaceLandmarker.create_from_options(chosen))
        except OSError as e:
            raise UserError(
                f"MediaPipe can't be loaded: {e}. It needs the system libraries libEGL.so.1 and libGLESv2.so.2; "
                "on Debian and Ubuntu: apt-get install libegl1 libgles2"
            ) from e
        except (RuntimeError, ValueError) as e:
            raise UserError(f"{model}: MediaPipe can't use this model: {e}; fetch it again") from e
        yield opened


class FacialExtractor:
    """Facial features of one clip at a time.

    Args:
        settings: rate and thresholds.
        model: path of face_landmarker.task.

    Raises:
        UserError: MediaPipe's system libraries are missing, or the model can't be read.
    """

    def __init__(self, settings: FacialSettings, model: Path) -> None:
        from mediapipe.tasks.python import vision
        from mediapipe.tasks.python.vision.face_landmarker import Blendshapes

        self.rate_hz = settings.rate_hz
        blendshapes = [shape.name.lower() for shape in Blendshapes]
        self.feature_names = [*blendshapes, *POSE_NAMES, *DISTANCE_NAMES, "face_present"]
        self._model = model
        self._options = {
            "running_mode": vision.RunningMode.VIDEO,
            "num_faces": 1,
            "min_face_detection_confidence": settings.min_confidence,
            "min_face_presence_confidence": settings.min_confidence,
            "output_face_blendshapes": True,
            "output_facial_transformation_matrixes": True,
        }
        with landmarker(model, **self._options):
            pass  # the library and the model are loaded only now: fail before the first clip

    def __call__(
        self, frames: Iterable[npt.NDArray[np.uint8]]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Describe the face in each picture.

        Args:
            frames: RGB pictures at `rate_hz`, shape (height, width, 3).

        Returns:
            values (T, D) float32 and valid (T,), False where no face was found: there face_present is 0 and
            all else NaN.
        """
        import mediapipe as mp

        rows: list[npt.NDArray[np.float32] | None] = []
        # A tracker carries the face from frame to frame and wants rising times, so each clip gets its own.
        with landmarker(self._model, **self._options) as tracker:
            for index, frame in enumerate(frames):
                picture = mp.Image(image_format=mp.ImageFormat.SRGB, data=frame)
                found = tracker.detect_for_video(picture, round(index * 1000 / self.rate_hz))
                rows.append(_describe(found, frame.shape) if found.face_landmarks else None)
        valid = np.array([row is not None for row in rows], bool)
        absent = np.array([*[np.nan] * (len(self.feature_names) - 1), 0.0], np.float32)
        values = np.array([absent if row is None else row for row in rows], np.float32)
        return values.reshape(len(rows), len(self.feature_names)), valid


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the notes away that MediaPipe's C++ writes to standard error for each landmarker."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _describe(found: Any, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """One row of features from a FaceLandmarkerResult and its picture's (height, width, 3)."""
    height, width = shape[:2]
    # x, y and z are fractions of the picture's width, height and width: in pixels they are one scale.
    points = np.array([(p.x * width, p.y * height, p.z * width) for p in found.face_landmarks[0]])  # (478, 3)
    blendshapes = [shape.score for shape in found.face_blendshapes[0]]  # (52,)
    pose = head_pose(np.asarray(found.facial_transformation_matrixes[0]))
    return np.array([*blendshapes, *pose, *distances(points), 1.0], np.float32)


def head_pose(matrix: npt.NDArray[np.floating]) -> list[float]:
    """Angles and place of the head.

    Args:
        matrix: shape (4, 4), from the canonical face (centimetres, y up, z towards the camera) to the camera.

    Returns:
        pitch, yaw, roll in degrees (rotations about x, y, z, applied as Rz Ry Rx), then x, y, z in centimetres.
    """
    rotation = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)  # the matrix may carry a scale
    pitch = np.arctan2(rotation[2, 1], rotation[2, 2])
    yaw = np.arctan2(-rotation[2, 0], np.hypot(rotation[2, 1], rotation[2, 2]))
    roll = np.arctan2(rotation[1, 0], rotation[0, 0])
    return [*np.degrees([pitch, yaw, roll]).tolist(), *matrix[:3, 3].tolist()]


def distances(points: npt.NDArray[np.floating]) -> list[float]:
    """DISTANCE_NAMES from landmarks of shape (478, 3) in any unit: all are relative to the eyes' distance."""
    left_eye, right_eye = points[list(LEFT_EYE)].mean(axis=0), points[list(RIGHT_EYE)].mean(axis=0)
    pairs = [
        (points[MOUTH_CORNERS[0]], points[MOUTH_CORNERS[1]]),
        (points[LIPS[0]], points[LIPS[1]]),
        (points[LEFT_LIDS[0]], points[LEFT_LIDS[1]]),
        (points[RIGHT_LIDS[0]], points[RIGHT_LIDS[1]]),
        (points[LEFT_BROW], left_eye),
        (points[RIGHT_BROW], right_eye),
    ]
    unit = np.linalg.norm(left_eye - right_eye)
    return [float(np.linalg.norm(a - b) / unit) for a, b in pairs]
