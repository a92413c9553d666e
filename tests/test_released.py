"""Released features: opened without running them, imported, exported, and the same after both."""

import copyreg
import gc
import os
import pickle
import weakref
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mse.assemble import assemble
from mse.config import AssembleSettings, Classes, Columns, Dataset, Intensity, Released
from mse.corpus import read_excluded, read_manifest
from mse.data import ClipDataset
from mse.errors import UserError
from mse.export import export_mmsa
from mse.quality import make_quality
from mse.released import import_released
from mse.store import Clip, Shard, Status
from mse.unpickle import load
from tests.made import make_dataset

SPLITS = ("train", "valid", "test")
EMOTIONS = Classes(classes={"angry": ["anger"], "calm": ["neutral", "peace"]})


# --- opening pickles ---


def write(path: Path, content: Any, protocol: int = 4) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", range(6))
def test_containers_and_arrays_are_read(tmp_path: Path, protocol: int) -> None:
    arrays = [
        np.arange(24.0).reshape(2, 3, 4).transpose(1, 0, 2),
        np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        np.arange(3, dtype=">i2"),
        np.zeros((0, 5)),
        np.array(7.5),
        np.array(["a", "坏了"]),
        np.array([b"bytes"]),
        np.array(["text", None, 3], object),
    ]
    plain = OrderedDict(a=[1, 2.5, None, True, "ü"], b=(b"\xff\x00", b""), c={"x": {"y": 1}})
    scalars = [np.float32(2.4), np.int64(-3), np.bool_(True), np.str_("坏"), np.str_("")]
    got = load(write(tmp_path / "x.pkl", {"arrays": arrays, "plain": plain, "scalars": scalars}, protocol))
    for array, wanted in zip(got["arrays"], arrays, strict=True):
        assert array.dtype == wanted.dtype.newbyteorder(array.dtype.byteorder)
        np.testing.assert_array_equal(np.asarray(array), wanted)
    assert got["plain"] == plain
    assert got["scalars"] == scalars and [type(s) for s in got["scalars"]] == [type(s) for s in scalars]


def test_files_of_python_2_are_read(tmp_path: Path) -> None:
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02\x85cnumpy\ndtype\n"
    array += b"U\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x10"
    values = np.array([0.1, -2.0])
    path = write(
        tmp_path / "x.pkl", b"\x80\x02}(U\x05audio" + array + values.tobytes() + b"tbU\x02idX\x02\x00\x00\x00\xc3\xbcu."
    )
    got = load(path)
    np.testing.assert_array_equal(got["audio"], values)
    assert got["id"] == "ü"


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call[0], self.call[1:]


def named(module: str, name: str, argument: str) -> bytes:
    """A pickle that calls module.name, which may have dots in it."""
    texts = [b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name)]
    return (
        b"\x80\x04"
        + texts[0]
        + texts[1]
        + b"\x93X"
        + len(argument).to_bytes(4, "little")
        + argument.encode()
        + b"\x85R."
    )


