"""What the places of MediaPipe's 478 landmarks say, in units that do not depend on the picture's size."""

import numpy as np
import numpy.typing as npt

# Landmark numbers of MediaPipe's face mesh (left and right are the person's own).
LEFT_EYE, RIGHT_EYE = (362, 263), (33, 133)  # corners, from the picture's left to its right
LEFT_IRIS, RIGHT_IRIS = 473, 468  # middles
LEFT_LIDS, RIGHT_LIDS = (386, 374), (159, 145)  # upper, lower
LEFT_BROW, RIGHT_BROW = 282, 52
MOUTH_CORNERS, LIPS = (61, 291), (13, 14)  # lips: inner edge, upper and lower
FIELD_OF_VIEW_DEG = 63.0  # vertical, of the camera that MediaPipe imagines
SAME_SHAPE = 0.02  # two pictures whose ratios of sides differ by less are of one shape, but for rounding

POSE_NAMES = ["head_pitch_deg", "head_yaw_deg", "head_roll_deg", "head_x_cm", "head_y_cm", "head_z_cm"]
GAZE_NAMES = ["left_gaze_x", "left_gaze_y", "right_gaze_x", "right_gaze_y"]  # shares of the eye's width
DISTANCE_NAMES = [
    "mouth_width",
    "mouth_opening",
    "left_eye_opening",
    "right_eye_opening",
    "left_brow_height",
    "right_brow_height",
]  # in units of the distance between the eyes
BOX_NAMES = ["face_x", "face_y", "face_width", "face_height"]  # middle and size, shares of the picture

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels
Size = tuple[int, int]  # width and height of a picture in pixels
Floats = npt.NDArray[np.float64]
Points = npt.NDArray[np.floating]  # (478, 3) in pixels: x to the right, y down, z away from the camera


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


def uncropped(
    place_cm: npt.NDArray[np.floating], crop: tuple[int, int, int, int], width: int, height: int
) -> npt.NDArray[np.floating]:
    """Where a head is that was found in a part of a picture.

    MediaPipe takes the part for a whole picture of a camera with the same field of view: too wide an angle for each
    pixel, and straight ahead of it.

    Args:
        place_cm: x, y, z as found in the part (y up, z towards the camera: negative in front of it).
        crop: the part's left, top, right and bottom in pixels.
        width: of the whole picture, in pixels.
        height: of the whole picture.

    Returns:
        x, y, z in centimetres for the whole picture's camera.
    """
    left, top, right, bottom = crop
    tangent = np.tan(np.radians(FIELD_OF_VIEW_DEG / 2))
    focal_px, part_focal_px = height / 2 / tangent, (bottom - top) / 2 / tangent
    x, y, z = place_cm
    # Projected by the part's camera, then seen by the whole one's at the distance that gives the same size.
    right_px = (left + right - width) / 2 + part_focal_px * x / -z
    up_px = (height - top - bottom) / 2 + part_focal_px * y / -z
    depth = -z * focal_px / part_focal_px
    return np.array([right_px * depth / focal_px, up_px * depth / focal_px, -depth])


def distances(points: Points) -> list[float]:
    """DISTANCE_NAMES from landmarks in any unit: all are relative to the eyes' distance."""
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


def gaze(points: Points) -> list[float]:
    """GAZE_NAMES: where each iris is, from the middle of the eye's corners, along the eye (picture's right) and up."""
    found = []
    for corners, iris in ((LEFT_EYE, LEFT_IRIS), (RIGHT_EYE, RIGHT_IRIS)):
        first, last = points[corners[0], :2], points[corners[1], :2]
        along = last - first
        away = points[iris, :2] - (first + last) / 2
        square = along @ along
        up = away[0] * along[1] - away[1] * along[0]  # across the eye; y points down in pictures
        found += [float(away @ along / square), float(up / square)]
    return found


def box_of(points: Points) -> Box:
    """Left, top, right and bottom of the landmarks, in pixels."""
    left, top = points[:, :2].min(axis=0)
    right, bottom = points[:, :2].max(axis=0)
    return float(left), float(top), float(right), float(bottom)


def placed(box: Box, width: int, height: int) -> list[float]:
    """BOX_NAMES of a box in pixels within a picture."""
    left, top, right, bottom = box
    return [(left + right) / 2 / width, (top + bottom) / 2 / height, (right - left) / width, (bottom - top) / height]


def carry_over(middle: Floats, size_px: float, before: Size, after: Size) -> list[tuple[Floats, float]]:
    """Find where a face of one picture is in another of the same view but of another size.

    Nothing tells how a view came to its new shape: filmed anew by a turned telephone, stretched, shown whole between
    bars, or cut so that it fills the picture. Where the shape stays the same, these are one.

    Args:
        middle: of the face, (2,) in pixels.
        size_px: of the face.
        before: size of the picture that it was seen in.
        after: size of the other picture.

    Returns:
        Middle and size in the pixels of the other picture, for each of these ways.
    """
    if before == after:
        return [(middle, size_px)]
    old, new = np.array(before, np.float64), np.array(after, np.float64)
    grown = new / old
    ways = [grown]  # factors on x and y
    if not np.isclose(grown[0], grown[1], rtol=SAME_SHAPE):
        ways = [np.full(2, factor) for factor in (np.sqrt(grown.prod()), grown.min(), grown.max())] + ways
    return [((middle - old / 2) * way + new / 2, size_px * float(np.sqrt(way.prod()))) for way in ways]
