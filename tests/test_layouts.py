"""Every corpus that ships, on a miniature of the layout its publishers use, from its YAML to a table of metrics."""

import json
import shutil
from collections.abc import Callable, Iterable
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from mse import media
from mse.assemble import assemble
from mse.config import (
    AdapterSettings,
    AssembleSettings,
    Backbone,
    Config,
    Dataset,
    FacialSettings,
    OpenSmileSettings,
    SegmentSettings,
    TrainSettings,
    TranscribeSettings,
    load_dataset,
    segment_settings,
)
from mse.corpus import read_corpus, read_manifest, shard_files, write_manifest
from mse.corpus.check import check
from mse.extract import acoustic_shard, facial_shard
from mse.features.speech import Recogniser
from mse.predictions import answer_split
from mse.quality import make_quality, read_quality
from mse.released import import_released
from mse.rows import Window, read_rows, read_shard
from mse.score import score
from mse.segment import segment_shard
from mse.train import train
from mse.transcribe import transcribe_shard
from mse.utterances import cut_shard, read_cut_corpus
from tests.conftest import ROOT, tone
from tests.made import pickled

MARKS = Backbone(folder=Path("tiny"), license="none", dtype="float32", open_mark="[", close_mark="]")
SHAPE = AdapterSettings(acoustic_hidden=4, facial_hidden=4, fusion_width=8)
TRAINING = TrainSettings(pretrain_epochs=1, schedule_epochs=1, threads=1)
SHIPPED = sorted(path.stem for path in (ROOT / "config/datasets").glob("*.yaml"))
Touch = Callable[[Path], None]


def write_csv(path: Path, header: str, rows: Iterable[object], **options: str) -> None:
    """A table with this header; a row is a list of cells."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows, columns=header.split(",")).to_csv(path, index=False, **options)


def mmsa(root: Path, table: str, videos: dict[str, list[str]], labels: dict[str, float], touch: Touch) -> None:
    """MMSA's layout: a table, and Raw/VIDEO/CLIP.mp4; a split is a key of `videos`."""
    header = "video_id,clip_id,text,label,label_T,label_A,label_V,annotation,mode"
    rows = []
    for mode, names in videos.items():
        for name in names:
            video, clip = name.split("/")
            label = labels.get(name, 0.2)
            mood = "Neutral" if label == 0 else "Positive" if label > 0 else "Negative"
            rows.append([video, clip, f"说 “{clip}”, ja", label, 0.4, -0.2, 0.0, mood, mode])
            touch(root / "Raw" / video / f"{clip}.mp4")
    write_csv(root / table, header, rows, encoding="utf-8-sig")


def mosi(root: Path, touch: Touch) -> None:
    train, test = ["03bSnISJMiM/1", "-mJ2ud6oKI8/12"], ["102858/1", "102858/2"]
    videos = {"train": train, "valid": ["_dI--eQ6qVU/3"], "test": test}
    mmsa(root, "label.csv", videos, {"03bSnISJMiM/1": 2.4, "102858/2": -3.0}, touch)


def sims(root: Path, touch: Touch) -> None:
    train = ["video_0001/0001", "video_0001/0002"]
    videos = {"train": train, "valid": ["video_0002/0031"], "test": ["video_0003/0001"]}
    mmsa(root, "label.csv", videos, {"video_0001/0002": -1.0}, touch)


def simsv2(root: Path, touch: Touch) -> None:
    videos = {"train": ["aqgy3_0001/00000", "video_0028/0022"], "valid": ["test12/00000"], "test": ["aqgy4_0004/00009"]}
    mmsa(root, "meta.csv", videos, {"test12/00000": -0.4}, touch)


def meld(root: Path, touch: Touch) -> None:
    header = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime"
    splits = {
        "train/train_sent_emo.csv": ("train/train_splits", [(0, 0), (0, 1), (125, 3)]),
        "dev_sent_emo.csv": ("dev/dev_splits_complete", [(0, 0), (110, 7)]),
        "test_sent_emo.csv": ("test/output_repeated_splits_test", [(0, 0), (38, 4), (7, 1)]),
    }
    times = "00:16:16,059", "0:16:21,731"
    for table, (folder, clips) in splits.items():
        rows = [
            [n, 'You must\x92ve, "Ross"!', "The Waiter", "joy", "positive", d, u, 8, 21, *times]
            for n, (d, u) in enumerate(clips, start=1)
        ]
        rows[0][3:5] = ["neutral", "neutral"]
        write_csv(root / table, header, rows)
        for dialogue, utterance in clips:
            touch(root / folder / f"dia{dialogue}_utt{utterance}.mp4")
    (root / "train/train_splits/dia125_utt3.mp4").write_bytes(b"damaged" * 100)
    (root / "dev/dev_splits_complete/dia110_utt7.mp4").unlink()
    touch(root / "test/output_repeated_splits_test/final_videos_testdia7_utt1.mp4")


