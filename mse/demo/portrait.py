"""A portrait that moves: one photograph, warped by a few animation parameters.

The photograph is skimage.data.astronaut(), a public-domain NASA portrait that scikit-image's wheel carries. Every
animation parameter owns one displacement field (warp.py). A thin-plate spline is linear in its control
displacements, so the fields are made once a speaker and a frame's field is their weighted sum.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mse.demo import warp
from mse.demo.recipe import Speaker
from mse.errors import UserError
from mse.features.faces import landmarker

Picture = npt.NDArray[np.uint8]  # (height, width, 3), RGB
Floats = npt.NDArray[np.float32]

_FACE_HEIGHT, _FACE_MIDDLE = 0.5, 0.5  # of the picture: chin to hairline, and how far down its middle is
_INTERIOR_RGB = (58, 22, 24)  # the dark of an open mouth
_HAIR_Y, _CHIN_Y, _CENTRE_X = 72.24, 177.42, 223.38  # of the face in the photograph, as `find_landmarks` finds them


def photograph() -> Picture:
    """The public-domain portrait, shape (512, 512, 3).

    Raises:
        UserError: scikit-image is missing.
    """
    try:
        from skimage import data
    except ImportError as e:
        raise UserError("scikit-image is missing; install the demo extra: pip install -e '.[demo]'") from e
    return data.astronaut()


def find_landmarks(picture: Picture, model: Path) -> Floats:
    """Landmarks of the one face in a picture.

    Args:
        picture: RGB.
        model: MediaPipe's face_landmarker.task.

    Returns:
        x and y in pixels, shape (478, 2).

    Raises:
        UserError: no face is found.
    """
    import mediapipe as mp

    with landmarker(model) as finder:
        faces = finder.detect(mp.Image(image_format=mp.ImageFormat.SRGB, data=picture)).face_landmarks
    if not faces:
        raise UserError("no face is found in the portrait: the recipe's face shape is too extreme")
    height, width, _ = picture.shape
    return np.array([[point.x * width, point.y * height] for point in faces[0]], dtype=np.float32)


class Portrait:
    """One speaker's face, ready to be painted in any expression."""

    def __init__(self, speaker: Speaker, size_px: int, landmarker: Path) -> None:
        """Shape and colour the photograph, find its landmarks and make the displacement fields.

        Args:
            speaker: the face's shape and colour.
            size_px: width and height of the pictures.
            landmarker: MediaPipe's face_landmarker.task.

        Raises:
            UserError: scikit-image is missing, or no face is found with this shape.
        """
        picture = _shaped(photograph(), speaker, size_px)
        landmarks = find_landmarks(picture, landmarker)
        self._picture = _tinted(picture, speaker)
        self._interior = _mouth_interior(self._picture, landmarks)
        self._opening = _mouth_opening(landmarks, size_px)
        self._mouth = cv2.boundingRect((self._opening > 0).astype(np.uint8))  # left, top, width, height
        grid = np.meshgrid(np.arange(size_px), np.arange(size_px))
        self._grid = np.stack(grid).astype(np.float32)  # (2, H, W): x, y
        self._fields = warp.make_fields(landmarks, size_px)  # (P, 2, H, W)
        self._neutral = np.array([warp.NEUTRAL.get(name, 0.0) for name in warp.PARAMETERS], dtype=np.float32)

    def paint(self, parameters: Sequence[float] | npt.NDArray[np.floating]) -> Picture:
        """Paint one frame.

        Args:
            parameters: one value for each of warp.PARAMETERS. smile and brow: -1 (frown, lowered) to 1 (smile,
                raised); jaw: 0 (lips nearly shut) to 1 (open); blink: 0 to 1 (shut); shift_x, shift_y: hundredths
                of the picture to the right and down; roll: degrees clockwise; zoom: per cent larger.

        Returns:
            The picture, shape (size, size, 3), RGB.
        """
        weights = self._neutral + np.asarray(parameters, dtype=np.float32)
        moved = (weights @ self._fields.reshape(len(weights), -1)).reshape(self._grid.shape)
        source = self._grid - moved  # where each pixel comes from
        face = _sampled(self._picture, source)
        mouth = self._around_mouth(moved)
        jaw = warp.PARAMETERS.index("jaw")
        there = source[:, *mouth]
        inside = there + weights[jaw] * self._fields[jaw][:, *mouth]  # the upper teeth do not follow the jaw
        opening = _sampled(self._opening, there)[..., None]
        lips = face[mouth].astype(np.float32)
        lips += opening * (_sampled(self._interior, inside) - lips)
        face[mouth] = lips.clip(0, 255).astype(np.uint8)
        return face

    def _around_mouth(self, moved: Floats) -> tuple[slice, slice]:
        """Rows and columns in which the open mouth may lie, once the picture has moved by `moved` (2, H, W)."""
        margin = math.ceil(max(moved.max(), -moved.min())) + 1
        left, top, width, height = self._mouth
        return (
            slice(max(top - margin, 0), top + height + margin),
            slice(max(left - margin, 0), left + width + margin),
        )


