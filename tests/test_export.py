"""Features exported in the layouts of MMSA and Self-MM, and imported again."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from mse.assemble import assemble
from mse.config import AssembleSettings, Classes, Columns, Dataset, Intensity, Released
from mse.corpus import read_excluded, read_manifest
from mse.data import ClipDataset
from mse.errors import UserError
from mse.export import export_mmsa
from mse.quality import make_quality
from mse.released import import_released
from mse.unpickle import load
from tests.made import make_dataset

SPLITS = ("train", "valid", "test")
EMOTIONS = Classes(classes={"angry": ["anger"], "calm": ["neutral", "peace"]})


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
        tmp_path / "manifest.csv", [], {m: [path] for m, path in shards.items()}, [], "corpus", tmp_path / "quality.csv"
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
