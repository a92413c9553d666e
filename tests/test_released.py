"""Features that others released: checked, cleaned, and turned into a manifest and shards."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mse.config import Classes, Columns, Dataset, Intensity, Released
from mse.corpus import read_manifest
from mse.errors import UserError
from mse.released import import_released
from mse.store import Clip, Shard, Status
from tests.made import pickled

SPLITS = ("train", "valid", "test")
EMOTIONS = Classes(classes={"angry": ["anger"], "calm": ["neutral", "peace"]})


def mmsa(clips: int = 4, frames: int = 6) -> dict[str, dict[str, Any]]:
    """A small file as MMSA has it: the frame t of a clip holds t + 1, and padding lies behind."""
    content = {}
    for split in SPLITS:
        audio, vision = np.zeros((clips, frames, 3)), np.zeros((clips, frames, 2), np.float32)
        lengths = [1 + number % frames for number in range(clips)]
        for clip, length in enumerate(lengths):
            audio[clip, :length] = vision[clip, :length] = np.arange(1, length + 1)[:, None]
        content[split] = {
            "id": [f"{split}$_${number}" for number in range(clips)],
            "raw_text": np.array([f"text {number}" for number in range(clips)]),
            "audio": audio,
            "vision": vision,
            "audio_lengths": lengths,
            "vision_lengths": np.array(lengths),
            "regression_labels": np.linspace(-3, 2.4, clips, dtype=np.float32),
            "annotations": np.array(["anger", "peace"] * (clips // 2)),
        }
    return content


def imported(folder: Path, content: Any, **changes: Any) -> tuple[pd.DataFrame, dict[str, dict[str, Clip]]]:
    """Import a file in MMSA's layout; the manifest, and for each modality the clips by their names."""
    pickled(folder / "x.pkl", content)
    released = Released(format="mmsa", files={"all": "x.pkl"})
    settings = {"root": folder, "task": Intensity(), "prompt": "?", "released": released} | changes
    import_released("corpus", Dataset(**settings), folder / "out")
    clips = {}
    for path in sorted((folder / "out" / "features").glob("*/0000.h5")):
        with Shard(path) as shard:
            clips[path.parent.name] = {clip.clip_id: clip for clip in shard}
    return read_manifest(folder / "out" / "manifest.csv"), clips


def test_manifest_and_shards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest, clips = imported(tmp_path, mmsa())
    assert manifest["clip_id"].tolist() == [f"{split}$_${number}" for split in SPLITS for number in range(4)]
    assert manifest["split"].tolist() == [split for split in SPLITS for _ in range(4)]
    assert manifest["label"][:4].tolist() == ["-3.0", "-1.2", "0.6", "2.4"]
    assert manifest["text"][3] == "text 3" and set(manifest["shard"]) == {"0000"} and set(manifest["media"]) == {""}
    assert manifest["start_s"].isna().all() and manifest["end_s"].isna().all()
    for modality, width in (("acoustic", 3), ("facial", 2)):
        assert [len(clip.values) for clip in clips[modality].values()] == [1, 2, 3, 4] * 3
        wanted = np.repeat([[1], [2], [3]], width, axis=1)
        np.testing.assert_array_equal(clips[modality]["test$_$2"].values, wanted)
    with Shard(tmp_path / "out" / "features" / "facial" / "0000.h5") as shard:
        made = shard.description
        assert made.feature_names == ["vision_000", "vision_001"] and np.isnan(made.rate_hz)
        assert made.extractor == "released-mmsa" and made.settings["all"]["name"] == "x.pkl"
    assert "12 clips (4 train, 4 valid, 4 test)" in capsys.readouterr().err
    content = mmsa()
    content["test"]["audio"][0, 0, 0] = 5
    imported(tmp_path, content)
    with Shard(tmp_path / "out" / "features" / "facial" / "0000.h5") as shard:
        assert shard.description.settings_digest != made.settings_digest  # another file, another digest