def _sampled(picture: npt.NDArray[Any], source: Floats, method: int = cv2.INTER_LINEAR) -> npt.NDArray[Any]:
    """The picture's values at the points `source` (2, H, W); beyond the edge it is mirrored."""
    return np.asarray(cv2.remap(picture, source[0], source[1], method, borderMode=cv2.BORDER_REFLECT_101))


def _shaped(original: Picture, speaker: Speaker, size_px: int) -> Picture:
    """Crop the photograph around the face, with the speaker's head width, jaw width and face length.

    The factors fade out smoothly away from the face, so that the background stays in place.
    """
    face = _CHIN_Y - _HAIR_Y  # its height in pixels of the original
    scale = face / (_FACE_HEIGHT * size_px)  # pixels of the original for one of the new picture
    x, y = np.meshgrid(np.arange(size_px, dtype=np.float32), np.arange(size_px, dtype=np.float32))
    x = (x - size_px / 2) * (-scale if speaker.mirror else scale)
    y = (y - size_px * _FACE_MIDDLE) * scale  # both from the middle of the face, in pixels of the original
    near = np.exp(-((x / (1.1 * face)) ** 4) - (y / (1.1 * face)) ** 4)
    low = 1 / (1 + np.exp(-(y / face - 0.15) / 0.08))  # 0 at the eyes, 1 at the mouth
    width = 1 + near * (1 / speaker.head - 1) + near * low * (1 / speaker.jaw - 1)
    length = 1 + near * low * (1 / speaker.length - 1)
    source = np.stack([_CENTRE_X + x * width, (_HAIR_Y + _CHIN_Y) / 2 + y * length]).astype(np.float32)
    return _sampled(original, source, cv2.INTER_CUBIC)


def _tinted(picture: Picture, speaker: Speaker) -> Picture:
    """The colours of the speaker's light and skin: a gamma, and a factor on each channel."""
    tinted = 255 * (picture / 255) ** speaker.gamma * np.array(speaker.tint)
    return np.round(tinted.clip(0, 255)).astype(np.uint8)


def _mouth_opening(landmarks: Floats, size_px: int) -> Floats:
    """1 between the lips, 0 elsewhere, with a soft edge; shape (size, size)."""
    left, right = warp.INNER_CORNERS
    outline = landmarks[[left, *warp.INNER_LIPS_UPPER, right, *reversed(warp.INNER_LIPS_LOWER)]]
    opening = np.zeros((size_px, size_px), np.float32)
    cv2.fillPoly(opening, [np.round(outline).astype(np.int32)], 1.0)
    return np.asarray(cv2.GaussianBlur(opening, (0, 0), size_px / 320), dtype=np.float32)


def _mouth_interior(picture: Picture, landmarks: Floats) -> Floats:
    """What is seen between open lips: the photograph's upper teeth, and the dark below them."""
    lower = landmarks[list(warp.INNER_LIPS_LOWER)]
    lower = lower[np.argsort(lower[:, 0])]
    teeth_end = np.interp(np.arange(picture.shape[1]), lower[:, 0], lower[:, 1] - 2.0)  # (W,)
    below = np.arange(picture.shape[0])[:, None] - teeth_end  # (H, W), pixels
    dark = 1 / (1 + np.exp(-below))[..., None]
    return (picture + dark * (np.array(_INTERIOR_RGB) - picture)).astype(np.float32)
