"""One clip's picture, drawn from what the real stages have made of a portrait that speaks."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from mse import media
from mse.cli import app
from mse.clip_view import ClipView, read_clip
from mse.config import FacialSettings, OpenSmileSettings, SegmentSettings, TranscribeSettings
from mse.corpus import MANIFEST_COLUMNS, write_manifest
from mse.errors import UserError
from mse.extract import acoustic_shard, facial_shard
from mse.plots.fonts import font_families
from mse.quality import make_quality
from mse.rows import read_shard
from mse.segment import segment_shard
from mse.show import DPI, draw, show
from mse.transcribe import read_transcripts, transcribe_shard

TEXT = "The weather costs $5, or $6: مرحبا"
FILES = {
    "talk": "talk.mp4",
    "faceless": "no face.mp4",
    "silent": "no sound.mp4",
    "torn": "truncated.mp4",
    "gone": "gone.mp4",
    "released": "",
}
ROWS = ["pictures: ", "sound (", "words recognised", "text recognised", "the corpus's text", "descriptors: egemaps"]
ROWS += ["descriptors: whole (opensmile-GeMAPSv01b), one frame", "face: the 18 blendshapes", "face: mouth and head"]
DRAWN = ["Loudness_sma3", "F0semitoneFrom27.5Hz_sma3nz", "semitones over 27.5 Hz", "mouth_opening", "head_yaw_deg"]


@pytest.fixture(scope="module")
def work(
    corpus: Path,
    portrait_frames: list[np.ndarray],
    voice: np.ndarray,
    landmarker: Path,
    models: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The folder `work` after all stages, with the corpus `made` of one shard."""
    work = tmp_path_factory.mktemp("show")
    folder = work / "made"
    pictures = (portrait_frames + portrait_frames[::-1]) * 2  # 8 s that turn about
    media.write_video(work / "talk.mp4", pictures, voice[: 8 * media.SAMPLE_RATE_HZ], 25)
    paths = {clip: work / file if clip == "talk" else corpus / file if file else "" for clip, file in FILES.items()}
    rows = [(clip, str(path), np.nan, np.nan, "test", "", TEXT, "1.5", "0000") for clip, path in paths.items()]
    clips = pd.DataFrame(rows, columns=MANIFEST_COLUMNS)
    write_manifest(clips, pd.DataFrame(columns=["clip_id", "reason"]), folder / "manifest.csv")
    sound, facts = folder / "segments" / "0000.h5", folder / "segments" / "0000.csv"
    segment_shard(read_shard(folder / "manifest.csv", "0000"), sound, facts, "made", SegmentSettings())
    sets = {"egemaps": OpenSmileSettings(), "whole": OpenSmileSettings(feature_set="GeMAPSv01b", level="functionals")}
    shards = {name: folder / "features" / "acoustic" / name / "0000.h5" for name in sets}
    for name, settings in sets.items():
        acoustic_shard(sound, shards[name], settings)
    facial, said = folder / "features" / "facial" / "0000.h5", folder / "transcripts" / "0000.csv"
    facial_shard(facts, sound, facial, "made", FacialSettings(), landmarker)
    transcribe_shard(sound, said, "en", TranscribeSettings(), models("whisper-tiny.en"))
    tables = {f"acoustic/{name}": [path] for name, path in shards.items()} | {"facial": [facial]}
    make_quality(folder / "manifest.csv", [facts], tables, [said], "corpus", folder / "quality.csv")
    return work


@pytest.fixture(scope="module")
def talk(work: Path, landmarker: Path) -> ClipView:
    return read_clip("talk", "made", work / "made", landmarker)


def texts(svg: Path) -> str:
    """All texts of a figure, which stand in it as text."""
    return "\n".join(re.findall(r"<text[^>]*>([^<]*)</text>", svg.read_text(encoding="utf-8"))).replace("&#x27;", "'")