def cherma(root: Path, touch: Touch) -> None:
    for split, clips in {"train": ["甲 1", "甲2"], "dev": ["乙"], "test": ["丙"]}.items():
        entries = [
            {"audio_file": f"{name}.wav", "video_file": f"{name}.mp4"}
            | {"txt_label": "平静", "audio_label": "高兴", "visual_label": "高兴", "video_label": "高兴"}
            for name in clips
        ]
        (root / f"{split}.json").parent.mkdir(parents=True, exist_ok=True)
        (root / f"{split}.json").write_text(json.dumps(entries, ensure_ascii=False), encoding="utf-8")
        for name in clips:
            touch(root / "video" / ("valid" if split == "dev" else split) / f"{name}.mp4")


def iemocap(root: Path, touch: Touch) -> None:
    for session in "12345":
        dialogue = f"Ses0{session}F_impro01"
        folder = root / f"Session{session}/dialog"
        turns = [
            ("F000", 0.1, 0.9, "neu"),
            ("M000", 1.0, 1.9, "hap"),
            ("M001", 0.2, 0.8, "xxx"),
            ("F001", 0.9, 1.5, "sur"),
        ]
        judged = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
        said = ["M: (laughter)"]
        for turn, start, end, emotion in turns:
            judged += [f"[{start:.4f} - {end:.4f}]\t{dialogue}_{turn}\t{emotion}\t[2.5000, 2.5000, 2.5000]"]
            judged += ["C-E2:\tNeutral;\t()", "A-E3:\tval 3; act 2; dom  2;\t()", ""]
            said.append(f"{dialogue}_{turn} [{start:08.4f}-{end:08.4f}]: Excuse me: {turn}.")
        for kind, lines in (("EmoEvaluation", judged), ("transcriptions", said)):
            (folder / kind).mkdir(parents=True)
            (folder / kind / f"{dialogue}.txt").write_text("\n".join(lines) + "\n")
        (folder / "EmoEvaluation/Categorical").mkdir()
        (folder / f"EmoEvaluation/Categorical/{dialogue}_e1_cat.txt").write_text("not read\n")
        touch(folder / "avi/DivX" / f"{dialogue}.avi")


def ravdess(root: Path, touch: Touch) -> None:
    for actor, emotion in (("01", "01"), ("18", "08"), ("19", "05"), ("20", "03"), ("24", "02")):
        for statement in ("01", "02"):
            touch(root / f"Actor_{actor}" / f"03-01-{emotion}-01-{statement}-01-{actor}.wav")
        touch(root / f"Actor_{actor}" / f"03-02-{emotion}-01-01-01-{actor}.wav")  # a song: not in the corpus
    (root / "README.txt").write_text("?")


BUILDERS = {builder.__name__: builder for builder in (mosi, sims, simsv2, meld, cherma, iemocap, ravdess)} | {
    "mosei": mosi
}
DOGS = "Dogs are sitting by the door."
EXPECTED = {  # clips by split, and what tells that the right columns were read: clip, text, label
    "mosi": ({"train": 2, "valid": 1, "test": 2}, "-mJ2ud6oKI8$_$12", "说 “12”, ja", "0.2"),
    "mosei": ({"train": 2, "valid": 1, "test": 2}, "102858$_$2", "说 “2”, ja", "-3.0"),
    "sims": ({"train": 2, "valid": 1, "test": 1}, "video_0001$_$0002", "说 “0002”, ja", "-1.0"),
    "simsv2": ({"train": 2, "valid": 1, "test": 1}, "test12$_$00000", "说 “00000”, ja", "-0.4"),
    "meld": ({"train": 2, "valid": 1, "test": 2}, "test_dia7_utt1", 'You must\u2019ve, "Ross"!', "joy"),
    "cherma": ({"train": 2, "valid": 1, "test": 1}, "train_甲 1.mp4", "", "高兴"),
    "iemocap": ({"train": 6, "valid": 2, "test": 2}, "Ses05F_impro01_M000", "Excuse me: M000.", "happy"),
    "ravdess": (
        {"train": 4, "valid": 4, "test": 2},
        "03-01-08-01-02-01-18",
        "Dogs are sitting by the door.",
        "surprised",
    ),
}


