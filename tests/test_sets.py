"""Several sets of acoustic features: made by name, put side by side on one clock, chosen by an experiment."""

import json
import shutil
from pathlib import Path

import numpy as np
import opensmile
import pandas as pd
import pytest

from mse.assemble import assemble
from mse.clock import side_by_side
from mse.config import (
    AdapterSettings,
    AssembleSettings,
    Columns,
    Config,
    Dataset,
    Intensity,
    OpenSmileSettings,
    SpeechModelSettings,
    Table,
    acoustic_settings,
    parse,
)
from mse.config.settings import OPENSMILE_SETS
from mse.data import ClipDataset
from mse.errors import UserError
from mse.extract import not_all_failed
from mse.features.acoustic import OpenSmileExtractor
from mse.quality import make_quality, read_quality
from mse.store import Clip, Description, Status, write_shard
from mse.train import train
from tests.conftest import tone
from tests.made import make_dataset
from tests.test_train import MARKS, SETTINGS, SHAPE


def test_the_clock_is_the_fastest_sets() -> None:
    fast = np.arange(8, dtype=np.float32)[:, None]  # 20 Hz
    slow = np.array([[10, 11], [20, 21]], np.float32)  # 5 Hz: a frame for four
    whole = np.array([[7]], np.float32)  # one for the clip
    joined = side_by_side([fast, slow, whole], [20.0, 5.0, 0.001])
    assert joined.shape == (8, 4)
    np.testing.assert_array_equal(joined[:, 0], np.arange(8))
    np.testing.assert_array_equal(joined[:, 1], [10] * 4 + [20] * 4)
    assert (joined[:, 3] == 7).all()


def test_sets_that_end_apart_or_are_missing_are_unknown_there() -> None:
    fast, short = np.ones((10, 1), np.float32), np.full((4, 1), 2, np.float32)
    joined = side_by_side([fast, short], [10.0, 10.0])
    np.testing.assert_array_equal(joined[:5, 1], [2] * 5)  # the last frame is held for one more
    assert np.isnan(joined[5:, 1]).all()
    assert np.isnan(side_by_side([fast, short[:0]], [10.0, 20.0])[:, 1]).all()
    assert side_by_side([short[:0], short[:0]], [10.0, 20.0]).shape == (0, 2)


def test_a_slow_set_does_not_lengthen_the_clip() -> None:
    fast, slow = np.ones((110, 1), np.float32), np.ones((2, 1), np.float32)  # 5.5 s at 20 Hz, 10 s at 0.2 Hz
    joined = side_by_side([fast, slow], [20.0, 0.2])
    assert joined.shape == (110, 2) and not np.isnan(joined).any()


def test_rates_that_do_not_divide() -> None:
    slow = np.arange(3, dtype=np.float32)[:, None]  # 3 Hz
    joined = side_by_side([np.zeros((10, 1), np.float32), slow], [10.0, 3.0])
    np.testing.assert_array_equal(joined[:, 1], [0, 0, 0, 0, 1, 1, 1, 2, 2, 2])


def test_the_list_of_opensmile_sets_is_opensmiles_own() -> None:
    assert sorted(OPENSMILE_SETS) == sorted(feature_set.name for feature_set in opensmile.FeatureSet)


@pytest.mark.parametrize("name", ["eGeMAPSv02", "ComParE_2016", "emobase", "IS10"])
@pytest.mark.parametrize("level", ["descriptors", "functionals"])
def test_values_are_opensmiles_own(name: str, level: str) -> None:
    samples = tone(1.0)
    values, valid = OpenSmileExtractor(OpenSmileSettings(feature_set=name, level=level, rate_hz=100))(samples)
    levels = opensmile.FeatureLevel
    smile = opensmile.Smile(
        feature_set=opensmile.FeatureSet[name],
        feature_level=levels.Functionals if level == "functionals" else levels.LowLevelDescriptors,
    )
    expected = smile.process_signal(samples.astype(np.float32) / 32768, 16_000).to_numpy(np.float32)
    assert values.shape == expected.shape and valid.any()
    np.testing.assert_array_equal(values[valid], expected[valid])


