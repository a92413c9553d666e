"""New recordings through a trained adapter: the workflow's numbers to the bit, in every form that can be written."""

import json
import multiprocessing
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from transformers import AutoModel, Wav2Vec2FeatureExtractor

from mse import media
from mse.adapter import MSEAdapter
from mse.config import Classes, Intensity, parse
from mse.errors import UserError
from mse.pipeline import PIPELINE_NAME, Pipeline, read_pipeline, write_pipeline
from mse.predict import Predictor
from mse.store import Shard
from mse.told import named_apart, shown, write
from tests.command_line import Done, mse, run_commands
from tests.conftest import ffmpeg, grey_frames, tone
from tests.made_corpus import make_corpus
from tests.test_bad_recordings import WAYS
from tests.test_speech_model import CONFIGS

LLM = {"folder": "llm", "license": "none", "dtype": "float32", "open_mark": "[", "close_mark": "]"}
SHAPE = {"acoustic_hidden": 8, "facial_hidden": 8, "fusion_width": 16}
TRAINING = {"pretrain_epochs": 1, "schedule_epochs": 1, "batch_size": 2, "threads": 1}
SOUND = "work/made/features/acoustic"
SETS = ["--acoustic", f"egemaps={SOUND}/egemaps", "--acoustic", f"hidden={SOUND}/hidden"]
SETS += ["--facial", "work/made/features/facial"]
HIDDEN = {"model": "speech", "rate_hz": 20.0}  # random weights
NOTED = {"transcribe": {}, "quality": {"min_snr_db": -50}}


def commands() -> Iterator[list[str]]:
    """From videos to answers, as the workflow calls them."""
    work = "work/made"
    sound, facts = f"{work}/segments/0000.h5", f"{work}/segments/0000.csv"
    yield ["manifest", "corpus.yaml", "--out", f"{work}/manifest.csv"]
    yield ["segment", f"{work}/manifest.csv", "--shard", "0000", "--dataset", "made", "--out", sound, "--facts", facts]
    yield ["acoustic", sound, "--out", f"{SOUND}/egemaps/0000.h5"]
    hidden = f"{SOUND}/hidden/0000.h5"
    yield ["acoustic", sound, "--out", hidden, "--settings", json.dumps(HIDDEN), "--threads", "2"]
    yield ["facial", facts, sound, "--dataset", "made", "--out", f"{work}/features/facial/0000.h5"]
    yield ["transcribe", sound, "--out", f"{work}/transcripts/0000.csv"]
    of_manifest = ["--manifest", f"{work}/manifest.csv", *SETS]
    yield ["quality", *of_manifest, "--facts", f"{work}/segments", "--transcripts", f"{work}/transcripts",
           "--text-from", "asr", "--out", f"{work}/quality.csv"]  # fmt: skip
    yield ["assemble", "corpus.yaml", "--name", "made", *of_manifest, "--quality", f"{work}/quality.csv",
           "--out", f"{work}/dataset.h5", "--extraction", json.dumps(NOTED)]  # fmt: skip
    model = ["--llm", "resources/models/llm", "--backbone", json.dumps(LLM)]
    yield ["train", f"{work}/dataset.h5", *model, "--name", "llm", "--adapter", json.dumps(SHAPE), "--settings",
           json.dumps(TRAINING), "--seed", "1", "--out", "adapter", "--history", "history.csv"]  # fmt: skip
    yield ["answer", f"{work}/dataset.h5", *model, "--adapter", "adapter", "--out", "predictions.csv"]