@pytest.fixture(scope="module")
def touch(tmp_path_factory: pytest.TempPathFactory, portrait_frames: list[np.ndarray]) -> Touch:
    """Put a talking face (or its sound alone) of two seconds somewhere, in the container that the name asks for."""
    folder = tmp_path_factory.mktemp("originals")
    media.write_video(folder / "x.mp4", portrait_frames, tone(2), 25)
    talking = media.ffmpeg.input(f"file:{folder / 'x.mp4'}")
    talking.output(f"file:{folder / 'x.wav'}", vn=None).run(cmd=media.ffmpeg_path(), quiet=True)
    copied = talking.output(f"file:{folder / 'x.avi'}", vcodec="mpeg4", acodec="pcm_s16le")
    copied.run(cmd=media.ffmpeg_path(), quiet=True)

    def touching(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / f"x{path.suffix}", path)

    return touching


def extract(name: str, dataset: Dataset, work: Path, landmarker: Path, whisper: Path) -> dict[str, list[Path]]:
    """Every stage of the pipeline up to quality.csv; returns the feature shards."""
    manifest = work / "manifest.csv"
    shards: dict[str, list[Path]] = {}
    for shard in sorted(set(read_manifest(manifest)["shard"])):
        sound, facts = work / f"segments/{shard}.h5", work / f"segments/{shard}.csv"
        settings = segment_settings(Config(), dataset)
        segment_shard(read_shard(manifest, shard), sound, facts, name, settings)
        if "acoustic" in dataset.modalities:
            acoustic_shard(sound, work / f"acoustic/{shard}.h5", OpenSmileSettings())
        if "facial" in dataset.modalities:
            facial_shard(facts, sound, work / f"facial/{shard}.h5", name, FacialSettings(rate_hz=5), landmarker)
        if dataset.needs_asr:
            transcribe_shard(sound, work / f"asr/{shard}.csv", dataset.language, TranscribeSettings(), whisper)
    for modality in ("acoustic", "facial"):
        if modality in dataset.modalities:
            shards[modality] = shard_files(manifest, work / modality, ".h5")
    transcripts = shard_files(manifest, work / "asr", ".csv") if dataset.needs_asr else []
    facts_files = shard_files(manifest, work / "segments", ".csv")
    quality = work / "quality.csv"
    make_quality(manifest, facts_files, shards, transcripts, dataset.text_used, quality, dataset.language)
    return shards


def described(name: str, root: Path) -> Dataset:
    return load_dataset(Config(config_path=[ROOT / "config"], roots={name: root}), name)


def test_every_corpus_that_ships_has_a_miniature() -> None:
    # The demo has the workflow's test, videos the one below.
    assert sorted([*BUILDERS, *RELEASED, "demo", "videos"]) == SHIPPED
    assert len(SHIPPED) >= 14


def mmsa_pickle(path: Path, low: float, high: float, extra: bool) -> None:
    """MMSA's layout: a dict by split, each a dict of columns; a value that is not finite among them."""
    rng = np.random.default_rng(0)
    content = {}
    for split, count in RELEASED_CLIPS.items():
        columns = {
            "id": [f"vid_{split}$_${number:04d}" for number in range(count)],
            "raw_text": np.array([f"说 {number}" for number in range(count)]),
            "audio": rng.normal(size=(count, 9, 5)).astype(np.float32),
            "vision": rng.normal(size=(count, 7, 4)),
            "audio_lengths": [9] * count,
            "vision_lengths": [7] * count,
            "annotations": np.array(["Neutral"] * count),
            "regression_labels": rng.uniform(low, high, count).round(1),
        }
        columns["audio"][0, 2, 1] = -np.inf
        labels = {f"regression_labels_{m}": rng.uniform(low, high, count) for m in "TAV"} if extra else {}
        content[split] = columns | labels
    pickled(path, content)


