"""Looking at a corpus before a run: `mse corpus check` and `mse corpus new`, and the README's example."""

import re
import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from mse import media
from mse.cli import app
from mse.config import AssembleSettings, Config, Dataset, SegmentSettings, parse, read_yaml
from mse.corpus import read_corpus
from mse.corpus.check import Findings, check
from mse.corpus.guess import write_new
from mse.errors import UserError
from mse.missing import missing_for
from tests.conftest import ROOT, grey_frames, tone

Check = Callable[..., tuple[Findings, str]]
README = (ROOT / "config/README.md").read_text()
TABLE = README.split("clips.csv:\n")[1].split("```")[0]
ROWS = "".join(f"{line.strip()}\n" for line in TABLE.splitlines())  # the home videos of config/README.md


@pytest.fixture()
def home(tmp_path: Path) -> Path:
    """The home videos of config/README.md."""
    root = tmp_path / "home videos"
    media.write_video(root / "kiosk/anna 1.mp4", grey_frames(3), tone(3), 25)
    for name in ("park/dog.mp4", "kiosk/börek.mov"):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(root / "kiosk/anna 1.mp4", root / name)
    (root / "clips.csv").write_text(ROWS, encoding="utf-8")
    return root


@pytest.fixture()
def described() -> dict[str, Any]:
    """The YAML that config/README.md shows."""
    block = re.search(r"```yaml\n(.*?)```", README, flags=re.DOTALL)
    assert block is not None
    return yaml.safe_load(block[1])


@pytest.fixture()
def checked(home: Path, described: dict[str, Any]) -> Check:
    def checking(rows: str = ROWS, bad: float = 0.1, **keys: Any) -> tuple[Findings, str]:
        (home / "clips.csv").write_text(rows, encoding="utf-8")
        dataset = parse(Dataset, described | {"root": home} | keys, "home.yaml")
        console = Console(file=StringIO(), width=200)
        found = check("home", dataset, SegmentSettings(), AssembleSettings(max_bad_fraction=bad), console)
        return found, console.file.getvalue()  # type: ignore[attr-defined]

    return checking


def test_the_readmes_example_is_a_corpus(checked: Check, home: Path, described: dict[str, Any]) -> None:
    """Table and YAML exactly as config/README.md shows them pass its own step 3."""
    found, shown = checked()
    assert found == Findings() and "a run can start" in shown
    clips = read_corpus(parse(Dataset, described | {"root": home}, "README")).clips
    assert clips["end_s"].tolist()[:2] == [1.5, 3.0]
    assert clips["speaker"].tolist() == ["Anna", "Anna", "Ben", "Cem"]


def test_good_corpus_is_shown(checked: Check) -> None:
    by_clip = {"by": "clip", "train": ["1", "2"], "valid": ["3"], "test": ["4"]}
    found, shown = checked(split=by_clip)
    assert found == Findings()
    assert re.search(r"train +2 +2 +0\.1 +1\.5 +1 +1\n", shown)  # clips, usable, minutes, median s, files, speakers
    assert re.search(r"all +4 +4 +0\.\d +[\d.]+ +3 +3\n", shown)
    assert re.search(r"\+1\.3 to \+2\.1 +1 +0 +0 +█+ 25\.0 %", shown)  # the label 2
    assert "a run can start" in shown


@pytest.mark.parametrize(
    ("row", "warning"),
    [
        ("5,gone.mp4,,,A,x,0", "1 recordings are missing or unreadable: "),
        ("5,clips.csv,,,A,x,0", "clips.csv: not readable as sound or video"),
        ("5,park/dog.mp4,9,10,A,x,0", "1 clips start after their recording's end: 5"),
        ("5,park/dog.mp4,1,10,A,x,0", "1 clips end after their recording's end; what is there will be used: 5"),
        ("5,park/dog.mp4,1,1.1,A,x,0", "1 clips are shorter than segment.min_s = 0.2 s: 5"),
        ("5,park/dog.mp4,,,A,,0", "1 clips have no text: 5"),
        (
            "5,park/dog.mp4,,,Anna,x,0",
            "1 speakers are in more than one split, so results will look better than they are",
        ),
    ],
)
def test_what_wants_a_look_is_a_warning(checked: Check, row: str, warning: str) -> None:
    split = {"by": "clip", "train": ["1", "2"], "valid": ["3"], "test": ["4", "5"]}
    found, shown = checked(ROWS + row + "\n", bad=0.5, split=split)
    assert not found.problems and "a run can start" in shown
    assert any(warning in line for line in found.warnings), found.warnings
    assert warning in shown