def run(folder: Path, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command; what libraries say goes to logs/COMMAND.log."""
    (folder / "logs").mkdir(exist_ok=True)
    command = [sys.executable, "-c", "from mse.cli import main; main()", "--log", f"logs/{arguments[0]}.log"]
    done = subprocess.run([*command, *arguments], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory,
    portrait_frames: list[np.ndarray],
    voice: np.ndarray,
    tiny_llm: Path,
    models: Callable[[str], Path],
) -> Path:
    folder = tmp_path_factory.mktemp("predict it")
    make_corpus(folder, portrait_frames, voice, {"kind": "intensity"}, [-2.0, 1.5, 0.5, -1.0, 2.0, -0.5])
    (folder / "resources/models").mkdir(parents=True)
    for name in ("face_landmarker", "whisper-tiny.en"):
        (folder / "resources/models" / name).symlink_to(models(name))
    shutil.copytree(tiny_llm, folder / "resources/models/llm")
    torch.manual_seed(0)
    AutoModel.from_config(CONFIGS["wav2vec2-base"]).save_pretrained(folder / "resources/models/speech")
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder / "resources/models/speech")
    said = [run(folder, arguments) for arguments in commands()]
    said.append(run(folder, ["predict", "talk.mp4", "--adapter", "adapter"]))
    (folder / "terminal.txt").write_text("".join(done.stdout + done.stderr for done in said))
    return folder


def test_terminal_has_our_own_lines_alone(trained: Path) -> None:
    """Every stage, training, answering and predicting: no word of a library, from Python or from native code."""
    lines = (trained / "terminal.txt").read_text().splitlines()
    assert "a face in 100.0 % of the pictures of 6 clips" in lines and "words recognised" in lines
    library = re.compile(
        r"^[IWEF]\d{4} |^(INFO|WARNING|ERROR)\b|Warning\b|deprecat|XNNPACK|^\[\w+\]|site-packages|\(MSG\)|it/s\]", re.I
    )
    assert not [line for line in lines if library.search(line)]
    logs = {path.stem: path.read_text() for path in (trained / "logs").iterdir()}
    assert {"acoustic", "facial", "transcribe", "train", "answer", "predict"} <= set(logs)
    assert "past_key_values" not in logs["train"] + logs["answer"]  # as transformers calls it no more


@pytest.fixture(scope="module")
def predictor(trained: Path) -> Predictor:
    return Predictor(trained / "adapter", models=trained / "resources/models")


def test_numbers_are_the_workflow_s(trained: Path, predictor: Predictor, tmp_path: Path) -> None:
    """Features, words and probabilities of the test clips, as if they were new."""
    recordings = [trained / f"videos/clip{number}.mp4" for number in (4, 5)]
    table = predictor(recordings, cut=None, keep=tmp_path)
    for part in ("features/acoustic/egemaps", "features/acoustic/hidden", "features/facial"):
        with Shard(trained / "work/made" / part / "0000.h5") as made, Shard(tmp_path / part / "0000.h5") as new:
            assert new.description.settings_digest == made.description.settings_digest
            for number, clip in enumerate(new):
                assert np.array_equal(clip.values, made[4 + number].values, equal_nan=True) and len(clip.values)
    answered = pd.read_csv(trained / "predictions.csv")
    assert table["text"].tolist() == answered["text"].tolist() and all(table["text"])
    assert table["prediction"].tolist() == pytest.approx(answered["prediction"].tolist(), abs=1e-4)
    legal = [name for name in answered if name.startswith("p_")]
    assert [name for name in table if name.startswith("p_")] == legal
    np.testing.assert_allclose(table[legal], answered[legal], atol=1e-5)
    assert (table["low"] <= table["high"]).all() and table["use"].tolist() == ["full", "full"]


def test_recordings_are_cut_into_utterances(trained: Path, predictor: Predictor, tmp_path: Path) -> None:
    table = predictor([trained / "talk.mp4"], keep=tmp_path / "work/talk")
    assert len(table) >= 2 and (table["end_s"] > table["start_s"]).all() and table["start_s"].is_monotonic_increasing
    said = " ".join(table["text"]).lower()
    assert "weather" in said and "film" in said and "train" in said
    with chdir(trained):
        shown = mse("show", table["clip_id"].iloc[0], "--corpus", "talk", "--work", tmp_path / "work",
                    "--out", tmp_path / "clip.png")  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    for ending in ("csv", "json", "srt", "vtt"):
        write(table, predictor.pipeline.task, tmp_path / f"talk.{ending}")
    assert len(pd.read_csv(tmp_path / "talk.csv")) == len(table)
    rows = json.loads((tmp_path / "talk.json").read_text())
    assert sum(rows[0]["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    cues = re.findall(r"(\d+)\n(\d\d:\d\d:\d\d,\d{3}) --> (\S+)\n(.*)\n", (tmp_path / "talk.srt").read_text())
    assert [cue[0] for cue in cues] == [str(n + 1) for n in range(len(table))]
    assert re.fullmatch(r".+ \[[+-]\d\.\d\]", cues[0][3])
    assert (tmp_path / "talk.vtt").read_text().startswith("WEBVTT\n\n00:00:")


def test_utterances_and_words_are_the_workflow_s(trained: Path, predictor: Predictor, tmp_path: Path) -> None:
    """What `mse cut` found and heard in a recording, utterance by utterance, to the byte."""
    (tmp_path / "videos").mkdir()
    shutil.copy(trained / "talk.mp4", tmp_path / "videos/talk.mp4")
    corpus = {"license": "none", "root": "videos", "files": "{name}.mp4", "text_from": "asr"}
    said = json.dumps(corpus | {"columns": {"clip_id": "name", "media": "file"}, "cut": {"at": "sentences"}})
    cut = ["--settings", json.dumps({"at": "sentences"})]
    sound, models = "segments/0000.h5", ["--models", str(trained / "resources/models")]
    for arguments in (
        ["manifest", said, "--out", "recordings/manifest.csv"],
        ["cut", "recordings/manifest.csv", "--shard", "0000", "--out", "recordings/0000.csv", *cut, *models],
        ["manifest", said, "--recordings", "recordings", "--out", "manifest.csv"],
        ["segment", "manifest.csv", "--shard", "0000", "--dataset", "made", "--out", sound, "--facts", "facts.csv"],
        ["transcribe", sound, "--out", "transcripts/0000.csv", "--recordings", "recordings"],
    ):
        run(tmp_path, arguments)
    predictor(tmp_path / "videos/talk.mp4", keep=tmp_path / "kept")
    columns = ["clip_id", "start_s", "end_s"]
    workflow, kept = (pd.read_csv(folder / "manifest.csv")[columns] for folder in (tmp_path, tmp_path / "kept"))
    pd.testing.assert_frame_equal(workflow, kept)
    words = (tmp_path / "transcripts/0000.csv").read_bytes()
    assert words == (tmp_path / "kept/transcripts/0000.csv").read_bytes() and b"weather" in words


def test_a_second_recording_starts_nothing(trained: Path, tmp_path: Path) -> None:
    """The same processes extract it, none loads a model that it has loaded already, and the LLM is the same."""
    others = set(multiprocessing.active_children())  # of the other tests' predictor
    with Predictor(trained / "adapter", models=trained / "resources/models") as predictor:
        tables, processes, llms = [], [], []
        for number in range(3):
            tables.append(predictor(trained / "talk.mp4", keep=tmp_path / f"{number}"))
            processes.append({child.pid for child in set(multiprocessing.active_children()) - others})
            llms.append(predictor._llm)
        assert len(processes[0]) == 2 and processes[0] == processes[1] == processes[2]
        assert llms[0] is llms[1] is llms[2] is not None
        logs = [(tmp_path / f"{number}/extraction.log").read_text().splitlines() for number in range(3)]
        loads = [line for log in logs for line in log if " loads: " in line]  # one a process and model
        assert any("face landmarker" in line for line in loads) and len(loads) == len(set(loads))
        pd.testing.assert_frame_equal(tables[0], tables[1])
    assert not set(multiprocessing.active_children()) - others


def test_sound_alone_texts_alone_and_what_can_not_be_read(trained: Path, predictor: Predictor, tmp_path: Path) -> None:
    sound = media.ffmpeg.input(f"file:{trained / 'videos/clip4.mp4'}").output(f"file:{tmp_path / 'said.wav'}", vn=None)
    sound.run(cmd=media.ffmpeg_path(), quiet=True)
    (tmp_path / "broken.mp4").write_text("no video\n" * 99)
    media.write_video(tmp_path / "nobody.mp4", grey_frames(2), tone(2), 25)
    table = predictor([tmp_path / name for name in ("said.wav", "broken.mp4", "nobody.mp4")], cut=None).set_index(
        "clip_id"
    )
    assert table["use"].to_dict() == {"said": "partial", "broken": "unusable", "nobody": "partial"}
    assert table["prediction"].notna().to_dict() == {"said": True, "broken": False, "nobody": True}
    assert "broken.mp4" in table.loc["broken", "message"] and "no picture" in table.loc["said", "message"]
    assert predictor.texts("I loved it.")["text"].tolist() == ["I loved it."]
    texts = predictor.texts(["I loved it.", "<b>好</b>"])
    assert texts["prediction"].between(-3, 3).all() and texts["text"].tolist() == ["I loved it.", "<b>好</b>"]
    long = predictor.texts(["Good.", "good " * 99])["message"].tolist()
    assert long == ["", "only the first 50 tokens of its text are read"]
    write(table.reset_index(), predictor.pipeline.task, tmp_path / "t.json")
    rows = {row["clip_id"]: row for row in json.loads((tmp_path / "t.json").read_text(), parse_constant=pytest.fail)}
    assert rows["broken"]["probabilities"] is None and rows["broken"]["end_s"] is None
    with pytest.raises(UserError, match="subtitles are of one recording"):
        write(texts, predictor.pipeline.task, tmp_path / "texts.srt")


def test_nothing_that_can_be_used(trained: Path, predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_text("no video\n" * 99)
    table = predictor(tmp_path / "broken.mp4")
    assert table["prediction"].isna().all() and "not readable" in table["message"].iloc[0]
    assert predictor.texts([]).empty
    done = predict(trained, [str(tmp_path / "broken.mp4"), "-o", str(tmp_path / "b.json")])
    assert done.returncode == 1 and "nothing could be predicted" in done.stderr and "not readable" in done.stdout
    assert json.loads((tmp_path / "b.json").read_text())[0]["prediction"] is None


@pytest.mark.slow
def test_bad_recordings_cost_their_own_rows(trained: Path, predictor: Predictor, tmp_path: Path) -> None:
    """What opens and can't be decoded, or in part alone, is named; the good one's answers are as if it were alone."""
    shutil.copy(trained / "talk.mp4", tmp_path / "good.mp4")
    for name in ("codec.mov", "half.flac", "text.mp4"):
        options, spoil, _ = WAYS[name]
        ffmpeg("-i", tmp_path / "good.mp4", *options, tmp_path / name)
        (tmp_path / name).write_bytes(spoil((tmp_path / name).read_bytes()))
    alone = predictor(tmp_path / "good.mp4")
    done = predict(trained, [str(tmp_path), "-o", str(tmp_path / "p.csv")])
    assert done.returncode == 0
    for name in ("codec.mov", "half.flac", "text.mp4"):
        assert f"{tmp_path / name}: " in done.stderr
    table = pd.read_csv(tmp_path / "p.csv")
    rows = {Path(path).name: rows for path, rows in table.groupby("recording")}
    assert set(rows) == {"good.mp4", "codec.mov", "half.flac", "text.mp4"}
    assert rows["good.mp4"]["text"].tolist() == alone["text"].tolist()
    assert rows["good.mp4"]["prediction"].tolist() == pytest.approx(alone["prediction"].tolist(), abs=1e-4)
    assert rows["text.mp4"]["use"].tolist() == ["unusable"]
    assert "no sound in this file that can be decoded" in rows["codec.mov"]["message"].iloc[0]
    assert rows["half.flac"]["prediction"].notna().all() and rows["half.flac"]["end_s"].max() < 5
    timed = table.dropna(subset=["end_s"])
    assert (timed["start_s"] < timed["end_s"]).all()


@pytest.mark.slow
def test_all_recordings_bad(trained: Path, tmp_path: Path) -> None:
    """The table still has a row for each, and the exit status tells that nothing came out."""
    for number in range(6):
        (tmp_path / f"{number}.{'mp4' if number % 2 else 'wav'}").write_text("no medium\n" * number)
    (tmp_path / "notes.txt").touch()
    (tmp_path / "._1.mp4").touch()
    done = predict(trained, [str(tmp_path), "-o", str(tmp_path / "p.json")])
    assert done.returncode == 1 and "nothing could be predicted" in done.stderr
    assert "passed over 2 files: 1 hidden (._1.mp4), 1 .txt (notes.txt)" in done.stderr
    rows = json.loads((tmp_path / "p.json").read_text())
    assert len(rows) == 6 and all(row["message"] for row in rows) and rows[0]["message"].endswith("empty (0 bytes)")


@pytest.mark.slow
def test_names_that_are_alike(trained: Path, predictor: Predictor, tmp_path: Path) -> None:
    """Recordings of one name, one called as another's utterance, hidden files and folders called like videos."""
    for name in ("a/clip.mp4", "b/clip.mp4", "b/clip_0001.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(trained / "videos/clip0.mp4", tmp_path / name)
    (tmp_path / "b/._clip.mp4").write_text("of a Mac")
    (tmp_path / "b/x.mp4").mkdir()
    table = predictor([tmp_path, tmp_path / "a/clip.mp4"])
    assert table["clip_id"].is_unique and table["recording"].nunique() == 3
    names = named_apart(table["recording"])
    assert sorted(names.values()) == ["a/clip.mp4", "b/clip.mp4", "clip_0001.mp4"]
    (tmp_path / "caf\udce9.wav").write_bytes(b"")
    with pytest.raises(UserError, match="its name is no UTF-8"):
        predictor(tmp_path / "caf\udce9.wav")


def test_what_is_said_of_a_prediction() -> None:
    row = {"prediction": -0.03, "sound_unlike": 0.0, "face_unlike": 0.0}
    assert shown(row, Intensity()) == "+0.0"
    assert shown(row | {"prediction": 1.26, "face_unlike": 0.4}, Intensity()) == "+1.3?"
    assert shown({"prediction": "a", "confidence": 0.3}, Classes(classes={"a": ["a"], "b": ["b"]})) == "a 0.30"
    assert shown({"prediction": None}, Intensity()) == "none"


def test_kept_folder_is_never_written_over(trained: Path, predictor: Predictor) -> None:
    before = {path: path.stat().st_mtime_ns for path in (trained / "work/made").rglob("*")}
    with pytest.raises(UserError, match="work/made: holds other things"):
        predictor(trained / "talk.mp4", keep=trained / "work/made")
    assert {path: path.stat().st_mtime_ns for path in (trained / "work/made").rglob("*")} == before


@pytest.mark.slow
def test_classes_written_freely(trained: Path, tmp_path: Path) -> None:
    """An adapter of the paper's decoding: its class's own probability, and an answer that is none is quoted."""
    described = yaml.safe_load((trained / "corpus.yaml").read_text())
    described["task"] = {"kind": "classes", "classes": {"sad": ["<0"], "glad": [">0"]}}
    table = pd.read_csv(trained / "videos/clips.csv")
    described["tables"] = [{"file": "classes.csv"}]
    described["task"]["classes"] = {"sad": ["sad"], "glad": ["glad"]}
    table.assign(label=np.where(table["label"] > 0, "glad", "sad")).to_csv(trained / "videos/classes.csv", index=False)
    (trained / "classes.yaml").write_text(yaml.safe_dump(described))
    said = json.dumps(TRAINING | {"decoding": "generate"})
    swap = {"corpus.yaml": "classes.yaml", "adapter": "classes", json.dumps(TRAINING): said}
    swap |= {f"work/made/{name}": f"work/classes-{name}" for name in ("manifest.csv", "quality.csv", "dataset.h5")}
    again = [words for words in commands() if words[0] in ("manifest", "quality", "assemble", "train")]
    run_commands(trained, [[swap.get(word, word) for word in words] for words in again])
    predictor = Predictor(trained / "classes", models=trained / "resources/models")
    table = predictor(trained / "videos/clip4.mp4", cut=None)
    row = table.iloc[0]
    if row["prediction"] is None:
        assert "no legal label" in row["message"]
    else:
        assert row["confidence"] == pytest.approx(row[f"p_{row['prediction']}"], abs=1e-3)
    assert row["p_sad"] + row["p_glad"] == pytest.approx(1, abs=1e-4)


def predict(folder: Path, arguments: list[str]) -> Done:
    with chdir(folder):
        return mse("predict", "--adapter", "adapter", *arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either recordings or --text"),
        (["--text", "so", "--whole"], "are of recordings, not of --text"),
        (["talk.mp4", "--whole", "--cut", "{}"], "--whole cuts nothing"),
        (["talk.mp4", "-o", "/proc/x.csv"], "/proc/x.csv: can't be written"),
        (["talk.mp4", "--plot", "videos"], "a figure's name ends in"),
        (["talk.mp4", "videos", "-o", "x.srt"], "subtitles are of one recording"),
    ],
)
def test_mistakes_are_told_at_once(trained: Path, arguments: list[str], message: str) -> None:
    done = predict(trained, arguments)
    assert done.returncode == 1 and message in done.stderr


def test_command(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "videos", tmp_path / "many")
    done = predict(trained, [str(tmp_path / "many"), "talk.mp4", "--whole", "-o", str(tmp_path / "a.csv"),
                             "--plot", str(tmp_path / "a.svg")])  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "clip3.mp4" in done.stdout and "80 % between" in done.stdout and "words recognised" in done.stderr
    table = pd.read_csv(tmp_path / "a.csv")
    assert len(table) == 7 and (table["start_s"] == 0).all() and (table["end_s"] > 2).all()
    assert "clip3.mp4" in (tmp_path / "a.svg").read_text()
    done = predict(trained, ["--text", "It was [bold]great[/bold]."])
    assert "It was [bold]great[/bold]." in done.stdout


def test_adapter_moves_with_all_that_it_needs(trained: Path, predictor: Predictor, tmp_path: Path) -> None:
    shutil.copytree(trained / "adapter", tmp_path / "elsewhere")
    moved = Predictor(tmp_path / "elsewhere", llm=trained / "resources/models/llm", models=trained / "resources/models")
    pd.testing.assert_frame_equal(moved.texts(["so"]), predictor.texts(["so"]))


def change(folder: Path, edit: Callable[[dict[str, Any]], object], seal: bool = False) -> None:
    """Change pipeline.json, and seal it again as its writer would."""
    said = json.loads((folder / PIPELINE_NAME).read_text())
    edit(said)
    (folder / PIPELINE_NAME).write_text(json.dumps(said))
    if seal:
        said.pop("sha256")
        write_pipeline(parse(Pipeline, said, "changed"), folder)


def climb(said: dict[str, Any]) -> None:
    """Give a set a name that would lead out of the folder of features."""
    said["acoustic"] = {"../../egemaps": said["acoustic"]["egemaps"]}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / PIPELINE_NAME).unlink(), "no pipeline.json, which says how to extract features"),
        (lambda folder: (folder / PIPELINE_NAME).write_text("{}"), r"pipeline\.json: format version None, expected 1"),
        (lambda folder: (folder / PIPELINE_NAME).write_text("{"), r"pipeline\.json: can't be read as JSON"),
        (lambda folder: change(folder, lambda said: said.update(prompt="!")), "damaged, or changed"),
        (lambda folder: change(folder, climb), "acoustic.*should match pattern"),
        (
            lambda folder: change(folder, lambda said: said.update(facial=None), seal=True),
            "of another adapter: its facial",
        ),
    ],
)
def test_adapters_that_know_no_extraction(
    trained: Path, tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    shutil.copytree(trained / "adapter", tmp_path / "adapter")
    spoil(tmp_path / "adapter")
    with pytest.raises(UserError, match=message):
        Predictor(tmp_path / "adapter", models=trained / "resources/models")


@pytest.mark.slow
def test_an_adapter_without_text_reads_none(trained: Path, tmp_path: Path) -> None:
    """Where it was trained on clips without text, texts are refused and nothing is transcribed."""
    shutil.copytree(trained / "adapter", tmp_path / "adapter")
    change(tmp_path / "adapter", lambda said: said.update(reads_text=False), seal=True)
    wordless = Predictor(
        tmp_path / "adapter", llm=trained / "resources/models/llm", models=trained / "resources/models"
    )
    with pytest.raises(UserError, match="trained on clips without text"):
        wordless.texts("so")
    table = wordless([trained / "videos/clip0.mp4"], cut=None, keep=tmp_path / "kept")
    assert (table["text"].fillna("") == "").all() and table["prediction"].notna().all()
    assert not (tmp_path / "kept/transcripts").exists()


def test_what_is_missing_is_named(trained: Path, predictor: Predictor, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"models/llm: the adapter's LLM \(llm\) is not there"):
        Predictor(trained / "adapter", models=tmp_path / "models")
    (tmp_path / "none").mkdir()
    elsewhere = Predictor(trained / "adapter", llm=trained / "resources/models/llm", models=tmp_path / "none")
    with pytest.raises(UserError, match=r"`mse fetch face_landmarker whisper-tiny\.en speech` gets what is missing"):
        elsewhere([trained / "talk.mp4"])
    with pytest.raises(UserError, match=r"gone\.mp4: no such file"):
        predictor([tmp_path / "gone.mp4"])
    with pytest.raises(UserError, match=r"expected a name that ends in \.csv"):
        write(pd.DataFrame(), Classes(classes={"a": ["a"], "b": ["b"]}), tmp_path / "x.doc")
    width = sum(len(made.mean) for made in read_pipeline(trained / "adapter").sets("acoustic"))
    assert width == MSEAdapter.from_pretrained(trained / "adapter").config.acoustic_width
