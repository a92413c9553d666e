"""Displacement fields of a face: what each animation parameter moves, as thin-plate splines through landmarks.

Lengths are in units of the distance between the outer corners of the eyes, so that they fit any face.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
from scipy.interpolate import RBFInterpolator

Floats = npt.NDArray[np.float32]
Points = npt.NDArray[np.floating]  # (N, 2): x and y in pixels

PARAMETERS = ("smile", "brow", "jaw", "blink", "shift_x", "shift_y", "roll", "zoom")

# The photograph smiles, with open lips: what makes it neutral.
NEUTRAL = {"smile": -0.95, "jaw": -0.45}

# Landmarks of MediaPipe's face mesh. Upper and lower lists run in the same direction.
EYE_CORNERS = (33, 263)  # outer ones, of the picture's left and right eye
MOUTH_CORNERS = (61, 291)
INNER_CORNERS = (78, 308)
INNER_LIPS_UPPER = (191, 80, 81, 82, 13, 312, 311, 310, 415)
INNER_LIPS_LOWER = (95, 88, 178, 87, 14, 317, 402, 318, 324)
FOREHEAD, CHIN = 10, 152

_UPPER_LIPS = (*INNER_LIPS_UPPER, 185, 40, 39, 37, 0, 267, 269, 270, 409)
_LOWER_LIPS = (*INNER_LIPS_LOWER, 146, 91, 181, 84, 17, 314, 405, 321, 375)
_LIPS = (*MOUTH_CORNERS, *INNER_CORNERS, *_UPPER_LIPS, *_LOWER_LIPS)
_LIDS = (  # each eye's upper and lower lid, corners included
    ((33, 246, 161, 160, 159, 158, 157, 173, 133), (33, 7, 163, 144, 145, 153, 154, 155, 133)),
    ((362, 398, 384, 385, 386, 387, 388, 466, 263), (362, 382, 381, 380, 374, 373, 390, 249, 263)),
)
_EYES = tuple({name for upper, lower in _LIDS for name in (*upper, *lower)})
_BROWS = (70, 63, 105, 66, 107, 46, 53, 52, 65, 55, 300, 293, 334, 296, 336, 276, 283, 282, 295, 285)
_INNER_BROWS = (107, 66, 55, 65, 336, 296, 285, 295)
_CHEEKS = {205: 0.05, 425: 0.05, 207: 0.06, 427: 0.06, 50: 0.02, 280: 0.02}  # how far a smile lifts them
_NOSE = (1, 2, 4, 6, 98, 327, 168, 195)
_JAW = (148, 377, 176, 400, 149, 378, 150, 379)
_HEAD = (10, 338, 109, 297, 67, 332, 103, 284, 54, 251, 21, 389, 162, 356, 127, 454, 234, 323, 93, 361, 132)

_SMILE_UP, _SMILE_OUT = 0.085, 0.045
_BROW_UP, _INNER_BROW_UP = 0.05, 0.03  # the inner ends move by the sum
_LIP_DOWN, _CHIN_DOWN = 0.15, 0.11
_SHUT = 0.9  # of the eye's opening
_LID_HEIGHT, _LASHES = 0.1, 0.02  # the skin above the eye that stretches; the lashes beyond the lids' edges
_GRID_STEP_PX = 4  # splines are evaluated on a coarse grid and interpolated: they are smooth


def make_fields(landmarks: Floats, size_px: int) -> Floats:
    """One displacement field for each of PARAMETERS.

    Args:
        landmarks: x and y in pixels, shape (478, 2).
        size_px: width and height of the picture.

    Returns:
        Shape (parameters, 2, size, size): how far (x, y) the picture moves there, in pixels, when the parameter
        is 1. smile, brow: up; jaw: opens; blink: shuts; shift_x, shift_y: a hundredth of the picture to the right
        and down; roll: one degree clockwise; zoom: one per cent.
    """
    fields = [_smile(landmarks, size_px), _brow(landmarks, size_px), _jaw(landmarks, size_px)]
    fields += [_blink(landmarks, size_px), *_head_motion(landmarks, size_px)]
    return np.stack(fields).astype(np.float32).transpose(0, 3, 1, 2).copy()


def _unit(landmarks: Floats) -> float:
    left, right = landmarks[list(EYE_CORNERS)]
    return float(np.linalg.norm(right - left))


def _across_mouth(landmarks: Floats, names: Sequence[int]) -> Floats:
    """Place across the mouth, -1 at its left and 1 at its right corner."""
    left, right = landmarks[list(MOUTH_CORNERS), 0]
    return (2 * landmarks[list(names), 0] - left - right) / (right - left)


def _spline(landmarks: Floats, size_px: int, moved: Points, moves: Points, held: Sequence[int]) -> Floats:
    """The smoothest field with `moves` (N, 2) at `moved` (N, 2), and 0 at the held landmarks and the edge."""
    edge = np.linspace(0, size_px - 1, 5)
    frame = np.array([(x, y) for x in edge for y in edge if {x, y} & {edge[0], edge[-1]}])
    points = np.concatenate([moved, landmarks[list(held)], frame])
    values = np.concatenate([moves, np.zeros((len(points) - len(moved), 2))])
    spline = RBFInterpolator(points, values, kernel="thin_plate_spline", smoothing=0.1)
    places = np.arange(size_px // _GRID_STEP_PX) * _GRID_STEP_PX + (_GRID_STEP_PX - 1) / 2  # cell centres
    coarse = np.stack(np.meshgrid(places, places), axis=-1).reshape(-1, 2)
    field = spline(coarse).reshape(len(places), len(places), 2).astype(np.float32)
    return cv2.resize(field, (size_px, size_px), interpolation=cv2.INTER_CUBIC)


def _smile(landmarks: Floats, size_px: int) -> Floats:
    """Mouth corners up and out, the lips between them following like an arch.

    A frame asks each of its points where it comes from, so the spline is told at the places where the lips are in
    a neutral face, half way between their extremes.
    """
    unit = _unit(landmarks)
    across = _across_mouth(landmarks, _LIPS)
    lips = np.column_stack([_SMILE_OUT * across, -_SMILE_UP * across**2]) * unit
    cheeks = np.array([(0, -up) for up in _CHEEKS.values()]) * unit
    moves = np.concatenate([lips, cheeks])
    moved = landmarks[[*_LIPS, *_CHEEKS]] + NEUTRAL["smile"] * moves
    return _spline(landmarks, size_px, moved, moves, (*_EYES, *_NOSE, *_HEAD, CHIN, *_JAW))


def _brow(landmarks: Floats, size_px: int) -> Floats:
    """Brows up, their inner ends most."""
    inner = np.isin(_BROWS, _INNER_BROWS)
    up = (_BROW_UP + _INNER_BROW_UP * inner) * _unit(landmarks)
    moves = np.column_stack([np.zeros_like(up), -up])
    return _spline(landmarks, size_px, landmarks[list(_BROWS)], moves, (*_EYES, *_NOSE, *_HEAD, *_LIPS))


def _jaw(landmarks: Floats, size_px: int) -> Floats:
    """Lower lip and chin down; the mouth's corners and upper lip stay."""
    unit = _unit(landmarks)
    lips = _LIP_DOWN * (1 - np.abs(_across_mouth(landmarks, _LOWER_LIPS)) ** 3).clip(0)
    down = np.concatenate([lips, np.full(1 + len(_JAW), _CHIN_DOWN)]) * unit
    moved = landmarks[[*_LOWER_LIPS, CHIN, *_JAW]]
    held = (*_EYES, *_NOSE, *_HEAD, *_UPPER_LIPS, *MOUTH_CORNERS, *INNER_CORNERS)
    return _spline(landmarks, size_px, moved, np.column_stack([np.zeros_like(down), down]), held)