def test_classes_modalities_and_extra_columns(tmp_path: Path) -> None:
    content = mmsa()
    for data in content.values():
        data["regression_labels_T"] = data["regression_labels"].reshape(-1, 1) / 2
        data["regression_labels_A"] = [0.5, None, float("nan"), 1]
        data["speaker_name"] = ["Ross\x92s"] * 4
        del data["vision"], data["regression_labels"]
    extra = Columns(extra=["label_T", "label_A", "speaker_name"])
    manifest, clips = imported(tmp_path, content, task=EMOTIONS, columns=extra, modalities=["acoustic"])
    assert manifest["label"].tolist() == ["angry", "calm"] * 6
    assert list(clips) == ["acoustic"] and set(manifest["text"]) == {""}
    assert manifest["label_T"][:4].tolist() == ["-1.5", "-0.6", "0.3", "1.2"]
    assert manifest["label_A"][:4].tolist() == ["0.5", "", "", "1"]


def test_what_is_not_finite_is_unknown_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = mmsa()
    content["train"]["audio"][3, 0] = -np.inf  # a frame where nothing is known
    content["train"]["audio"][3, 1, 0] = np.nan
    content["train"]["audio"][2, 1, 1] = 1e300  # finite in float64 alone
    content["test"]["vision"][0, 0] = np.inf
    _, clips = imported(tmp_path, content)
    clip = clips["acoustic"]["train$_$3"]
    assert clip.status is Status.ok and clip.message == "4 values of 12 were not finite"
    assert clip.valid.tolist() == [False, True, True, True]
    np.testing.assert_array_equal(np.isnan(clip.values).sum(axis=1), [3, 1, 0, 0])
    assert clips["acoustic"]["train$_$2"].message == "1 values of 9 were not finite"
    lost = clips["facial"]["test$_$0"]
    assert lost.status is Status.nothing_found and len(lost.values) == 1 and not lost.valid.any()
    said = capsys.readouterr().err
    assert "acoustic: 5 values in 2 clips of train were not finite" in said
    assert "facial: 2 values in 1 clips of test were not finite" in said
    assert "of valid were not" not in said


@pytest.mark.parametrize("with_lengths", [True, False])
def test_padding_is_found_on_either_side(tmp_path: Path, with_lengths: bool) -> None:
    content = mmsa()
    for data in content.values():
        data["audio"] = np.stack(
            [np.roll(clip, 6 - n, axis=0) for clip, n in zip(data["audio"], [1, 2, 3, 4], strict=True)]
        )
        if not with_lengths:
            del data["audio_lengths"], data["vision_lengths"]
    content["train"]["audio"][3, 4] = 0  # between frames that are not
    _, clips = imported(tmp_path, content)
    assert clips["acoustic"]["train$_$3"].values[:, 0].tolist() == [1, 2, 0, 4]
    for modality in ("acoustic", "facial"):
        assert clips[modality]["test$_$2"].values[:, 0].tolist() == [1, 2, 3]


def test_frames_of_zeros_are_kept_on_the_side_of_most_clips(tmp_path: Path) -> None:
    content = mmsa()
    content["train"]["audio"][3] = 0
    content["train"]["audio"][3, 2:4] = 7  # four frames, the first two zero: padding might lie on either side
    content["valid"]["audio"] = np.flip(content["valid"]["audio"], axis=1)
    content["valid"]["audio"][3] = 0
    content["valid"]["audio"][3, 2:4] = 7
    _, clips = imported(tmp_path, content)
    assert clips["acoustic"]["train$_$3"].values[:, 0].tolist() == [0, 0, 7, 7]
    assert clips["acoustic"]["valid$_$3"].values[:, 0].tolist() == [7, 7, 0, 0]


def test_clips_without_frames_and_wrong_lengths_say_so(tmp_path: Path) -> None:
    content = mmsa()
    content["train"]["audio_lengths"][1] = 0
    content["train"]["audio"][2] = 0
    content["train"]["audio_lengths"][3] = 2  # though four frames are not zero
    content["train"]["audio"][3] = np.roll(content["train"]["audio"][3], 1, axis=0)
    _, clips = imported(tmp_path, content)
    found = list(clips["acoustic"].values())[1:4]
    assert [clip.status for clip in found] == [Status.nothing_found, Status.nothing_found, Status.ok]
    assert [len(clip.values) for clip in found] == [0, 0, 4]
    assert found[0].message == "the file says that it has no frames"
    assert found[1].message == "all its frames are zero"
    assert found[2].message == "4 frames are not zero, but its length is said to be 2"