GOOD = np.ones((2, 3))
ATTACKS: dict[str, tuple[Callable[[str], Any], str]] = {
    "system": (lambda m: Calls(os.system, f"touch {m}"), "posix.system"),
    "eval": (lambda m: Calls(eval, f"open({m!r}, 'w').close()"), "builtins.eval"),
    "nested": (
        lambda m: {"train": {"audio": GOOD, "id": ["a", GOOD, [Calls(os.system, f"touch {m}")]]}, "test": GOOD},
        "posix.system",
    ),
    "in an array": (lambda m: np.array(["a", Calls(os.system, f"touch {m}")], object), "posix.system"),
    "dotted name": (lambda m: named("numpy", "_pytesttester.os.system", f"touch {m}"), "numpy._pytesttester.os.system"),
    "instance": (lambda m: f"(S'touch {m}'\nios\nsystem\n.".encode(), "os.system"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_pickle_that_runs_code_is_refused(tmp_path: Path, attack: str) -> None:
    make, name = ATTACKS[attack]
    marker = tmp_path / "ran"
    path = write(tmp_path / "x.pkl", make(str(marker)))
    pickle.loads(path.read_bytes())
    assert marker.exists()  # it does run where it is not refused
    marker.unlink()
    with pytest.raises(UserError, match=rf"x\.pkl: asks for {name}; .* can run code when it is opened.*save it again"):
        load(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("numpy", "load"),
        ("numpy", "memmap"),
        ("numpy", "fromfile"),
        ("numpy", "ndarray.tofile"),
        ("numpy.core.multiarray", "_reconstruct.__self__"),
        ("_codecs", "encode.__self__.lookup"),
        ("builtins", "getattr"),
        ("collections", "OrderedDict.fromkeys"),
        ("torch._utils", "_rebuild_tensor_v2"),
        ("pandas.core.frame", "DataFrame"),
    ],
)
def test_every_other_name_is_refused(tmp_path: Path, module: str, name: str) -> None:
    with pytest.raises(UserError, match="plain containers and NumPy arrays") as error:
        load(write(tmp_path / "x.pkl", named(module, name, "x")))
    assert f"asks for {module}.{name};" in str(error.value)
    assert (".numpy()" in str(error.value)) == (module == "torch._utils")


def test_extension_codes_and_outside_references_are_refused(tmp_path: Path) -> None:
    marker, code = tmp_path / "ran", 0xF1
    call = b"\x80\x02\x82" + bytes([code]) + b"X" + len(f"touch {marker}").to_bytes(4, "little")
    call += f"touch {marker}".encode() + b"\x85R."
    with pytest.raises(UserError, match="unregistered extension code"):
        load(write(tmp_path / "x.pkl", call))
    copyreg.add_extension("os", "system", code)
    try:
        pickle.loads(call)  # and from now on it is remembered
        marker.unlink()
        with pytest.raises(UserError, match=r"asks for os\.system"):
            load(tmp_path / "x.pkl")
    finally:
        copyreg.remove_extension("os", "system", code)
    assert not marker.exists()
    with pytest.raises(UserError, match="a reference to something outside"):
        load(write(tmp_path / "x.pkl", b"Pwhere\n."))


class Liar:
    """Pickles as an array whose state says something else than what it holds."""

    def __init__(self, *state: Any, again: Any = None) -> None:
        self.state = state

    def __reduce__(self) -> Any:
        made = np.arange(1).__reduce__()
        return made[0], made[1], self.state


class LyingType:
    """Pickles as an array's type with a state of its own."""

    def __init__(self, text: str, *state: Any) -> None:
        self.text, self.state = text, state

    def __reduce__(self) -> Any:
        return np.dtype, (self.text, False, True), self.state


BYTE = np.dtype("u1")
HIDDEN_POINTER = LyingType("V8", 3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Liar(1, (1,), HIDDEN_POINTER, False, b"A" * 8), r"an array of the type 'V8'; only arrays of numbers"),
        (Liar(1, (4,), LyingType("U1", 3, "<", None, None, None, 4096, 4, 8), False, b"A" * 4096 * 4), "does not fill"),
        (
            Liar(1, (1 << 40,), BYTE, False, b"abc"),
            r"does not fill an array of uint8 with the shape \(1099511627776,\)",
        ),
        (Liar(1, (1 << 32, 1 << 32), BYTE, False, b""), "does not fill"),
        (Liar(1, (-1, -3), BYTE, False, b"abc"), "is no shape"),
        (Liar(1, (2,), np.dtype("O"), False, b"A" * 16), "does not fill"),
        (Liar(1, (2,), np.dtype("f8"), False, [1, 2]), "does not fill"),
        (Liar(1, (2,), "f8", False, b"A" * 16), "'str' object has no attribute 'dtype'"),
        (np.zeros(2, [("a", "f4")]), "an array of the type 'V4'"),
        (Calls(np.ndarray, (4,)), "'str' object is not callable"),
    ],
)
def test_lies_about_memory_are_refused(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(write(tmp_path / "x.pkl", content))


def test_an_array_is_filled_once(tmp_path: Path) -> None:
    data = pickle.dumps(np.arange(3, dtype=np.uint8), 2)
    state = data[data.index(b"(K\x01") : -1]  # what fills it, ending in b"b"
    with pytest.raises(UserError, match="an array is filled twice"):
        load(write(tmp_path / "x.pkl", data[:-1] + state + b"."))


def test_what_was_read_is_let_go_at_once(tmp_path: Path) -> None:
    content = load(write(tmp_path / "x.pkl", {"audio": np.ones((2, 3))}, 2))
    array = weakref.ref(content["audio"])
    gc.disable()  # so that no cycle may hold it
    try:
        del content
        assert array() is None
    finally:
        gc.enable()


def test_what_is_no_whole_pickle_is_named(tmp_path: Path) -> None:
    whole = pickle.dumps({"audio": np.ones((50, 40))})
    for content in (whole[:-1000], whole[:20], b"", b"PK\x03\x04 a zip file", b"version https://git-lfs.github.com"):
        with pytest.raises(UserError, match=r"x\.pkl: no pickle, or a damaged one .*; compare its size and checksum"):
            load(write(tmp_path / "x.pkl", content))
    with pytest.raises(UserError, match=r"gone\.pkl: can't be read \(No such file"):
        load(tmp_path / "gone.pkl")


# --- there and back ---


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """dataset.h5 with a label for each modality too."""
    folder = tmp_path_factory.mktemp("made")
    make_dataset(folder)
    manifest = read_manifest(folder / "manifest.csv")
    for number, modality in enumerate("TAV"):
        manifest[f"label_{modality}"] = (manifest["label"].astype(float) / (number + 2)).round(2).astype(str)
    manifest.loc[manifest["clip_id"] == "clip001", "text"] = '是的, 很好 "so"'
    manifest.to_csv(folder / "manifest.csv", index=False)
    quality = manifest[["clip_id", "split", "text"]].assign(use="full", message="", segment="ok")
    quality.to_csv(folder / "quality.csv", index=False)
    columns = Columns(text="text", label="label", extra=[f"label_{modality}" for modality in "TAV"])
    dataset = Dataset(root=folder, tables=[{"file": "x.csv"}], columns=columns, task=Intensity(), prompt="Answer:")
    return assembled(folder, dataset, {m: folder / f"{m}.h5" for m in ("acoustic", "facial")})


def assembled(folder: Path, dataset: Dataset, shards: dict[str, Path]) -> Path:
    files = {modality: [path] for modality, path in shards.items()}
    inputs = folder / "manifest.csv", folder / "quality.csv", files, folder / "dataset.h5"
    assemble("made", dataset, *inputs, AssembleSettings())
    return folder / "dataset.h5"


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer like BERT's that knows three words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("bert")
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "it", "is", "so"])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def exported(made: Path, bert: Path) -> Path:
    export_mmsa(made, made.with_name("mmsa.pkl"), bert)
    return made.with_name("mmsa.pkl")


