"""What `mse corpus new` makes of tables and folders: the paths of recordings, clip ids and labels."""

from pathlib import Path

import pytest
import yaml

from mse.config import Dataset, parse
from mse.corpus import read_corpus
from mse.corpus.guess import new
from mse.errors import UserError
from tests.written import HEARD, make_folder


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path)


def guessed(root: Path, header: str, rows: list[str], files: list[str]) -> str:
    """The YAML for a folder with a table and these media files."""
    root.mkdir(exist_ok=True)
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    (root / "t.csv").write_text("\n".join([header, *rows]) + "\n")
    return new("mine", root)


def columns(text: str) -> dict[str, str]:
    return dict(yaml.safe_load(text)["columns"])


@pytest.mark.parametrize("name", ["label", "label_T", "Sentiment", "video label", "emotion", "score"])
def test_no_path_is_made_of_a_label(folder: Path, name: str) -> None:
    (folder / "t.csv").write_text(f"who,{name},text\nx,0,hi\ny,1,ho\nz,2,hu\n")
    text = new("mine", folder)
    assert "# not used: t.csv: no column tells which media file is meant" in text
    assert "{" + name not in text


def test_mixed_endings_under_one_template(folder: Path) -> None:
    for path in ("Raw/v1/1.avi", "Raw/v1/2.mp4", "Raw/v2/1.MP4"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    (folder / "Raw/v1/1.txt").touch()  # no recording
    (folder / "t.csv").write_text("video,clip,text\nv1,1,so\nv1,2,it\nv2,1,is\n")
    text = new("mine", folder)
    described = yaml.safe_load(text) | HEARD
    assert described["columns"]["media"] == "Raw/{video}/{clip}"
    corpus = read_corpus(parse(Dataset, described, "guess.yaml"))
    assert [Path(media).name for media in corpus.clips["media"]] == ["1.avi", "2.mp4", "1.MP4"]
    assert corpus.notes == ["paths without an ending, found with .MP4, .avi, .mp4: 3"]
    (folder / "Raw/v1/2.wav").touch()
    with pytest.raises(UserError, match=r"t\.csv: line 3: 'Raw/v1/2' has no ending, and may be 2\.mp4 or 2\.wav"):
        read_corpus(parse(Dataset, described, "guess.yaml"))


def test_an_ending_that_all_share_is_kept(folder: Path) -> None:
    (folder / "t.csv").write_text("name,text\n0,so\n1,it\n2,is\n")
    assert yaml.safe_load(new("mine", folder))["columns"]["media"] == "{name}.ogg"


LABELS = ["polarity", "valence", "y", "gold", "target", "Bewertung", "情感", "感情", "unheard_of", "q7"]


@pytest.mark.parametrize("name", LABELS)
@pytest.mark.parametrize("is_sorted", [True, False])
def test_no_path_is_made_of_a_label_by_its_content(tmp_path: Path, name: str, is_sorted: bool) -> None:
    """Neither with it, nor with one of its values written out; why is said."""
    for count, values in ((12, ["0", "1", "2"]), (40, ["sad", "happy"]), (40, ["-1.0", "0.5"])):
        label = [values[i * len(values) // count if is_sorted else i % len(values)] for i in range(count)]
        root = tmp_path / f"{count}{values[0]}"
        files = [f"Raw/{label[i]}/{i:03}.ogg" for i in range(count)]
        text = guessed(root, f"id,text,{name}", [f"{i},so it is,{label[i]}" for i in range(count)], files)
        assert f"only {name!r} would complete a path (Raw/{label[0]}/000.ogg)" in text
        assert "{id" not in text and columns(text) == {"clip_id": "name", "media": "file"}


def test_a_label_that_leads_to_few_files(tmp_path: Path) -> None:
    for name in LABELS:
        rows = [f"c{i},hi,{i % 3}" for i in range(6)]
        text = guessed(tmp_path / name, f"id,text,{name}", rows, ["0.ogg", "1.ogg", "2.ogg"])
        assert "# not used: t.csv: no column tells which media file is meant" in text


@pytest.mark.parametrize("name", ["annotation_file", "emotion_wav", "label", "y"])
def test_a_column_of_file_names_is_no_label(tmp_path: Path, name: str) -> None:
    rows = [f"c{i},a{i}.ogg,hi,{('sad', 'happy')[i % 2]}" for i in range(6)]
    text = guessed(tmp_path / "c", f"id,{name},text,emotion", rows, [f"a{i}.ogg" for i in range(6)])
    assert columns(text) == {"clip_id": "id", "media": name, "text": "text", "label": "emotion"}


GROUPS: dict[str, tuple[str, str, str, dict[str, str]]] = {
    "video": ("video_id,clip_id,text,sentiment", "v{0},{1},so,{2}", "v{0}/{1:03}.ogg", {"label": "sentiment"}),
    "session": ("session,id,text,label", "s{0},{3},so,{2}", "s{0}/{3:03}.ogg", {"media": "{session}/{id:0>3}.ogg"}),
    "no label": ("session,id,text", "s{0},{3},so", "s{0}/{3:03}.ogg", {"media": "{session}/{id:0>3}.ogg"}),
    "speaker": ("speaker,id,text,liked", "A{0},{3},so,{2}", "A{0}/{3}.ogg", {"speaker": "speaker", "label": "liked"}),
    "numbers": ("aufnahme,satz,text,情感", "{0},{1},so,{2}", "{0}/{1:03}.ogg", {"media": "{aufnahme}/{satz:0>3}.ogg"}),
    "numbers alone": ("aufnahme,satz,text", "{0},{1},so", "{0}/{1}.ogg", {"clip_id": "{aufnahme}_{satz}"}),
}


@pytest.mark.parametrize("kind", GROUPS)
def test_a_column_that_groups_clips_stays_in_the_path(tmp_path: Path, kind: str) -> None:
    header, row, file, found = GROUPS[kind]
    places = [(i // 10, i % 10, i % 3, i) for i in range(40)]
    text = guessed(tmp_path / "c", header, [row.format(*p) for p in places], [file.format(*p) for p in places])
    assert "guess: right for 100 % of 40 rows" in text
    assert columns(text).items() >= found.items()


@pytest.mark.parametrize(("count", "per"), [(400, 2), (600, 3), (800, 4), (1000, 5), (2000, 10), (2199, 10), (9, 3)])
def test_every_clip_gets_a_file_of_its_own(tmp_path: Path, count: int, per: int) -> None:
    """However many clips a video has: no template names one clip of each video for all."""
    rows = [f"v{i // per:03},{i % per + 1},text number {i},{i % 3}" for i in range(count)]
    files = [f"Raw/v{i // per:03}/{i % per + 1:04}.ogg" for i in range(count)]
    text = guessed(tmp_path / "c", "video_id,clip_id,text,label", rows, files)
    assert columns(text)["media"] == "Raw/{video_id}/{clip_id:0>4}.ogg"
    assert columns(text)["clip_id"] == "{video_id}_{clip_id}"


def test_a_template_for_few_of_many_files_is_refused(tmp_path: Path) -> None:
    rows = [f"v{i // 10},text{i}" for i in range(100)]
    text = guessed(tmp_path / "c", "video,text", rows, [f"v{i // 10}/{i % 10}.ogg" for i in range(100)])
    assert "leads 100 rows to 10 of 100 files" in text and columns(text)["media"] == "file"


@pytest.mark.parametrize("header", ["video,start,end,text", "video,t0,t1,text"])
def test_many_utterances_of_one_recording(tmp_path: Path, header: str) -> None:
    rows = [f"v{i // 10},{i}.5,{i + 1}.5,text{i}" for i in range(100)]
    text = guessed(tmp_path / "c", header, rows, [f"v{i}.mp4" for i in range(10)])
    assert columns(text)["media"] == "{video}.mp4" and columns(text)["clip_id"] != "text"


def test_missing_files_do_not_lead_to_another_template(tmp_path: Path) -> None:
    """Though a template with another column leads all rows to some file."""
    for header in ("name,level,text", "name,label,text"):
        rows = [f"a{i},{i % 3},hi" for i in range(60)]
        text = guessed(tmp_path / header[5], header, rows, [f"a{i}.ogg" for i in range(40)])
        assert columns(text)["media"] == "{name}.ogg" and "guess: right for 67 % of 60 rows" in text
