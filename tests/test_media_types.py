"""One list of media endings, for every command that looks into a folder; what is passed over is counted and named."""

import os
import shutil
from pathlib import Path

import av
import pytest
import yaml

from mse import media
from mse.audio import read_audio
from mse.config import Config, Dataset, load_dataset, parse
from mse.corpus import read_corpus
from mse.corpus.guess import write_new
from mse.errors import UserError
from mse.media_types import ALIASES, describe_skipped, is_medium, media_endings
from mse.predict import media_in
from tests.conftest import ROOT, ffmpeg, grey_frames, tone

# As phones, camcorders, browsers, recorders and programs write them.
MADE = [
    "talk.mp4",
    "clip.MOV",
    "call.webm",
    "film.mkv",
    "old.AVI",
    "camcorder.MTS",
    "stick.m2ts",
    "broadcast.ts",
    "dvd.VOB",
    "disc.mpg",
    "tape.dv",
    "phone.3gp",
    "phone.3g2",
    "screen.flv",
    "windows.wmv",
    "speech.wma",
    "memo.amr",
    "memo.WAV",
    "memo.m4a",
    "song.mp3",
    "voice.ogg",
    "voice.oga",
    "voice.opus",
    "film.ogv",
    "voice.mka",
    "sound.flac",
    "mac.aiff",
    "mac.aif",
    "mac.caf",
    "sun.au",
    "sound.ac3",
    "sound.aac",
    "lossless.wv",
    "lossless.tta",
    "studio.w64",
    "book.m4b",
    "studio.mxf",
]
OTHERS = [
    "notes.txt",
    "list.csv.bak",
    "still.jpg",
    "subtitles.srt",
    "README",
    "playlist.m3u8",
    "photo.heic",
    "x.mp4.part",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every kind that this ffmpeg can write, below a folder, beside what is none and what is hidden."""
    folder = tmp_path_factory.mktemp("endings") / "mixed"
    media.write_video(folder / "_.mp4", grey_frames(1, 25, 128), tone(1), 25)
    for number, name in enumerate(MADE):
        out = folder / ("inner" if number % 3 == 0 else ".") / name
        out.parent.mkdir(exist_ok=True)
        size = {".3gp": "176x144", ".3g2": "176x144", ".dv": "720x576"}.get(out.suffix, "128x96")
        rate = {".amr": "8000", ".3gp": "8000", ".3g2": "8000"}.get(out.suffix, "48000")
        channels = "2" if out.suffix == ".dv" else "1"
        shape = ["-s", size, "-ar", rate, "-ac", channels, *(["-pix_fmt", "yuv420p"] if out.suffix == ".dv" else [])]
        ffmpeg("-i", folder / "_.mp4", *shape, out)
    (folder / "_.mp4").unlink()
    for name in (*OTHERS, "._talk.mp4", ".DS_Store"):
        (folder / name).touch()
    (folder / ".trash").mkdir()
    (folder / ".trash/lost.mp4").touch()
    return folder


def test_all_commands_find_the_same(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`mse corpus new`, the corpus `videos` and `mse predict`: all that can be decoded, and nothing else."""
    found = media_in(folder)
    assert sorted(path.name for path in found) == sorted(MADE)
    for path in found:
        info = media.probe(path)
        assert (info.has_audio or info.has_video) and len(read_audio(path)) > 0.9 * media.SAMPLE_RATE_HZ, path
    said = capsys.readouterr().err
    assert f"{folder}: passed over 11 files: 3 hidden (.DS_Store, ._talk.mp4, .trash/)" in said
    write_new("mixed", folder, tmp_path / "mixed.yaml")
    text = (tmp_path / "mixed.yaml").read_text()
    assert f"# mixed: {len(MADE)} media files" in text and "# passed over: 11 files: 3 hidden" in text
    assert "passed over 11 files" in capsys.readouterr().err
    guessed = parse(Dataset, yaml.safe_load(text), "mixed.yaml")
    videos = load_dataset(Config(config_path=[ROOT / "config"], roots={"videos": folder}), "videos")
    for dataset in (guessed, videos):
        corpus = read_corpus(dataset)
        assert sorted(Path(path).name for path in corpus.clips["media"]) == sorted(MADE)
        assert corpus.clips["clip_id"].is_unique and "inner/talk" in corpus.clips["clip_id"].tolist()
        (passed,) = (note for note in corpus.notes if "passed over" in note)
        assert "11 files" in passed and all(name in passed for name in ("notes.txt", "photo.heic", ".trash/"))


def test_a_name_with_two_endings(tmp_path: Path) -> None:
    """A video and its sound apart are two clips, whose names keep what tells them apart."""
    for name in ("talk.mp4", "talk.wav", "other.mkv", "a/talk.WAV", "b.mp4", "b.mp4.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    videos = load_dataset(Config(config_path=[ROOT / "config"], roots={"videos": tmp_path}), "videos")
    corpus = read_corpus(videos)
    assert corpus.clips["clip_id"].tolist() == ["a/talk", "b", "b.mp4.wav", "other", "talk.mp4", "talk.wav"]
    assert any("3 files differ by their ending alone (b.mp4.wav, talk.mp4, talk.wav)" in note for note in corpus.notes)


def test_an_ending_stands_for_any_medium(tmp_path: Path) -> None:
    """In `files`, {ending} needs no regular expression, and {path} leads through folders."""
    for name in ("anna-1.mp4", "b/ben-2.WAV", "anna-1.txt", "anna.mp4", "b/._ben-3.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    columns = {"clip_id": "stem", "media": "file", "speaker": "who"}
    keys = {"root": tmp_path, "columns": columns, "text_from": "asr"}
    flat = read_corpus(parse(Dataset, keys | {"files": "{who}-{n}.{ending}"}, "x"))
    assert flat.clips["clip_id"].tolist() == ["anna-1"]
    (note,) = flat.notes
    assert "1 .txt (anna-1.txt), 2 that do not fit `files` (anna.mp4, b/ben-2.WAV)" in note
    deep = read_corpus(parse(Dataset, keys | {"files": "{path}.{ending}", "columns": columns | {"speaker": None}}, "x"))
    assert deep.clips["clip_id"].tolist() == ["anna-1", "anna", "ben-2"]


def test_the_list_is_the_decoders_own() -> None:
    """Each alias belongs to a format that libav can read, and tables, pictures, lists and scripts are none."""
    readable = {name for names in av.formats_available for name in names.split(",")}
    assert set(ALIASES) <= readable
    for ending in [
        "mp4",
        "MOV",
        "mts",
        "M2TS",
        "vob",
        "3gp",
        "amr",
        "opus",
        "mka",
        "weba",
        "ts",
        "flv",
        "wmv",
        "mxf",
        "rmvb",
        "caf",
        "aiff",
        "w64",
        "dss",
        "qt",
        "m2v",
        "h264",
    ]:
        assert is_medium(f"x.{ending}"), ending
    for ending in [
        "txt",
        "csv",
        "json",
        "jpg",
        "png",
        "gif",
        "webp",
        "heic",
        "avif",
        "srt",
        "vtt",
        "sub",
        "idx",
        "m3u8",
        "mpd",
        "sdp",
        "pdf",
        "py",
        "js",
        "xml",
        "dat",
        "bin",
        "h5",
        "zip",
    ]:
        assert not is_medium(f"x.{ending}"), ending
    assert not is_medium("mp4") and not is_medium("folder.mp4/readme") and ".mp4" not in media_endings()


def test_names_that_no_table_can_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "caf\udce9.wav").write_bytes(b"x")
    with pytest.raises(
        UserError, match=r"no video or sound in this folder.*1 whose name is no UTF-8 \(caf.udce9.wav\)"
    ):
        media_in(tmp_path)
    shutil.copy(tmp_path / "caf\udce9.wav", tmp_path / "café.wav")
    assert [path.name for path in media_in(tmp_path)] == ["café.wav"]
    os.symlink(tmp_path / "gone.mp4", tmp_path / "link.mp4")  # a row that says so, not silence
    assert [path.name for path in media_in(tmp_path)] == ["café.wav", "gone.mp4"]
    assert "passed over 1 file: 1 whose name is no UTF-8" in capsys.readouterr().err


def test_only_some_are_named() -> None:
    assert describe_skipped([]) == ""
    assert describe_skipped(f"{n}.txt" for n in range(5)) == "5 files: 5 .txt (0.txt, 1.txt, 2.txt, ...)"
