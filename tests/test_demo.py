"""The demo corpus: its recipe, its voice, its face, and a tiny build from end to end."""

import hashlib
import itertools
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from mse.audio import read_audio
from mse.demo.build import build
from mse.demo.motion import animate
from mse.demo.plan import COMPONENTS, as_table, attainable, label_of, make_plan
from mse.demo.portrait import Portrait
from mse.demo.recipe import Recipe, Speaker, load_recipe
from mse.demo.voice import loudness, speak, to_pcm
from mse.demo.warp import PARAMETERS
from mse.errors import UserError
from mse.media import SAMPLE_RATE_HZ, probe

RECIPE = Path(__file__).parents[1] / "resources" / "demo.yaml"
TEXT = "The weather was quite pleasant."
TINY = {"train": 4, "valid": 2, "test": 2}


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe(RECIPE)


@pytest.fixture(scope="module")
def table(recipe: Recipe) -> pd.DataFrame:
    return as_table(make_plan(recipe, recipe.seed))


@pytest.fixture(scope="module")
def ada(recipe: Recipe) -> Speaker:
    return recipe.splits["train"].speakers[0]


def broken(tmp_path: Path, change: Callable[[dict], None]) -> Path:
    content = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    change(content)
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


class TestRecipe:
    def test_unknown_key_is_named(self, tmp_path: Path) -> None:
        path = broken(tmp_path, lambda content: content["picture"].update(colour="red"))
        with pytest.raises(UserError, match=r"recipe\.yaml: unknown key 'picture\.colour'; known keys: size_px"):
            load_recipe(path)

    def test_a_sentence_belongs_to_one_split(self, tmp_path: Path) -> None:
        def copy(content: dict) -> None:
            content["splits"]["test"]["sentences"][0][0] = content["splits"]["train"]["sentences"][0][0]

        with pytest.raises(UserError, match=r"sentence 'The movie starts at seven tonight\.' occurs twice"):
            load_recipe(broken(tmp_path, copy))

    def test_levels_must_be_those_of_the_mixture(self, tmp_path: Path) -> None:
        path = broken(tmp_path, lambda content: content["splits"]["valid"]["sentences"].pop(0))
        with pytest.raises(UserError, match=r"splits\.valid\.sentences has levels"):
            load_recipe(path)

    def test_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"none\.yaml: no such file"):
            load_recipe(tmp_path / "none.yaml")

    def test_cut_down_keeps_every_split_and_level(self, recipe: Recipe) -> None:
        small = recipe.cut_down(TINY)
        assert {name: split.clips for name, split in small.splits.items()} == TINY
        assert [len(split.speakers) for split in small.splits.values()] == [1, 1, 1]
        assert all(set(split.sentences) == set(recipe.mixture.levels) for split in small.splits.values())
        assert recipe.cut_down({name: split.clips for name, split in recipe.splits.items()}) == recipe

    @pytest.mark.parametrize(
        ("clips", "message"), [({"dev": 3}, "it has train, valid, test"), ({"test": 61}, "1 to 60")]
    )
    def test_cut_down_refuses(self, recipe: Recipe, clips: dict[str, int], message: str) -> None:
        with pytest.raises(UserError, match=message):
            recipe.cut_down(clips)


class TestPlan:
    def test_counts(self, table: pd.DataFrame) -> None:
        assert table["split"].value_counts().to_dict() == {"train": 150, "valid": 30, "test": 60}
        assert table["clip_id"].is_unique
        assert set(table["speaker"].value_counts()) == {30}
        assert set(table["text"].value_counts()) == {3}
        assert table["start_s"].notna().mean() == pytest.approx(0.47, abs=0.05)

    @pytest.mark.parametrize("column", ["speaker", "text", "media"])
    def test_splits_are_disjoint(self, table: pd.DataFrame, column: str) -> None:
        assert (table.groupby(column)["split"].nunique() == 1).all()

    def test_labels_are_the_documented_mixture(self, recipe: Recipe, table: pd.DataFrame) -> None:
        total = recipe.mixture.scale * table[list(COMPONENTS)].sum(axis=1)
        np.testing.assert_allclose(table["label"], total.round(1).clip(-3, 3))
        assert label_of(1, 1, 1, 1.2) == 3.0
        assert label_of(-1, -0.5, 0.5, 1.2) == -1.2
        assert (total.abs() > 3.05).mean() < 0.05  # little clipping

    def test_components_share_the_variance_and_do_not_correlate(self, table: pd.DataFrame) -> None:
        for _, part in table.groupby("split"):
            components = part[list(COMPONENTS)]
            np.testing.assert_allclose(components.var() / components.var().sum(), 1 / 3, atol=1e-9)
            correlations = components.corr().to_numpy()
            assert np.abs(correlations[np.triu_indices(3, 1)]).max() < 0.03

    def test_attainable_correlations(self, table: pd.DataFrame) -> None:
        for _, part in table.groupby("split"):
            found = attainable(part)
            assert len(found) == 7
            for names, value in found.items():
                # The squared multiple correlation from the correlation matrix: r' R^-1 r.
                matrix = part[[*names, "label"]].corr().to_numpy()
                squared = matrix[-1, :-1] @ np.linalg.solve(matrix[:-1, :-1], matrix[-1, :-1])
                assert value == pytest.approx(np.sqrt(squared), abs=1e-9)
                assert value == pytest.approx(np.sqrt(len(names) / 3), abs=0.03)

    def test_clips_of_a_recording_follow_each_other(self, recipe: Recipe, table: pd.DataFrame) -> None:
        shortest, longest = recipe.timing.pause_s
        for _, part in table.dropna(subset="start_s").groupby("media"):
            part = part.sort_values("start_s")
            pauses = part["start_s"].to_numpy()[1:] - part["end_s"].to_numpy()[:-1]
            assert pauses.min() >= shortest - 1e-6
            assert pauses.max() <= longest + 1e-6

    def test_length_tells_no_component(self, recipe: Recipe) -> None:
        clips = [clip for plan in make_plan(recipe, recipe.seed) for clip in plan.clips]
        lengths = [clip.length_s for clip in clips]
        for name in COMPONENTS:
            assert abs(np.corrcoef(lengths, [getattr(clip, name) for clip in clips])[0, 1]) < 0.2

    def test_seed_decides(self, recipe: Recipe) -> None:
        assert make_plan(recipe, 1) == make_plan(recipe, 1)
        assert make_plan(recipe, 1) != make_plan(recipe, 2)