def change(split: str, key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda content: content[split].__setitem__(key, value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda c: c.pop("valid"), r"x\.pkl: no key 'valid'; there is train, test"),
        (lambda c: c.__setitem__("test", [1]), r"x\.pkl: test: holds a list, expected a dict"),
        (lambda c: c["test"].pop("vision"), r"x\.pkl: test: no key 'vision'; there is id, raw_text, audio, "),
        (lambda c: c["test"].pop("raw_text"), "test: no key 'raw_text'"),
        (lambda c: c["test"].pop("regression_labels"), "test: no key 'regression_labels'"),
        (change("valid", "raw_text", ["a"] * 3), "valid: raw_text has 3 entries, but there are 4 ids"),
        (change("valid", "audio_lengths", [1]), "valid: audio_lengths has 1 entries, but there are 4 ids"),
        (change("valid", "audio", np.ones((3, 6, 3))), "valid: audio has 3 entries, but there are 4 ids"),
        (change("valid", "audio", np.ones((4, 6))), r"valid: audio holds an array of the shape \(4, 6\)"),
        (change("valid", "audio", "none"), "valid: audio holds a str, expected a value for each clip"),
        (change("valid", "audio", np.full((4, 6, 3), "x")), r"type <U1; expected numbers of the shape \(clips, frames"),
        (
            change("valid", "audio", np.ones((4, 6, 5))),
            r"valid: audio holds .*\(4, 6, 5\).*'valid\$_\$0'.*expected numbers of the shape \(clips, frames, 3\)",
        ),
        (
            change("test", "audio_lengths", [1, 2, 7, 4]),
            r"test: audio_lengths = 7 for the clip 'test\$_\$2'; expected a number of frames from 0 to 6",
        ),
        (change("test", "audio_lengths", [1, 2, -1, 4]), "audio_lengths = -1 for"),
        (change("test", "audio_lengths", [1, 2, "3", 4]), "audio_lengths = '3' for"),
        (
            change("train", "regression_labels", [0, 3.5, -4, float("nan")]),
            r"train: regression_labels = '3\.5' of 'train\$_\$1', '-4' of .*, '' of 'train\$_\$3' \(3 such clips "
            r"in all\) is no intensity from -3 to 3",
        ),
        (
            change("train", "regression_labels", np.ones((4, 2))),
            r"regression_labels holds .*\(2,\).*expected one value",
        ),
        (change("train", "id", ["a", "b", "", "c"]), "train: id is empty for a clip"),
        (change("train", "id", []), "train: id names no clip"),
        (
            change("train", "id", ["a", "a", "b", "test$_$0"]),
            r"x\.pkl: clip ids must be unique, but 2 stand there more than once: 'a' \(train and train\), "
            r"'test\$_\$0' \(train and test\)",
        ),
    ],
)
def test_every_mistake_is_named(tmp_path: Path, damage: Callable[[Any], None], message: str) -> None:
    content = mmsa()
    damage(content)
    with pytest.raises(UserError, match=message):
        imported(tmp_path, content)
    assert not (tmp_path / "out").exists()


def test_unknown_classes_are_named_with_the_choices(tmp_path: Path) -> None:
    content = mmsa()
    content["valid"]["annotations"][1] = "joy"
    with pytest.raises(UserError, match=r"valid: annotations = 'joy' of 'valid\$_\$1' .* angry \(anger\), calm \(neut"):
        imported(tmp_path, content, task=EMOTIONS)


def test_ids_of_several_columns_and_arrays_of_bytes(tmp_path: Path) -> None:
    content = mmsa()
    for split, data in content.items():
        data["id"] = np.array([[f"{split}{number}".encode(), b"0.5", b"1.5"] for number in range(4)])
    manifest, _ = imported(tmp_path, content)
    assert manifest["clip_id"][:2].tolist() == ["train0", "train1"]