def test_the_loaders_conversions_work_on_every_key(exported: Path, made: Path) -> None:
    content = pickle.loads(exported.read_bytes())
    assert list(content) == list(SPLITS)
    with ClipDataset(made) as dataset:
        for split, data in content.items():
            count = len(dataset.indices(split))
            # MMSA 2.2.1, data_loader.py, with dataset_name = sims, and the same of Self-MM
            text, audio, vision = (data[key].astype(np.float32) for key in ("text_bert", "audio", "vision"))
            labels = {"M": np.array(data["regression_labels"]).astype(np.float32)}
            labels |= {m: data["regression_labels_" + m].astype(np.float32) for m in "TAV"}
            audio[audio == -np.inf] = 0
            assert text.shape == (count, 3, 8) and audio.shape == (count, 16, 5) and vision.shape == (count, 12, 6)
            for index in range(count):
                assert isinstance(data["raw_text"][index], str) and isinstance(data["id"][index], str)
                assert {value[index].reshape(-1).shape for value in labels.values()} == {(1,)}
                for key, padded in (("audio_lengths", audio), ("vision_lengths", vision)):
                    assert type(data[key][index]) is int and 1 <= data[key][index] <= padded.shape[1]
                    assert not padded[index, data[key][index] :].any()
            np.testing.assert_array_equal(data["classification_labels"], np.sign(labels["M"]) + 1)
            signs = ["Negative", "Neutral", "Positive"]
            assert data["annotations"] == [signs[int(np.sign(label)) + 1] for label in labels["M"]]
            assert np.isfinite(audio).all() and np.isfinite(vision).all()
            np.testing.assert_array_equal(text[:, 2], 0)
    train = content["train"]["text_bert"]
    np.testing.assert_array_equal(train[0], [[2, 4, 5, 6, 3, 0, 0, 0], [1, 1, 1, 1, 1, 0, 0, 0], [0] * 8])