def test_functionals_of_windows_are_those_of_the_cut_sound() -> None:
    samples = np.concatenate([tone(2.0, 150.0), tone(2.0, 300.0)])
    settings = OpenSmileSettings(level="functionals", rate_hz=2.0, window_s=1.0)
    extractor = OpenSmileExtractor(settings)
    values, valid = extractor(samples)
    assert len(values) == 8 and valid.all()
    alone, _ = OpenSmileExtractor(OpenSmileSettings(level="functionals"))(samples[12_000:28_000])  # around 1.25 s
    np.testing.assert_array_equal(values[2], alone[0])
    pitch = values[:, extractor.feature_names.index("F0semitoneFrom27.5Hz_sma3nz_amean")]
    assert pitch[1] < pitch[6] - 8  # an octave is 12 semitones


def with_second_set(folder: Path, missing: tuple[str, ...] = ()) -> dict[str, list[Path]]:
    """A made dataset whose sound is described by two sets; some clips lack the second."""
    make_dataset(folder)
    names = pd.read_csv(folder / "manifest.csv")["clip_id"]
    described = Description("made", "acoustic", "second", ["g0", "g1"], 5.0, settings={"second": True})
    clips = []
    for number, name in enumerate(names):
        absent = name in missing
        values = np.zeros((0, 2)) if absent else np.full((6, 2), number)
        status = Status.failed if absent else Status.ok
        clips.append(Clip(name, values.astype(np.float32), np.ones(len(values), bool), status, "too odd" * absent))
    write_shard(folder / "second.h5", described, clips)
    return {
        "acoustic/first": [folder / "acoustic.h5"],
        "acoustic/second": [folder / "second.h5"],
        "facial": [folder / "facial.h5"],
    }


def assembled(folder: Path, shards: dict[str, list[Path]]) -> Path:
    columns = Columns(text="text", label="label")
    dataset = Dataset(root=folder, tables=[Table(file="t.csv")], columns=columns, task=Intensity(), prompt="?")
    make_quality(folder / "manifest.csv", [], shards, [], "corpus", folder / "quality.csv")
    inputs = (folder / "manifest.csv", folder / "quality.csv", shards, folder / "dataset.h5")
    assemble("made", dataset, *inputs, AssembleSettings())
    return folder / "dataset.h5"


def test_an_experiment_chooses_sets_or_hears_all(tmp_path: Path, tiny_llm: Path) -> None:
    path = assembled(tmp_path, with_second_set(tmp_path))
    with (
        ClipDataset(path) as every,
        ClipDataset(path, acoustic_sets=["second"]) as one,
        ClipDataset(path, acoustic_sets=["second", "first"]) as turned,
    ):
        assert [d.widths["acoustic"] for d in (every, one, turned)] == [7, 2, 7]
        assert every.raw("acoustic", 3).shape == (15, 7)  # 15 frames at 10 Hz beside 6 at 5 Hz
        np.testing.assert_array_equal(every.raw("acoustic", 3)[:12, 5:], np.full((12, 2), 3))
        assert np.isnan(every.raw("acoustic", 3)[14, 5:]).all()
        np.testing.assert_array_equal(turned.raw("acoustic", 3)[:, 2:], every.raw("acoustic", 3)[:, :5])
        np.testing.assert_allclose(turned[3].acoustic[:, :2], every[3].acoustic[:, 5:])
        assert len({d.feature_digests["acoustic"] for d in (every, one, turned)}) == 3
    shape = SHAPE.model_copy(update={"acoustic_sets": ["second"]})
    settings = SETTINGS.model_copy(update={"schedule_epochs": 1})
    train(path, tiny_llm, "tiny", MARKS, shape, settings, 1, tmp_path / "adapter", tmp_path / "history.csv")
    saved = json.loads((tmp_path / "adapter" / "config.json").read_text())
    assert saved["acoustic_width"] == 2 and saved["settings"]["acoustic_sets"] == ["second"]


def test_a_set_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = assembled(tmp_path, with_second_set(tmp_path))
    with pytest.raises(UserError, match=r"no acoustic set third \(adapter\.acoustic_sets\); it has first, second"):
        ClipDataset(path, acoustic_sets=["third"])


def test_a_clip_that_lacks_one_set_keeps_the_other(tmp_path: Path) -> None:
    path = assembled(tmp_path, with_second_set(tmp_path, missing=("clip002", "clip005")))
    quality = read_quality(tmp_path / "quality.csv").set_index("clip_id")
    row = quality.loc["clip002"]
    assert (row["acoustic"], row["acoustic_first"], row["acoustic_second"]) == ("ok", "ok", "failed")
    assert "too odd" in row["message"] and row["use"] == "full"
    with ClipDataset(path) as dataset:
        place = dataset.clip_ids.index("clip002")
        assert np.isnan(dataset.raw("acoustic", place)[:, 5:]).all()
        assert not dataset[place].acoustic[:, 5:].any() and dataset[place].acoustic[:, :5].any()