@pytest.fixture(scope="module")
def low_and_high(recipe: Recipe, ada: Speaker) -> list[np.ndarray]:
    return [speak(TEXT, ada, component, recipe.sound, recipe.voice) for component in (-1.0, 1.0)]


class TestVoice:
    def test_level(self, recipe: Recipe, low_and_high: list[np.ndarray]) -> None:
        low, high = (20 * np.log10(np.sqrt(np.mean(samples**2))) for samples in low_and_high)
        assert low == pytest.approx(recipe.sound.rms_dbfs - recipe.voice.level_db)
        assert high == pytest.approx(recipe.sound.rms_dbfs + recipe.voice.level_db)

    def test_rate(self, recipe: Recipe, low_and_high: list[np.ndarray]) -> None:
        low, high = map(len, low_and_high)
        assert low / high == pytest.approx(recipe.voice.rate**2, abs=0.08)

    def test_pitch(self, low_and_high: list[np.ndarray]) -> None:
        import opensmile

        smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
        name = "F0semitoneFrom27.5Hz_sma3nz_percentile50.0"
        low, high = (smile.process_signal(samples, SAMPLE_RATE_HZ)[name].item() for samples in low_and_high)
        assert 4 < high - low < 12  # semitones

    def test_no_clip_exceeds_full_scale(self, low_and_high: list[np.ndarray]) -> None:
        assert np.abs(low_and_high[1]).max() < 1
        assert to_pcm(np.array([0.0, 1.0, -2.0])).tolist() == [0, 32767, -32767]

    def test_unknown_timbre_is_named(self, recipe: Recipe, ada: Speaker) -> None:
        with pytest.raises(UserError, match=r"no voice 'en-us\+nobody'"):
            speak(TEXT, ada.model_copy(update={"timbre": "nobody"}), 0, recipe.sound, recipe.voice)

    def test_loudness_does_not_tell_the_level(self) -> None:
        samples = np.sin(np.arange(SAMPLE_RATE_HZ)) * np.linspace(0, 0.5, SAMPLE_RATE_HZ)
        found = loudness(samples, 50, 25)
        np.testing.assert_allclose(found, loudness(samples / 4, 50, 25))
        assert found.max() == 1
        assert (found[25:] == 0).all()  # after the sound has ended


class TestMotion:
    def test_expression_follows_the_face_component(self) -> None:
        face = np.repeat([0.0, 1.0, 0.0, -1.0], 25)
        tracks = dict(zip(PARAMETERS, animate(face, np.zeros(100), 25, np.random.default_rng(0)).T, strict=True))
        assert tracks["smile"][40:50].mean() == pytest.approx(1, abs=0.15)
        assert tracks["brow"][90:].mean() == pytest.approx(-0.8, abs=0.15)
        assert tracks["blink"].min() >= 0
        assert tracks["blink"].max() <= 1

    def test_short_clip(self) -> None:
        assert animate(np.zeros(1), np.zeros(1), 25, np.random.default_rng(0)).shape == (1, len(PARAMETERS))


@pytest.fixture(scope="module")
def portrait(recipe: Recipe, ada: Speaker, landmarker: Path) -> Portrait:
    return Portrait(ada, recipe.picture.size_px, landmarker)