def record_pickles(root: Path, name: str, classes: list[str]) -> None:
    """The layout of the MSE-Adapter's files: for each split a list of clips without names."""
    rng = np.random.default_rng(0)
    for split, count in RELEASED_CLIPS.items():
        features = {"audio_len": 6, "video_len": 4, "text": "好"}
        clips = [
            {"label": classes[number % 7], "features": features | {"audio": a, "video": v}}
            for number, (a, v) in enumerate(
                zip(rng.normal(size=(count, 6, 5)), rng.normal(size=(count, 4, 3)), strict=True)
            )
        ]
        pickled(root / f"{name}_{split}.pkl", clips)


RELEASED_CLIPS = {"train": 8, "valid": 4, "test": 4}
RELEASED: dict[str, Callable[[Path], object]] = {
    "mosei-released": lambda root: mmsa_pickle(root / "Processed/unaligned_50.pkl", -3, 3, extra=False),
    "simsv2-released": lambda root: mmsa_pickle(root / "ch-simsv2s.pkl", -1, 1, extra=True),
    "meld-released": lambda root: record_pickles(
        root, "meld", ["neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger"]
    ),
    "cherma-released": lambda root: record_pickles(
        root, "cherma", ["愤怒", "厌恶", "恐惧", "高兴", "平静", "悲伤", "惊奇"]
    ),
}


@pytest.mark.parametrize("name", sorted(RELEASED))
def test_released_features_from_yaml_to_metrics(name: str, tmp_path: Path, tiny_llm: Path) -> None:
    root, work = tmp_path / "Ünïcode und Leerzeichen", tmp_path / "work"
    RELEASED[name](root)
    dataset = described(name, root)
    console = Console(file=StringIO(), width=120)
    assert not check(name, dataset, SegmentSettings(), AssembleSettings(), console).problems
    assert "train      8" in console.file.getvalue()  # type: ignore[attr-defined]
    import_released(name, dataset, work)
    shards = {m: [work / "features" / m / "0000.h5"] for m in ("acoustic", "facial")}
    make_quality(work / "manifest.csv", [], shards, [], "corpus", work / "quality.csv")
    odd = read_quality(work / "quality.csv")["message"].str.contains("not finite").sum()
    assert odd == (3 if "mosei" in name or "sims" in name else 0)
    metrics = from_quality_to_metrics(name, dataset, work, shards, tiny_llm)
    assert metrics.loc["s1", "n"] == RELEASED_CLIPS["test"]


def from_quality_to_metrics(
    name: str, dataset: Dataset, work: Path, shards: dict[str, list[Path]], llm: Path
) -> pd.DataFrame:
    """The rest of the pipeline, with one short training; returns the table."""
    arguments = (name, dataset, work / "manifest.csv", work / "quality.csv", shards, work / "dataset.h5")
    assemble(*arguments, AssembleSettings())  # type: ignore[arg-type]
    train(work / "dataset.h5", llm, "tiny", MARKS, SHAPE, TRAINING, 1, work / "adapter", work / "history.csv")
    answer_split(work / "dataset.h5", llm, MARKS, work / "adapter", TRAINING, work / "tiny" / "s1" / "predictions.csv")
    score(work / "dataset.h5", [work / "tiny" / "s1" / "predictions.csv"], work / "metrics.csv")
    return pd.read_csv(work / "metrics.csv").query("decoding == 'expected' or model == 'constant'").set_index("run")


# CHERMA's words are recognised in Chinese, by a larger model.
@pytest.mark.parametrize(
    "name", [*sorted(BUILDERS.keys() - {"cherma"}), pytest.param("cherma", marks=pytest.mark.slow)]
)
def test_from_yaml_to_metrics(
    name: str, tmp_path: Path, touch: Touch, landmarker: Path, models: Callable[[str], Path], tiny_llm: Path
) -> None:
    root, work = tmp_path / "Ünïcode und Leerzeichen", tmp_path / "work"
    BUILDERS[name](root, touch)
    dataset = described(name, root)
    corpus = read_corpus(dataset)
    write_manifest(corpus.clips, corpus.excluded, work / "manifest.csv")
    splits, clip_id, text, label = EXPECTED[name]
    assert corpus.clips["split"].value_counts().to_dict() == splits
    row = corpus.clips.set_index("clip_id").loc[clip_id]
    assert (row["text"], row["label"]) == (text, label)
    assert corpus.clips["media"].map(lambda path: Path(path).is_file()).all()

    recogniser = models("whisper-base") if dataset.language == "zh" and dataset.needs_asr else tmp_path / "not needed"
    shards = extract(name, dataset, work, landmarker, recogniser)
    quality = read_quality(work / "quality.csv")
    used = {"full", "partial"} if dataset.needs_asr else {"full"}  # in a tone, words may be heard or not
    assert set(quality["use"]) <= used | {"excluded"}
    assert quality["use"].isin(used).sum() == sum(splits.values())
    metrics = from_quality_to_metrics(name, dataset, work, shards, tiny_llm)
    assert metrics.loc["s1", "n"] == splits["test"]
    assert np.isfinite(metrics.loc["single", "mae" if "mae" in metrics else "weighted_f1"])