def test_settings_of_sets() -> None:
    made = parse(Config, {"acoustic": {"w": {"model": "a/b", "layers": [6, 7]}, "egemaps": {"rate_hz": 10}}}, "x")
    assert isinstance(made.acoustic_sets["w"], SpeechModelSettings)
    assert isinstance(made.acoustic_sets["egemaps"], OpenSmileSettings)
    assert list(parse(Config, {"acoustic": {"egemaps": None, "w": {"model": "a/b"}}}, "x").acoustic_sets) == ["w"]
    assert acoustic_settings('{"feature_set": "IS10"}') == OpenSmileSettings(feature_set="IS10")
    assert AdapterSettings().acoustic_sets == []


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"acoustic": {"egemaps": None}}, "no set is left"),
        ({"acoustic": {"a": {"feature_set": "IS99"}}}, "openSMILE has no feature_set 'IS99'; it has ComParE_2016, "),
        ({"acoustic": {"a": {"window_s": 2}}}, "window_s is for functionals"),
        ({"acoustic": {"a": {"kind": "mfcc"}}}, "kind must be opensmile or speech_model"),
        ({"acoustic": {"a": {"model": "x/y", "layers": [3, 3]}}}, "one stands there twice"),
        ({"acoustic": {"a": {"model": "x/y", "weights": [1, 2]}}}, "weights has 2 entries, layers 1"),
        ({"acoustic": {"a/b": {"feature_set": "IS10"}}}, "a/b"),
        ({"acoustic": {"a": {"feature_sets": "IS10"}}}, "feature_sets"),
    ],
)
def test_mistakes_in_sets_are_named(values: dict[str, object], told: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(Config, values, "config.yaml")
    assert told in str(caught.value)


def test_a_stage_that_failed_on_many_clips_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the stage acoustic failed on 12 of 40 clips.*too odd"):
        shards = with_second_set(tmp_path, missing=tuple(f"clip{n:03d}" for n in range(12)))
        assembled(tmp_path, {"acoustic/second": shards["acoustic/second"], "facial": shards["facial"]})


def test_many_failures_and_nothing_else_are_not_kept() -> None:
    none = np.zeros((0, 1), np.float32), np.zeros(0, bool)
    failed = [Clip(f"c{n}", *none, Status.failed, "out of memory") for n in range(6)]
    with pytest.raises(UserError, match=r"s\.h5: all 6 clips failed, the last with: out of memory"):
        list(not_all_failed(failed, "s.h5"))
    fine = Clip("fine", np.ones((1, 1), np.float32), np.ones(1, bool))
    assert len(list(not_all_failed([*failed, fine], "s.h5"))) == 7
    assert len(list(not_all_failed(failed[:2], "s.h5"))) == 2


def test_limits_of_quality_make_a_modality_unfit(tmp_path: Path) -> None:
    from mse.config import QualitySettings

    make_dataset(tmp_path)
    shutil.copy(tmp_path / "facial.h5", tmp_path / "f.h5")
    shards = {"acoustic": [tmp_path / "acoustic.h5"], "facial": [tmp_path / "f.h5"]}
    limits = QualitySettings(min_face_share=0.88, min_snr_db=5.0)  # 1 of 8 to 12 pictures is unmeasured
    make_quality(tmp_path / "manifest.csv", [], shards, [], "corpus", tmp_path / "quality.csv", settings=limits)
    quality = read_quality(tmp_path / "quality.csv").set_index("clip_id")
    short = quality["facial_coverage"] < 0.88
    assert short.any() and not short.all()
    assert (quality["unfit"] == "facial").equals(short)  # what is not known keeps every limit
    assert "facial not used: facial_coverage 0.875, quality.min_face_share = 0.88" in quality[short]["message"].iloc[0]
    columns = Columns(text="text", label="label")
    dataset = Dataset(root=tmp_path, tables=[Table(file="t.csv")], columns=columns, task=Intensity(), prompt="?")
    inputs = (tmp_path / "manifest.csv", tmp_path / "quality.csv", shards, tmp_path / "dataset.h5")
    assemble("made", dataset, *inputs, AssembleSettings())
    with ClipDataset(tmp_path / "dataset.h5") as clips:
        for index, clip_id in enumerate(clips.clip_ids):
            usable = not short[clip_id] and quality.loc[clip_id, "facial"] == "ok"
            assert bool(len(clips.raw("facial", index))) == usable
            assert len(clips.raw("acoustic", index))
