"""Faces found, followed and chosen, with the real models on real and painted faces."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from skimage.data import astronaut
from skimage.transform import resize

from mse.config import FacialSettings
from mse.features.faces import Face
from mse.features.facial import FacialExtractor, Seen, facts_of
from mse.features.geometry import GAZE_NAMES, distances, gaze, head_pose, uncropped
from mse.features.tracks import Track, follow, judge, loudness_db
from mse.media import SAMPLE_RATE_HZ

RATE_HZ = 10.0
NO_SOUND = np.zeros(0, np.int16)
Look = Callable[..., tuple[Seen, np.ndarray, FacialExtractor]]


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return astronaut()[0:320, 64:384]


@pytest.fixture(scope="module")
def look(landmarker: Path) -> Look:
    """Look at pictures with these settings; returns what was seen, the values, and the extractor."""
    kept: dict[str, FacialExtractor] = {}

    def seen(pictures: list[np.ndarray], samples: np.ndarray = NO_SOUND, **settings: object):
        chosen = FacialSettings(**settings)
        extractor = kept.setdefault(chosen.model_dump_json(), FacialExtractor(chosen, landmarker))
        found = extractor.look(pictures, samples)
        return found, extractor.describe(found)[0], extractor

    yield seen
    for extractor in kept.values():
        extractor.close()


def scaled(picture: np.ndarray, factor: float) -> np.ndarray:
    height, width = (round(side * factor) for side in picture.shape[:2])
    return (resize(picture, (height, width), anti_aliasing=True) * 255).astype(np.uint8)


def resized(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    return (resize(picture, (height, width), anti_aliasing=True) * 255).astype(np.uint8)


def pasted(face: np.ndarray, left: int, top: int, width: int = 1280, height: int = 720) -> np.ndarray:
    """A face on a grey picture."""
    picture = np.full((height, width, 3), 128, np.uint8)
    picture[top : top + face.shape[0], left : left + face.shape[1]] = face
    return picture


def column(extractor: FacialExtractor, values: np.ndarray, name: str) -> np.ndarray:
    return values[:, extractor.feature_names.index(name)]


def test_features_of_a_face(look: Look, portrait: np.ndarray) -> None:
    seen, values, extractor = look([portrait] * 3)
    assert values.shape == (3, 52 + 6 + 4 + 6 + 4 + 2) == (3, len(extractor.feature_names))
    assert np.isfinite(values).all()
    assert column(extractor, values, "mouth_smile_left").min() > 0.5  # the portrait smiles
    assert column(extractor, values, "detection_score").min() > 0.5
    # the face is about in the middle of the picture, a third of its width
    assert column(extractor, values, "face_x")[0] == pytest.approx(0.5, abs=0.15)
    assert 0.2 < column(extractor, values, "face_width")[0] < 0.6
    assert facts_of(seen)["faces"] == 1 and np.isnan(facts_of(seen)["speaking"])


def test_features_do_not_depend_on_the_pictures_scale(look: Look, portrait: np.ndarray) -> None:
    plain = look([portrait] * 3)[1][-1]
    for factor in (0.5, 1.5, 2.5):
        _, values, extractor = look([scaled(portrait, factor)] * 3)
        away = dict(zip(extractor.feature_names, np.abs(values[-1] - plain), strict=True))
        degrees = {name: d for name, d in away.items() if name.endswith("_deg")}
        centimetres = {name: d for name, d in away.items() if name.endswith("_cm")}
        assert max(degrees.values()) < 3, degrees
        assert max(centimetres.values()) < 1.5, centimetres
        rest = {name: d for name, d in away.items() if name not in degrees | centimetres}
        assert max(rest.values()) < 0.2, max(rest.items(), key=lambda item: item[1])
        assert np.mean(list(rest.values())) < 0.02


def test_a_clip_does_not_depend_on_the_one_before(look: Look, portrait: np.ndarray) -> None:
    moved = [np.roll(portrait, 3 * shift, axis=1) for shift in range(6)]
    alone = look(moved)[1]
    look([np.roll(portrait, -20, axis=0)] * 4)
    np.testing.assert_array_equal(look(moved)[1], alone)


def test_no_face_keeps_its_place(look: Look, portrait: np.ndarray) -> None:
    grey = np.full_like(portrait, 90)
    seen, values, extractor = look([portrait, grey, grey, portrait])
    present = column(extractor, values, "face_present")
    assert present.tolist() == [1, 0, 0, 1]
    assert np.isnan(values[1:3, :-1]).all()
    assert len(seen.tracks) == 1


def test_small_faces_are_found_in_parts_of_the_picture(look: Look, portrait: np.ndarray) -> None:
    large, small = pasted(scaled(portrait, 2.0), 320, 40), pasted(scaled(portrait, 0.4), 900, 60)
    assert not look([small] * 3, small_faces=False)[0].tracks
    _, values, extractor = look([small] * 12)
    assert column(extractor, values, "face_present").all()  # found at once, and followed
    assert column(extractor, values, "face_x")[-1] == pytest.approx((900 + 64) / 1280, abs=0.03)
    near = look([large] * 3)[1]
    far_cm, near_cm = (-column(extractor, table, "head_z_cm")[-1] for table in (values, near))
    assert far_cm / near_cm == pytest.approx(2.0 / 0.4, rel=0.2)
    assert column(extractor, values, "detection_score")[-1] > 0.3


def speech_like(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """Loudness of syllables with pauses, at RATE_HZ, 0 to 1."""
    count = round(seconds * RATE_HZ)
    syllables = rng.random(count) * (np.convolve(rng.random(count) < 0.25, np.ones(4), "same") > 0)
    return np.clip(np.convolve(syllables, [0.25, 0.5, 0.25], "same") * 2, 0, 1)


def noise_with(envelope: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise with that loudness, int16 at 16 kHz."""
    at = np.arange(round(len(envelope) / RATE_HZ * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    level = np.interp(at, np.arange(len(envelope)) / RATE_HZ, envelope) + 0.01
    return (level * rng.normal(size=len(at)) * 3000).clip(-32767, 32767).astype(np.int16)


@pytest.fixture(scope="module")
def conversation(landmarker: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Two faces side by side for 8 s, each with a mouth of its own rhythm; and the sound of either."""
    from mse.demo import warp
    from mse.demo.portrait import Portrait
    from mse.demo.recipe import load_recipe

    recipe = load_recipe(Path(__file__).parents[1] / "resources" / "demo.yaml")
    speakers = recipe.splits["train"].speakers[:2]
    rng = np.random.default_rng(5)
    rhythms = [speech_like(rng, 8.0) for _ in speakers]
    sides = []
    for speaker, rhythm in zip(speakers, rhythms, strict=True):
        painter = Portrait(speaker, 240, landmarker)
        motion = np.zeros((len(rhythm), len(warp.PARAMETERS)))
        motion[:, warp.PARAMETERS.index("jaw")] = rhythm
        sides.append([painter.paint(row) for row in motion])
    pictures = [np.concatenate([left, right], axis=1) for left, right in zip(*sides, strict=True)]
    return pictures, [noise_with(rhythm, rng) for rhythm in rhythms]


def test_the_speaker_is_the_one_whose_mouth_follows_the_sound(
    look: Look, conversation: tuple[list[np.ndarray], list[np.ndarray]]
) -> None:
    pictures, sounds = conversation
    for sound, side in zip(sounds, (0.25, 0.75), strict=True):
        seen, values, extractor = look(pictures, sound)
        assert seen.most == 2 and len(seen.tracks) == 2
        assert np.nanmedian(column(extractor, values, "face_x")) == pytest.approx(side, abs=0.05)
        assert facts_of(seen)["speaking"] > 0.95
        assert seen.chosen is not None
        other = next(track for track in seen.tracks if track.faces != seen.chosen.faces)
        assert other.likeness < seen.chosen.likeness - 0.2


CHANGES = {
    "grows": lambda picture: scaled(picture, 2.0),
    "shrinks": lambda picture: scaled(picture, 0.5),
    "gets bars": lambda picture: np.pad(picture, ((60, 60), (0, 0), (0, 0))),
    "fits into a portrait": lambda picture: np.pad(scaled(picture, 0.5), ((150, 150), (0, 0), (0, 0))),
    "is stretched": lambda picture: resized(picture, 400, 400),
    "is cut at the sides": lambda picture: picture[:, 40:440],
}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(change, id=name, marks=[] if name in ("shrinks", "is stretched") else [pytest.mark.slow])
        for name, change in CHANGES.items()
    ],
)
def test_the_speaker_is_followed_when_pictures_change_size(
    look: Look, conversation: tuple[list[np.ndarray], list[np.ndarray]], change: Callable[[np.ndarray], np.ndarray]
) -> None:
    pictures, sounds = conversation
    both = [change(picture) if 30 <= t < 60 else picture for t, picture in enumerate(pictures)]  # there and back
    seen, values, extractor = look(both, sounds[1])
    assert seen.most == 2 and len(seen.tracks) == 2
    present = column(extractor, values, "face_present") == 1
    assert present.mean() > 0.97
    assert (column(extractor, values, "face_x")[present] > 0.5).all()  # the one on the right
    assert facts_of(seen)["speaking"] > 0.9


def test_a_small_face_is_followed_when_pictures_change_size(look: Look, portrait: np.ndarray) -> None:
    small = pasted(scaled(portrait, 0.25), 460, 40, 640, 360)
    later = [scaled(small, 2.0), np.pad(small, ((60, 60), (0, 0), (0, 0)))]
    for picture in later:
        seen, values, extractor = look([small] * 8 + [picture] * 4)  # the detector is asked each five pictures
        assert len(seen.tracks) == 1
        assert column(extractor, values, "face_present").all()
        assert np.ptp(column(extractor, values, "face_x")) < 0.02


def test_without_a_speaker_the_largest_face_is_described(
    look: Look, conversation: tuple[list[np.ndarray], list[np.ndarray]]
) -> None:
    pictures, sounds = conversation
    larger = [np.concatenate([scaled(p[:, :240], 0.6), np.zeros((96, 144, 3), np.uint8)]) for p in pictures[:30]]
    both = [np.concatenate([a, b[:, 240:]], axis=1) for a, b in zip(larger, pictures[:30], strict=True)]
    for sound, settings in ((NO_SOUND, {}), (sounds[0], {"who": "largest"})):
        _, values, extractor = look(both, sound, **settings)
        assert np.nanmedian(column(extractor, values, "face_x")) > 0.5


def test_a_speaker_out_of_sight_is_not_made_up(
    look: Look, conversation: tuple[list[np.ndarray], list[np.ndarray]]
) -> None:
    pictures, sounds = conversation
    left = [picture[:, :240] for picture in pictures]
    seen, *_ = look(left, sounds[0])
    assert facts_of(seen)["speaking"] > 0.95
    track = seen.tracks[0]
    confidences = []
    for seed in range(40):  # others' speech: the confidence is high by chance alone
        rng = np.random.default_rng([7, seed])
        judge([track], loudness_db(noise_with(speech_like(rng, 8.0), rng), RATE_HZ, len(left)), RATE_HZ)
        confidences.append(track.speaking)
    assert np.mean(confidences) == pytest.approx(0.5, abs=0.15)
    assert np.mean(np.array(confidences) >= 0.9) < 0.25


def made_face(x: float, y: float = 50.0, size: float = 20.0, features: np.ndarray | None = None) -> Face:
    box = (x - size / 2, y - size / 2, x + size / 2, y + size / 2)
    described = np.zeros(22, np.float32) if features is None else features
    return Face(described, np.zeros((478, 3), np.float32), box, (200, 100))


def test_tracks_follow_places_not_the_order_of_detection() -> None:
    seen = [[made_face(30 + t), made_face(100 - t)] for t in range(10)]
    seen[4:7] = [faces[::-1] for faces in seen[4:7]]
    tracks = follow(seen, RATE_HZ)
    assert len(tracks) == 2
    assert [round(float(tracks[0].faces[t].middle[0])) for t in range(10)] == [30 + t for t in range(10)]


def test_tracks_bear_gaps_and_do_not_jump() -> None:
    gap = [[made_face(30)], [], [], [made_face(34)]]
    assert len(follow(gap, RATE_HZ)) == 1
    assert len(follow([[made_face(30)], *[[]] * 40, [made_face(30)]], RATE_HZ)) == 2  # away for too long
    assert len(follow([[made_face(30)], [made_face(90)]], RATE_HZ)) == 2  # too far
    assert len(follow([[made_face(30)], [made_face(30, size=60)]], RATE_HZ)) == 2  # too much larger
    assert follow([[], []], RATE_HZ) == []


def test_another_view_in_another_shape_is_not_taken_for_the_same_people() -> None:
    two = [made_face(50.0), made_face(150.0)]  # in a picture of 200 x 100
    upright = replace(made_face(50.0, size=20.0), picture_px=(100, 200), box=(40.0, 90.0, 60.0, 110.0))
    assert len(follow([two, [upright]], RATE_HZ)) == 3  # in the middle: neither of them
    bars = [replace(face, picture_px=(200, 200), box=tuple(np.add(face.box, (0, 50, 0, 50)))) for face in two]
    assert len(follow([two, bars], RATE_HZ)) == 2
    larger = [replace(face, picture_px=(400, 201), box=tuple(np.multiply(face.box, 2))) for face in two]
    assert len(follow([two, larger], RATE_HZ)) == 2


def test_a_cut_to_another_view_is_the_same_person_but_not_a_silent_one(look: Look, portrait: np.ndarray) -> None:
    left, right = (pasted(scaled(portrait, 0.8), x, 10, 540, 280) for x in (20, 270))
    seen, values, extractor = look([left] * 8 + [right] * 6)
    assert len(seen.tracks) == 2
    present = column(extractor, values, "face_present")
    assert present[:8].all() and present[9:].all()  # MediaPipe itself needs a picture to notice


def test_a_passer_by_is_not_taken_for_the_speaker(
    look: Look, conversation: tuple[list[np.ndarray], list[np.ndarray]]
) -> None:
    pictures, sounds = conversation
    seen, *_ = look(pictures, sounds[0])
    assert seen.chosen is not None
    speaker = next(track for track in seen.tracks if track.faces == seen.chosen.faces)
    level = loudness_db(sounds[0], RATE_HZ, len(pictures))
    best = max(range(len(pictures) - 6), key=lambda t: np.ptp(level[t : t + 6]))
    opening = {t: made_face(30, features=np.full(22, level[t] / 40, np.float32)) for t in range(best, best + 6)}
    passer_by = Track(opening)  # whose mouth fits perfectly, for half a second
    judge([speaker, passer_by], level, RATE_HZ)
    assert np.isnan(passer_by.speaking) and speaker.speaking > 0.95


def mixed(sounds: list[np.ndarray], softer_db: float) -> np.ndarray:
    """The first sound with the second, so much softer."""
    return (0.5 * sounds[0] + 0.5 * 10 ** (-softer_db / 20) * sounds[1]).astype(np.int16)


def test_two_who_talk_at_once_lower_the_confidence(
    look: Look, conversation: tuple[list[np.ndarray], list[np.ndarray]]
) -> None:
    pictures, sounds = conversation
    seen, *_ = look(pictures, mixed(sounds, 0.0))
    assert [track.synchrony > 0.9 for track in seen.tracks] == [True, True]  # either mouth moves with the sound
    assert facts_of(seen)["speaking"] < 0.9
    assert sum(track.speaking for track in seen.tracks) < 1.1
    assert seen.chosen is not None and seen.chosen.likeness == max(track.likeness for track in seen.tracks)


def test_the_confidence_of_pairs_is_about_how_often_it_is_right() -> None:
    """Sixty pairs of mouths that move with their own speech, 5 s, and the sound of one, or of both."""

    def judged(softer_db: float, silent: bool) -> tuple[np.ndarray, np.ndarray]:
        """Whether the louder one is found, and the confidence in who is found; shape (60,) each."""
        found = []
        for seed in range(60):
            rng = np.random.default_rng([17, seed])
            rhythms = [speech_like(rng, 5.0) for _ in range(2)]
            sounds = [noise_with(rhythm, rng) for rhythm in rhythms]
            openings = [rhythms[0], np.zeros(50) if silent else rhythms[1]]
            tracks = []
            for side, opening in enumerate(openings):
                features = (opening + 0.2 * rng.normal(size=50))[:, None].repeat(22, axis=1).astype(np.float32)
                tracks.append(Track({t: made_face(100.0 * side, features=row) for t, row in enumerate(features)}))
            judge(tracks, loudness_db(mixed(sounds, softer_db), RATE_HZ, 50), RATE_HZ)
            best = max(tracks, key=lambda track: track.evidence)
            found.append((best is tracks[0], best.speaking))
        return tuple(map(np.array, zip(*found, strict=True)))

    right, alone = judged(120.0, silent=True)
    assert right.mean() > 0.9 and np.mean(alone >= 0.9) > 0.9  # somebody silent beside the speaker is no rival
    for softer_db in (120.0, 6.0, 3.0, 0.0):
        right, confidence = judged(softer_db, silent=False)
        assert np.mean(~right & (confidence >= 0.9)) < 0.1
    assert np.median(confidence) < 0.85 and np.mean(confidence >= 0.9) < 0.3  # both equally loud


def test_a_face_that_comes_late_lowers_the_confidence_as_long_as_it_is_seen() -> None:
    rng = np.random.default_rng(1)
    level = loudness_db(noise_with(speech_like(rng, 8.0), rng), RATE_HZ, 80)
    faces = {t: made_face(30, features=np.full(22, level[t], np.float32)) for t in range(80)}
    alike = [Track(faces), Track(dict(faces))]
    judge(alike, level, RATE_HZ)
    assert [track.synchrony for track in alike] == [1.0, 1.0]
    assert [track.speaking for track in alike] == pytest.approx([0.5, 0.5])
    alike[1].faces = {t: face for t, face in faces.items() if t >= 50}
    judge(alike, level, RATE_HZ)
    assert alike[0].speaking > 0.6  # at least what is left of the 5 s without the other
    assert alike[1].speaking < alike[1].synchrony - 0.2
    alike[0].faces = {t: face for t, face in faces.items() if t < 50}  # never seen together: no rivals
    judge(alike, level, RATE_HZ)
    assert [track.speaking for track in alike] == [track.synchrony for track in alike]


def test_loudness_is_that_around_the_picture() -> None:
    samples = np.zeros(SAMPLE_RATE_HZ, np.int16)
    samples[8000:9600] = 10_000  # 0.5 to 0.6 s
    level = loudness_db(samples, RATE_HZ, 12)
    assert level[:5].tolist() == [-40] * 5 and np.isnan(level[11])
    assert level[5] == level[6] == 0.0  # half of either's 100 ms


def test_head_pose_reads_its_own_rotation() -> None:
    pitch, yaw, roll = np.radians([10.0, -20.0, 5.0])
    x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3] = z @ y @ x * 1.3
    matrix[:3, 3] = 1, 2, -40
    assert head_pose(matrix) == pytest.approx([10, -20, 5, 1, 2, -40])


def test_distances_do_not_depend_on_scale() -> None:
    points = np.random.default_rng(0).normal(size=(478, 3))
    assert distances(points) == pytest.approx(distances(points * 7.5))
    assert gaze(points) == pytest.approx(gaze(points * 7.5))


def test_gaze_is_from_the_eyes_middle() -> None:
    points = np.zeros((478, 3))
    points[[362, 263]], points[[33, 133]] = [[100, 50, 0], [120, 50, 0]], [[40, 50, 0], [60, 50, 0]]
    points[473], points[468] = (115, 48, 0), (50, 54, 0)
    assert dict(zip(GAZE_NAMES, gaze(points), strict=True)) == pytest.approx(
        {"left_gaze_x": 0.25, "left_gaze_y": 0.1, "right_gaze_x": 0.0, "right_gaze_y": -0.2}
    )


def test_a_head_found_in_a_part_is_where_the_whole_picture_shows_it() -> None:
    width, height, crop = 1280, 720, (800, 100, 1100, 400)
    place = np.array([12.0, -5.0, -300.0])  # in the whole picture's camera
    focal = height / 2 / np.tan(np.radians(63 / 2))
    seen = np.array([width / 2 + focal * place[0] / 300, height / 2 - focal * place[1] / 300])
    part_focal = 300 / 2 / np.tan(np.radians(63 / 2))
    depth = 300 * part_focal / focal  # the same size in pixels
    in_part = np.array([(seen[0] - 950) * depth / part_focal, (250 - seen[1]) * depth / part_focal, -depth])
    assert uncropped(in_part, crop, width, height) == pytest.approx(place)
    assert uncropped(place, (0, 0, width, height), width, height) == pytest.approx(place)