class TestPortrait:
    def test_expressions_are_read_as_such(self, portrait: Portrait, landmarker: Path) -> None:
        import mediapipe as mp
        from mediapipe.tasks.python import BaseOptions, vision

        options = vision.FaceLandmarkerOptions(
            BaseOptions(model_asset_path=str(landmarker)), output_face_blendshapes=True
        )
        with vision.FaceLandmarker.create_from_options(options) as finder:

            def shapes(**parameters: float) -> dict[str, float]:
                picture = portrait.paint([parameters.get(name, 0.0) for name in PARAMETERS])
                found = finder.detect(mp.Image(image_format=mp.ImageFormat.SRGB, data=picture)).face_blendshapes
                return {shape.category_name: shape.score for shape in found[0]}

            frown, neutral, smile = shapes(smile=-1), shapes(), shapes(smile=1)
            assert frown["mouthSmileLeft"] + 0.2 < neutral["mouthSmileLeft"] < smile["mouthSmileLeft"] - 0.2
            assert shapes(brow=1)["browInnerUp"] > neutral["browInnerUp"] + 0.3
            assert shapes(blink=1)["eyeBlinkLeft"] > neutral["eyeBlinkLeft"] + 0.3

    def test_open_mouth_is_dark(self, portrait: Portrait) -> None:
        shut, opened = (portrait.paint([0, 0, jaw, 0, 0, 0, 0, 0]) for jaw in (0, 1))
        change = opened.astype(int).sum(axis=2) - shut.astype(int).sum(axis=2)
        middle = change[160:240, 130:190]  # the mouth, in a picture of 320 px
        assert middle.min() < -150

    def test_edges_stay(self, portrait: Portrait) -> None:
        still, moved = (portrait.paint([s, s, s, 0, 3 * s, 3 * s, 3 * s, 3 * s]).astype(int) for s in (0.0, 1.0))
        assert np.abs(moved[160] - still[160]).mean() > 5  # while the face moves
        for edge in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
            assert np.abs(moved[edge] - still[edge]).mean() < 2


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def corpora(recipe: Recipe, landmarker: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same tiny corpus made twice, by one process and by two; the second over leftovers."""
    first, second = (tmp_path_factory.mktemp(name) for name in ("first", "second"))
    small = recipe.cut_down(TINY)
    (second / "videos").mkdir()
    (second / "videos" / "leftover.mp4").touch()
    build(small, first, landmarker, jobs=1)
    build(small, second, landmarker, jobs=2)
    return first, second


class TestBuild:
    def test_same_seed_same_bytes(self, corpora: tuple[Path, Path]) -> None:
        assert digests(corpora[0]) == digests(corpora[1])

    def test_files_are_those_of_the_table(self, recipe: Recipe, corpora: tuple[Path, Path]) -> None:
        table = pd.read_csv(corpora[0] / "clips.csv")
        columns = "clip_id media start_s end_s split speaker text label word voice face"
        assert table.columns.tolist() == columns.split()
        assert len(table) == sum(TINY.values())
        assert set(table["media"]) == {str(path.relative_to(corpora[0])) for path in corpora[0].rglob("*.mp4")}
        shortest, longest = recipe.timing.clip_s
        for row in table.itertuples():
            info = probe(corpora[0] / row.media)
            assert info.has_audio and info.has_video
            assert info.duration_s is not None
            if np.isnan(row.start_s):
                assert shortest - 0.05 <= info.duration_s <= longest + 0.05
            else:
                assert row.end_s < info.duration_s

    def test_clips_hold_speech_within_their_times(self, corpora: tuple[Path, Path]) -> None:
        table = pd.read_csv(corpora[0] / "clips.csv").dropna(subset="start_s")
        for media, part in table.groupby("media"):
            sound = read_audio(corpora[0] / media) / 32768
            inside = np.zeros(len(sound), bool)
            for row in part.itertuples():
                inside[int(row.start_s * SAMPLE_RATE_HZ) : int(row.end_s * SAMPLE_RATE_HZ)] = True
            rms_in, rms_out = (np.sqrt(np.mean(sound[mask] ** 2)) for mask in (inside, ~inside))
            assert rms_in > 10 * rms_out

    def test_readme_tells_what_is_attainable(self, corpora: tuple[Path, Path]) -> None:
        text = (corpora[0] / "README.md").read_text(encoding="utf-8")
        for size in (1, 2, 3):
            for names in itertools.combinations(COMPONENTS, size):
                assert f"| {' + '.join(names)} |" in text

    def test_picture_shows_a_face_in_front_of_a_still_edge(self, corpora: tuple[Path, Path]) -> None:
        video = cv2.VideoCapture(str(next((corpora[0] / "videos").iterdir())))
        read, picture = video.read()
        video.release()
        assert read
        assert picture.shape == (320, 320, 3)
        assert picture[:8].mean() > 20  # no black border

    def test_missing_model_says_how_to_get_it(self, recipe: Recipe, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="mse fetch face_landmarker"):
            build(recipe, tmp_path, tmp_path / "none.task")

    def test_sentence_longer_than_its_clip(self, recipe: Recipe, landmarker: Path, tmp_path: Path) -> None:
        small = recipe.cut_down({"train": 1})
        rushed = small.model_copy(update={"timing": small.timing.model_copy(update={"clip_s": (0.4, 0.4)})})
        with pytest.raises(UserError, match=r"takes \d.* shorten it"):
            build(rushed, tmp_path, landmarker, jobs=1)
        assert not (tmp_path / "clips.csv").exists()