def _blink(landmarks: Floats, size_px: int) -> Floats:
    """Upper lids down onto the lower ones, column by column: a spline would overshoot so near to a fold."""
    rows, columns = np.arange(size_px, dtype=np.float32)[:, None], np.arange(size_px)
    field = np.zeros((size_px, size_px), np.float32)
    for upper, lower in _LIDS:
        lids = [landmarks[list(names)][np.argsort(landmarks[list(names), 0])] for names in (upper, lower)]
        top, bottom = (np.interp(columns, lid[:, 0], lid[:, 1]) for lid in lids)  # (W,)
        top, bottom = top - _LASHES * _unit(landmarks), bottom + _LASHES * _unit(landmarks)
        inside = (columns >= lids[0][0, 0]) & (columns <= lids[0][-1, 0])
        move = np.where(inside, (bottom - top) * _SHUT, 0)  # (W,), pixels
        lid = _LID_HEIGHT * _unit(landmarks)
        rise = (rows - top + lid) / (move + lid)  # to 1 where the lid arrives, just above the lower lid
        fall = (bottom - rows) / (bottom - top - move).clip(1)
        field += move * np.minimum(rise, fall).clip(0, 1)
    smooth = cv2.GaussianBlur(field, (0, 0), size_px / 320)
    return np.stack([np.zeros_like(field), smooth], axis=-1)


def _head_motion(landmarks: Floats, size_px: int) -> list[Floats]:
    """Shift right, shift down, roll and zoom of the head; they fade out towards the picture's edge."""
    x, y = np.meshgrid(np.arange(size_px, dtype=np.float32), np.arange(size_px, dtype=np.float32))
    middle = landmarks[[FOREHEAD, CHIN]].mean(axis=0)
    inset = np.minimum.reduce([x, y, size_px - 1 - x, size_px - 1 - y]) / (0.2 * size_px)  # 0 at the edge
    fade = np.sin(np.pi / 2 * inset.clip(0, 1)) ** 2
    x, y, zero = x - middle[0], y - middle[1], np.zeros_like(x)
    step, turn = 0.01 * size_px, np.pi / 180
    moves = ((step + zero, zero), (zero, step + zero), (-y * turn, x * turn), (0.01 * x, 0.01 * y))
    return [np.stack([fade * dx, fade * dy], axis=-1) for dx, dy in moves]