def test_the_layout_of_self_mm(made: Path, bert: Path, tmp_path: Path, exported: Path) -> None:
    export_mmsa(made, tmp_path / "x.pkl", bert, layout="self-mm")
    plain = pickle.loads(exported.read_bytes())
    for split, data in pickle.loads((tmp_path / "x.pkl").read_bytes()).items():
        # Self-MM, data/load_data.py: mosi and mosei, then sims
        text, vision, audio = (data[key].astype(np.float32) for key in ("text_bert", "vision", "audio"))
        assert data["id"][:, 0].tolist() == data["ids"] == plain[split]["id"]
        assert data["labels"].astype(np.float32)[0].reshape(-1).shape == (1,)
        for array, name in ((vision, "feature_V"), (audio, "feature_A"), (text, "text_bert")):
            np.testing.assert_array_equal(data[name].astype(np.float32), array)
        for name, like in (("label_M", "regression_labels"), ("label_T", "regression_labels_T")):
            np.testing.assert_array_equal(data[name], plain[split][like])
    size = (tmp_path / "x.pkl").stat().st_size
    assert size < exported.stat().st_size * 1.1  # nothing is stored twice


def test_there_and_back(exported: Path, made: Path, tmp_path: Path) -> None:
    columns = Columns(extra=[f"label_{modality}" for modality in "TAV"])
    released = Released(format="mmsa", files={"all": exported.name})
    dataset = Dataset(root=made.parent, released=released, columns=columns, task=Intensity(), prompt="Answer:")
    import_released("made", dataset, tmp_path)
    assert read_excluded(tmp_path / "manifest.csv").empty
    shards = {m: tmp_path / "features" / m / "0000.h5" for m in ("acoustic", "facial")}
    make_quality(
        tmp_path / "manifest.csv", [], {m: [path] for m, path in shards.items()}, [], True, tmp_path / "quality.csv"
    )
    with ClipDataset(made) as before, ClipDataset(assembled(tmp_path, dataset, shards)) as after:
        place = {clip_id: index for index, clip_id in enumerate(after.clip_ids)}
        order = [place[clip_id] for clip_id in before.clip_ids]
        for name in ("splits", "texts", "labels"):
            assert [getattr(after, name)[index] for index in order] == list(getattr(before, name))
        for name, values in before.extra.items():
            assert [float(after.extra[name][index]) for index in order] == [float(value) for value in values]
        for modality in shards:
            for index, other in enumerate(order):
                wanted = np.nan_to_num(before.raw(modality, index))
                np.testing.assert_array_equal(after.raw(modality, other), wanted)
        assert sum(len(after.raw("facial", index)) == 0 for index in order) == 4


def test_export_without_tokenizer_and_with_a_limit(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export_mmsa(made, tmp_path / "x.pkl", None, max_frames=(14, 100))
    said = capsys.readouterr().err
    content = load(tmp_path / "x.pkl")
    assert "text_bert" not in content["train"] and "no text_bert, since no tokenizer was given" in said
    assert content["train"]["audio"].shape[1] == 14 and max(content["train"]["audio_lengths"]) == 14
    assert content["train"]["vision"].shape[1] == 12
    assert "audio: 16 of 40 clips are cut to 14 frames" in said
    assert "vision: 4 of 40 clips have no frames; each gets one of zeros and the length 1" in said


def test_export_names_what_it_cannot_use(made: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing: no tokenizer .*; expected the folder of a BERT tokenizer"):
        export_mmsa(made, tmp_path / "x.pkl", tmp_path / "nothing")
    with pytest.raises(UserError, match="the corpus has no task"):
        export_mmsa(make_dataset(tmp_path, task=None), tmp_path / "x.pkl", None)
    assert not (tmp_path / "x.pkl").exists()


# --- what is released by others ---


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
    write(folder / "x.pkl", content)
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
        write(folder / f"{split}.pkl", content[split])
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