def test_bad_clips_of_meld_are_left_out_with_reasons_and_long_ones_cut(
    tmp_path: Path, touch: Touch, portrait_frames: list[np.ndarray]
) -> None:
    meld(tmp_path, touch)
    long = tmp_path / "test/output_repeated_splits_test/dia7_utt1.mp4"
    media.write_video(long, portrait_frames[:33], tone(33), 1)
    dataset = described("meld", tmp_path)
    corpus = read_corpus(dataset)
    reasons = corpus.excluded.set_index("clip_id")["reason"]
    assert set(reasons.index) == {"train_dia125_utt3", "valid_dia110_utt7", "test_dia38_utt4"}
    assert "damaged" in reasons["train_dia125_utt3"]
    settings = segment_settings(Config(), dataset)
    write_manifest(corpus.clips, corpus.excluded, tmp_path / "m.csv")
    segment_shard(
        read_rows(tmp_path / "m.csv", Window, "mse manifest"), tmp_path / "s.h5", tmp_path / "s.csv", "meld", settings
    )
    facts = pd.read_csv(tmp_path / "s.csv").set_index("clip_id")
    assert facts.loc["test_dia7_utt1", "duration_s"] == 30
    assert "clip lasts 33.0 s, cut to 30 s" in facts.loc["test_dia7_utt1", "message"]


def test_folder_of_videos_becomes_utterances(
    tmp_path: Path, touch: Touch, landmarker: Path, models: Callable[[str], Path], voice: np.ndarray
) -> None:
    """A spoken recording is cut into its sentences; one without speech, and one that is no video, stay whole."""
    root, work = tmp_path / "my videos", tmp_path / "work"
    black = [np.zeros((64, 64, 3), np.uint8)] * 20
    media.write_video(root / "Süd/silent 好.mp4", black[:5], np.zeros(5 * 16_000, np.int16), 1)
    media.write_video(root / "two.mp4", black[: len(voice) // 16_000], voice, 1)
    (root / "bad.MP4").write_text("no video")
    dataset = described("videos", root)
    assert dataset.cut is not None
    corpus = read_corpus(dataset)
    assert corpus.clips["clip_id"].tolist() == ["Süd/silent 好", "bad", "two"]
    write_manifest(corpus.clips, corpus.excluded, work / "recordings/manifest.csv")
    recognise = Recogniser(TranscribeSettings(), models("whisper-tiny.en"), "en")
    for shard in sorted(set(corpus.clips["shard"])):
        some = read_shard(work / "recordings/manifest.csv", shard)
        cut_shard(some, work / f"recordings/{shard}.csv", dataset.cut, recognise)
    cut = read_cut_corpus(dataset, work / "recordings")
    assert cut.clips["clip_id"].tolist() == ["Süd/silent 好", "bad", "two_0001", "two_0002", "two_0003"]
    assert any("no speech was found" in note for note in cut.notes)
    assert any("not readable as sound or video" in note for note in cut.notes)
    write_manifest(cut.clips, cut.excluded, work / "manifest.csv")
    extract("videos", dataset, work, landmarker, models("whisper-tiny.en"))
    quality = read_quality(work / "quality.csv").set_index("clip_id")
    assert quality.loc["bad", "use"] == "unusable"
    heard = [quality.loc[f"two_{n:04d}", "asr_text"].lower() for n in (1, 2, 3)]
    assert all(word in said for word, said in zip(("weather", "never", "train"), heard, strict=True)), heard