def test_what_stops_a_run_is_a_problem(checked: Check) -> None:
    split = {"by": "clip", "train": ["1", "2"], "valid": ["3"], "test": ["4"]}
    found, shown = checked(ROWS.replace("kiosk/börek.mov", "gone.mov"), split=split)
    assert any(
        "25.0 % of the clips can't be used, more than assemble.max_bad_fraction = 0.1" in p for p in found.problems
    )
    assert "no usable clip in the split 'test'" in found.problems
    assert "a run can't start" in shown


def test_long_clips_and_missing_streams_are_told(checked: Check, home: Path) -> None:
    sound = media.ffmpeg.input(f"file:{home / 'park/dog.mp4'}").output(f"file:{home / 'dog.wav'}", vn=None)
    sound.run(cmd=media.ffmpeg_path(), quiet=True)
    found, _ = checked(ROWS.replace("park/dog.mp4", "dog.wav"), split=None, task=None)
    assert any("1 recordings have no video" in line for line in found.warnings)


def test_guess_for_a_table_leads_to_the_media(home: Path, tmp_path: Path) -> None:
    (home / "a.csv.provenance.json").write_text("{}")  # what made a table is none
    write_new("home", home, tmp_path / "home.yaml")
    guessed = read_yaml(tmp_path / "home.yaml")
    columns = guessed["columns"]
    assert columns == {
        "clip_id": "clip",
        "media": "file",
        "start": "from",
        "end": "to",
        "speaker": "who",
        "text": "words",
        "label": "rating",
    }
    assert guessed["split"] == {"hash_of": "who", "valid": 0.1, "test": 0.2}
    assert (guessed["task"]["low"], guessed["task"]["high"]) == (-3, 3)
    assert guessed["modalities"] == ["acoustic", "facial", "text"]
    assert "guess" in (tmp_path / "home.yaml").read_text()
    assert len(read_corpus(parse(Dataset, guessed | {"task": None}, "home.yaml")).clips) == 4
    with pytest.raises(UserError, match=r"home\.yaml: is there already"):
        write_new("home", home, tmp_path / "home.yaml")


def test_guess_puts_paths_together_and_finds_classes(home: Path, tmp_path: Path) -> None:
    for folder, number in (("vid_1", "0001"), ("vid_1", "0002"), ("vid_22", "0001")):
        (home / "Raw" / folder).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(home / "park/dog.mp4", home / "Raw" / folder / f"{number}.mp4")
    rows = "video,clip,utterance,emotion,mode\nvid_1,1,你好,joy,train\nvid_1,2,好,joy,valid\nvid_22,1,再见,anger,test\n"
    (home / "clips.csv").write_text(rows, encoding="utf-8")
    write_new("raw", home, tmp_path / "raw.yaml")
    guessed = read_yaml(tmp_path / "raw.yaml")
    assert guessed["columns"]["media"] == "Raw/{video}/{clip:0>4}.mp4"
    assert guessed["columns"]["clip_id"] == "{video}_{clip}"
    assert guessed["task"]["classes"] == {"anger": ["anger"], "joy": ["joy"]}
    assert (guessed["language"], guessed["split"]) == ("zh", {"by": "mode"})
    clips = read_corpus(parse(Dataset, guessed, "raw.yaml")).clips
    assert clips["media"].map(lambda path: Path(path).is_file()).all()


def test_guess_for_a_table_a_split(home: Path, tmp_path: Path) -> None:
    """As MELD has it: ids counted anew in each split, a folder for each, Latin-1 and semicolons."""
    (home / "clips.csv").unlink()
    for split, folder in (("train", "train"), ("dev", "dev"), ("test", "test")):
        (home / folder).mkdir()
        for number in ("3", "14"):
            shutil.copyfile(home / "park/dog.mp4", home / folder / f"dia{number}_utt0.mp4")
        rows = "Dialogue_ID;Utterance_ID;Utterance;Emotion\n3;0;Ähm;joy\n14;0;ja;anger\n"
        (home / f"{split}_emo.csv").write_bytes(rows.encode("cp1252"))
    (home / "notes.csv").write_text("a,a\n1,2\n")
    (home / "other.csv").write_text("month,weather\nmay,fine\n")
    (home / "bare.csv").write_text("1,park/dog.mp4\n2,park/dog.mp4\n")
    write_new("tv", home, tmp_path / "tv.yaml")
    text = (tmp_path / "tv.yaml").read_text()
    assert "# not used: " in text and "notes.csv: the column 'a' appears twice" in text
    assert "bare.csv: its first line looks like a clip, not like names; give the table its `header`" in text
    assert "# not used: other.csv: no column tells which media file is meant" in text
    guessed = yaml.safe_load(text)
    assert [table["values"]["split"] for table in guessed["tables"]] == ["dev", "test", "train"]
    assert guessed["tables"][0] == {
        "file": "dev_emo.csv",
        "encoding": "cp1252",
        "delimiter": ";",
        "values": {"split": "dev"},
    }
    assert guessed["columns"]["media"] == "{split}/dia{Dialogue_ID}_utt{Utterance_ID}.mp4"
    assert len(read_corpus(parse(Dataset, guessed, "tv.yaml")).clips) == 6
    assert set(guessed["task"]["classes"]) == {"anger", "joy"}