def test_figure_says_all_there_is(talk: ClipView, work: Path, tmp_path: Path) -> None:
    draw(talk, tmp_path / "talk.svg")
    said = texts(tmp_path / "talk.svg")
    assert "\ntalk, made, test, label 1.5, 8.00 s\n" in said
    assert all(expected in said for expected in [*ROWS, *DRAWN, TEXT, "face in 100% of the pictures", "use: full"])
    heard = read_transcripts(work / "made" / "transcripts" / "0000.csv")["text"].iloc[0]
    assert len(talk.words) > 10 and heard in said.replace("\n", " ")
    assert {word["text"] for word in talk.words} <= set(said.split("\n"))
    draw(talk, tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_bytes() == (tmp_path / "talk.svg").read_bytes()


def test_png_is_as_wide_as_its_time_axis_and_margins(talk: ClipView, tmp_path: Path) -> None:
    draw(talk, tmp_path / "talk.png")
    width, height = Image.open(tmp_path / "talk.png").size
    assert width == pytest.approx(14.7 * DPI, abs=1) and 8 * DPI < height < 14 * DPI


def test_pictures_show_the_described_face_at_even_times(talk: ClipView) -> None:
    assert [look.time_s for look in talk.looks] == pytest.approx([(i + 0.5) * 8 / 6 for i in range(6)], abs=0.051)
    assert talk.facial is not None
    for look in talk.looks:
        [(face, _, described)] = look.faces
        assert described and look.picture.shape == (320, 320, 3)
        stored = talk.facial.of("face_x")[round(look.time_s * 10)]
        assert face.middle[0] / 320 == pytest.approx(stored, abs=0.01)  # what is drawn is what was measured


def test_pictures_stand_at_their_times_where_the_recording_ends_early(work: Path, landmarker: Path) -> None:
    torn = read_clip("torn", "made", work / "made", landmarker)
    assert 1 <= len(torn.looks) < 6
    assert all(start_s <= look.time_s < end_s for look in torn.looks for start_s, end_s in [look.slot_s])
    assert torn.looks[0].slot_s == pytest.approx((0, torn.duration_s / 6))


def test_rows_without_data_are_left_out(talk: ClipView, work: Path, landmarker: Path, tmp_path: Path) -> None:
    show("silent", "made", work, tmp_path / "silent.svg", landmarker)
    said = texts(tmp_path / "silent.svg")
    assert "pictures: " in said and "face: the 18 blendshapes" in said
    assert not any(header in said for header in ("sound (", "words recognised", "descriptors: ", "speaking"))
    bare = tmp_path / "work" / "made"
    for name in ("manifest.csv", "segments/0000.csv"):
        (bare / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(work / "made" / name, bare / name)
    clip = read_clip("talk", "made", bare, landmarker)
    assert np.array_equal(clip.samples, talk.samples)  # the stored sound is gone, the recording has it
    draw(clip, tmp_path / "bare.svg")
    said = texts(tmp_path / "bare.svg")
    assert "sound (" in said and "the corpus's text" in said
    assert not any(header in said for header in ("pictures", "recognised", "descriptors", "face", "use: "))


def test_clip_without_a_face_is_drawn(work: Path, landmarker: Path, tmp_path: Path) -> None:
    clip = read_clip("faceless", "made", work / "made", landmarker)
    assert clip.facial is not None and np.isnan(clip.facial.values).all()
    assert len(clip.looks) == 6 and not any(look.faces for look in clip.looks)
    draw(clip, tmp_path / "faceless.svg")
    said = texts(tmp_path / "faceless.svg")
    assert said.count("not measured") == 3 and "no face in any of 20 pictures" in said.replace("\n", " ")


@pytest.mark.parametrize(
    ("clip", "out", "message"),
    [
        ("tlak", "x.svg", r"manifest\.csv: no clip 'tlak' among 6; the nearest: talk"),
        ("gone", "x.svg", r"gone\.mp4: no such file; clip 'gone' can't be shown without its recording"),
        ("released", "x.svg", r"manifest\.csv: clip 'released' has no recording.*released by others"),
        ("talk", "x.jpg", r"x\.jpg: a figure's name ends in \.svg, \.pdf, \.png"),
    ],
)
def test_what_cannot_be_shown_is_refused(
    work: Path, landmarker: Path, tmp_path: Path, clip: str, out: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        show(clip, "made", work, tmp_path / out, landmarker)
    assert not list(tmp_path.iterdir())


def test_files_of_another_manifest_are_named(work: Path, landmarker: Path, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    shutil.copytree(work / "made", folder)
    table = pd.read_csv(folder / "quality.csv")
    table[table["clip_id"] != "talk"].to_csv(folder / "quality.csv", index=False)
    with pytest.raises(UserError, match=r"quality\.csv: lacks the clip 'talk', which the manifest has"):
        read_clip("talk", "made", folder, landmarker)


def test_command(work: Path, landmarker: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures" / "silent.pdf"
    options = ["--corpus", "made", "--work", str(work), "--out", str(out), "--model", str(landmarker)]
    done = CliRunner().invoke(app, ["show", "silent", *options])
    assert done.exit_code == 0 and str(out) in done.stdout
    assert out.read_bytes().startswith(b"%PDF")


def test_fonts_are_found_for_other_scripts(capfd: pytest.CaptureFixture[str]) -> None:
    assert font_families("plain, العربية, Кириллица") == ["DejaVu Sans"]
    families = font_families("a\u1d81b")  # a letter that matplotlib's second family of fonts has
    assert families[0] == "DejaVu Sans" and len(families) == 2
    assert not capfd.readouterr().err
    assert font_families("\U0010fffd") == ["DejaVu Sans"]
    assert "no installed font has \U0010fffd" in capfd.readouterr().err