def test_settings_that_have_no_meaning_are_refused(tmp_path: Path) -> None:
    for changes, message in [
        ({"text_from": "asr"}, "text_from = 'asr' can't be had with released features"),
        ({"recode": {"label": {"a": "b"}}}, "recode can't be had"),
        ({"columns": Columns(extra=["label"])}, "columns.extra 'label' can't be had"),
        ({"released": None, "files": "{a}.wav", "columns": Columns(label="a", text="a")}, "has no key `released`"),
        ({"root": tmp_path / "gone"}, "the corpus corpus is not here"),
        (
            {"released": Released(format="mmsa", files={"all": "y.pkl"}), "source": "example.org"},
            r"y\.pkl: no such file, but released.files.all of the corpus corpus names it; ask for it at example.org",
        ),
    ]:
        with pytest.raises(UserError, match=message):
            imported(tmp_path, mmsa(), **changes)


# --- lists of clips ---


def records(clips: int = 3) -> dict[str, list[dict[str, Any]]]:
    """Files as MSE-Adapter has them: padded arrays in each clip, and no ids."""
    content: dict[str, list[dict[str, Any]]] = {}
    for split, source in mmsa(4).items():
        for number in range(clips):
            features = {
                "text": f"It\x92s {number}",
                "audio": source["audio"][number],
                "video": source["vision"][number],
            }
            features |= {"audio_len": number + 1, "video_len": np.int64(number + 1)}
            content.setdefault(split, []).append({"label": ["anger", "neutral"][number % 2], "features": features})
    return content


def import_records(folder: Path, content: dict[str, Any], **changes: Any) -> tuple[pd.DataFrame, dict[str, list[Clip]]]:
    released = Released(format="records", files={split: f"{split}.pkl" for split in SPLITS})
    for split in SPLITS:
        pickled(folder / f"{split}.pkl", content[split])
    settings = {"root": folder, "task": EMOTIONS, "prompt": "?", "released": released} | changes
    import_released("corpus", Dataset(**settings), folder / "out")
    clips = {}
    for path in (folder / "out" / "features").glob("*/0000.h5"):
        with Shard(path) as shard:
            clips[path.parent.name] = list(shard)
    return read_manifest(folder / "out" / "manifest.csv"), clips


def test_records(tmp_path: Path) -> None:
    manifest, clips = import_records(tmp_path, records())
    assert manifest["clip_id"][2:5].tolist() == ["train_00002", "valid_00000", "valid_00001"]
    assert manifest["label"].tolist() == ["angry", "calm", "angry"] * 3
    assert manifest["text"][0] == "It\u2019s 0"
    assert {m: [len(clip.values) for clip in found] for m, found in clips.items()} == {
        "acoustic": [1, 2, 3] * 3,
        "facial": [1, 2, 3] * 3,
    }
    content = records()
    for number, item in enumerate(item for split in SPLITS for item in content[split]):
        item |= {"id": f"dia{number}", "label": number / 10}
    manifest, _ = import_records(tmp_path, content, task=Intensity())
    assert manifest["clip_id"].tolist() == [f"dia{number}" for number in range(9)]
    assert manifest["label"][:3].tolist() == ["0.0", "0.1", "0.2"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda c: c.__setitem__("test", {}), r"test\.pkl: holds a dict, expected a list of clips"),
        (lambda c: c.__setitem__("test", []), r"test\.pkl: id names no clip; each needs a name"),
        (lambda c: c["test"].__setitem__(1, 5), r"test\.pkl: clip 1: holds a int, expected a dict"),
        (lambda c: c["test"][1].pop("label"), r"test\.pkl: clip 1: no key 'label'; there is features"),
        (
            lambda c: c["test"][1]["features"].pop("video"),
            r"test\.pkl: clip 1: features: no key 'video'; there is text",
        ),
        (lambda c: c["test"][1]["features"].pop("video_len"), r"test\.pkl: video_lengths has 2 entries"),
        (lambda c: c["test"][1].__setitem__("label", "joy"), r"test\.pkl: label = 'joy' of 'test_00001'"),
        (
            lambda c: c["test"][1]["features"].__setitem__("audio", np.ones((6, 9))),
            r"test\.pkl: audio holds a list, which for the clip 'test_00001' is an array of the shape \(6, 9\)",
        ),
    ],
)
def test_mistakes_in_records_are_named(tmp_path: Path, damage: Callable[[Any], None], message: str) -> None:
    content = records()
    damage(content)
    with pytest.raises(UserError, match=message):
        import_records(tmp_path, content)