@pytest.mark.parametrize("name", ["my corpus", "../evil", "home-released", ""])
def test_name_that_the_workflow_could_not_take(name: str, home: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a valid corpus name"):
        write_new(name, home, tmp_path / "x.yaml")


def test_guess_leaves_unknown_splits_to_the_reader(home: Path, tmp_path: Path) -> None:
    parts = ["Train", "Dev", "Test", "unused"]
    lines = [f"{line},{part}" for line, part in zip(ROWS.splitlines(), ["set", *parts], strict=True)]
    (home / "clips.csv").write_text("\n".join(lines))
    write_new("home", home, tmp_path / "home.yaml")
    guessed = read_yaml(tmp_path / "home.yaml")
    assert guessed["split"] == {"by": "set", "train": ["Train"], "valid": ["Dev"], "test": ["Test"]}
    assert "say where these go, or exclude them: unused" in (tmp_path / "home.yaml").read_text()


def test_guess_without_a_table_reads_the_names(home: Path, tmp_path: Path) -> None:
    shutil.rmtree(home)
    for name in ("a/01-03", "a/02-03", "b/01-07"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / f"{name}.wav").write_bytes(b"RIFF")
    write_new("names", home, tmp_path / "names.yaml")
    text = (tmp_path / "names.yaml").read_text()
    assert "# part1: 2 values (01, 02)" in text
    assert len(read_corpus(parse(Dataset, yaml.safe_load(text), "names.yaml")).clips) == 3
    with pytest.raises(UserError, match="no such folder"):
        write_new("x", tmp_path / "gone", tmp_path / "x.yaml")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no video or sound file in it or below it"):
        write_new("x", tmp_path / "empty", tmp_path / "x.yaml")


def test_everything_that_a_target_lacks_is_said_at_once(tmp_path: Path) -> None:
    config = Config(config_path=[ROOT / "config"], roots={"meld": tmp_path, "cherma": tmp_path})
    targets = ["--cores", "2", "results/sims/chatglm9/metrics.csv", "work/meld/dataset.h5", "work/cherma/quality.csv"]
    speech = {"whisper-tiny.en": None}
    told = missing_for(targets, config, speech)  # type: ignore[arg-type]
    assert len(told) == 4
    assert told[0].startswith(
        "the corpus sims is not here: no folder data/sims. Ask for it at https://github.com/thuiar"
    )
    assert "no chatglm9.yaml" in told[1]
    assert f"the corpus meld is not as its YAML says: {tmp_path} lacks {tmp_path}/train/train_sent_emo.csv" in told[2]
    assert "the corpus cherma is spoken in 'zh' and has no text" in told[3]
    wrong = missing_for(["work/cherma/x.csv"], config.model_copy(update={"roots": {"chrema": tmp_path}}), {})
    assert wrong[0].startswith("roots: 'chrema' is no corpus; there is cherma, ")
    assert missing_for(["results/demo/smollm2/metrics.csv"], config, {"smollm2": None}, made_here=["demo"]) == []  # type: ignore[dict-item]


def test_exit_status_says_whether_a_run_can_start(home: Path, tmp_path: Path, described: dict[str, Any]) -> None:
    split = {"by": "clip", "train": ["1", "2"], "valid": ["3"], "test": ["4"]}
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets/home.yaml").write_text(yaml.safe_dump(described | {"split": split}))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"config_path": [str(tmp_path)]}))
    command = ["corpus", "check", "home", "--config", str(tmp_path / "config.yaml"), "--root", str(home)]
    good = CliRunner().invoke(app, command)
    assert good.exit_code == 0 and "a run can start" in good.output
    (home / "park/dog.mp4").unlink()
    bad = CliRunner().invoke(app, command)
    assert bad.exit_code == 1 and "no usable clip in the split 'valid'" in bad.output
