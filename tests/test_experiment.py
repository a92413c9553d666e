"""The tables of an experiment: a row for each model, run and decoding, intervals, tests."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mse.errors import UserError
from mse.plots.runs import comparison
from mse.score import score
from tests.command_line import mse
from tests.conftest import ROOT
from tests.made import make_dataset

N = 60  # test clips of the made corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("corpus"), clips=4 * N)


def labels(corpus: Path) -> pd.Series:
    manifest = pd.read_csv(corpus.parent / "manifest.csv", dtype={"label": float})
    return manifest[manifest["split"] == "test"].set_index("clip_id")["label"]


def write(folder: Path, model: str, run: str, truth: pd.Series, error: object, decodings: bool = True) -> Path:
    """Predictions that are off by an error, in all decodings."""
    table = pd.DataFrame({"clip_id": truth.index, "prediction": (truth + error).to_numpy(), "label": truth.to_numpy()})
    if decodings:
        table = table.assign(generate=table["prediction"], constrained=table["prediction"] + 0.5)
        table = table.assign(expected=table["prediction"])
    path = folder / model / run / "predictions.csv"
    path.parent.mkdir(parents=True)
    table.assign(text="").to_csv(path, index=False)
    return path


def test_rows_of_all_models(corpus: Path, tmp_path: Path) -> None:
    truth = labels(corpus)
    first = write(tmp_path, "llm", "seed-1", truth, 0.1)
    table = pd.read_csv(first)
    table.loc[0, "generate"] = np.nan  # an answer that was no number
    table.to_csv(first, index=False)
    paths = [
        first,
        write(tmp_path, "llm", "seed-2", truth, 0.3),
        write(tmp_path, "text-only", "seed-1", truth, 1.0),
        write(tmp_path, "text-only", "seed-2", truth, 1.4),
        write(tmp_path, "linear", "single", truth, 0.7, decodings=False),
    ]
    score(corpus, paths, tmp_path / "metrics.csv", tmp_path / "intervals.csv", samples=200)
    metrics = pd.read_csv(tmp_path / "metrics.csv", keep_default_na=False, na_values={"corr": "", "mae": ""})
    named = [*zip(metrics["model"], metrics["decoding"], metrics["run"], strict=True)]
    runs = ["seed-1", "seed-2", "mean", "sd"]
    assert named == [
        *(("llm", way, run) for way in ("generate", "constrained", "expected") for run in runs),
        ("text-only", "expected", "mean"),
        ("text-only", "expected", "sd"),
        ("linear", "", "single"),
        ("constant", "", "single"),
    ]
    mae = {name: value for name, value in zip(named, metrics["mae"], strict=True)}
    train = pd.read_csv(corpus.parent / "manifest.csv").query("split == 'train'")["label"].mean()
    missed = abs(truth.iloc[0] - train)
    assert mae["llm", "generate", "seed-1"] == pytest.approx((missed + 0.1 * (N - 1)) / N, abs=1e-4)
    assert mae["llm", "constrained", "mean"] == pytest.approx(0.7, abs=1e-4)
    assert mae["llm", "expected", "sd"] == pytest.approx(0.2 / 2**0.5, abs=1e-4)
    assert mae["text-only", "expected", "mean"] == pytest.approx(1.2, abs=1e-4)
    assert mae["constant", "", "single"] == pytest.approx((truth - train).abs().mean(), abs=1e-4)
    unparseable = dict(zip(named, metrics["unparseable"], strict=True))
    assert unparseable["llm", "generate", "seed-1"] == 1 and unparseable["llm", "expected", "seed-1"] == 0
    assert set(metrics["unparseable_scored_as"]) == {f"training mean {train:.3f}"} and set(metrics["n"]) == {N}


def test_intervals_and_tests_against_the_first_model(corpus: Path, tmp_path: Path) -> None:
    truth, noise = labels(corpus), np.random.default_rng(1)
    paths = [
        write(tmp_path, "llm", "seed-1", truth, noise.normal(0, 0.5, N)),
        write(tmp_path, "alike", "seed-1", truth, noise.normal(0, 0.5, N)),
        write(tmp_path, "worse", "seed-1", truth, noise.normal(0, 2.0, N)),
    ]
    score(corpus, paths, tmp_path / "metrics.csv", tmp_path / "intervals.csv", samples=1000)
    rows = pd.read_csv(tmp_path / "intervals.csv", keep_default_na=False, na_values={"p": ""})
    mae = rows[rows["metric"] == "mae"].astype({"value": float, "low": float, "high": float, "difference": float})
    by = {(row.model, row.decoding): row for row in mae.itertuples()}
    assert len(by) == 3 + 2 + 1
    for row in by.values():
        assert row.low < row.value < row.high
    itself, alike, worse = by["llm", "expected"], by["alike", "expected"], by["worse", "expected"]
    assert itself.difference == 0 and itself.p == 1
    assert alike.p > 0.05 and worse.p < 0.01
    assert worse.difference == pytest.approx(worse.value - itself.value, abs=1e-4)
    assert float(worse.difference_low) > 0


def test_models_are_drawn_the_same_twice(corpus: Path, tmp_path: Path) -> None:
    truth, noise = labels(corpus), np.random.default_rng(1)
    paths = [write(tmp_path, name, "1", truth, noise.normal(0, sd, N)) for name, sd in (("llm", 0.5), ("text-only", 1))]
    score(corpus, paths, tmp_path / "m.csv", tmp_path / "intervals.csv", samples=50)
    for out in ("a.svg", "b.svg"):
        comparison(tmp_path / "intervals.csv", tmp_path / out)
    drawn = (tmp_path / "a.svg").read_text()
    assert drawn == (tmp_path / "b.svg").read_text()
    for name in ("llm (generate)", "llm (expected)", "text-only (expected)", "constant", "MAE", "correlation"):
        assert f"<!-- {name}" in drawn
    with pytest.raises(UserError, match=r"m\.csv: not a table of `mse score`; the column 'metric' is missing"):
        comparison(tmp_path / "m.csv", tmp_path / "c.svg")


def test_collapsed_run_is_not_left_out_of_the_mean(corpus: Path, tmp_path: Path) -> None:
    truth = labels(corpus)
    paths = [write(tmp_path, "llm", "a", truth, 0.0), write(tmp_path, "llm", "b", truth, 0.0)]
    table = pd.read_csv(paths[1])
    table.assign(expected=0.5).to_csv(paths[1], index=False)
    score(corpus, paths, tmp_path / "m.csv")
    metrics = pd.read_csv(tmp_path / "m.csv").query("decoding == 'expected'").set_index("run")
    assert metrics.loc["a", "corr"] == 1.0
    assert np.isnan(metrics.loc[["b", "mean", "sd"], "corr"]).all()


def test_tables_of_other_clips_are_not_mixed(corpus: Path, tmp_path: Path) -> None:
    truth = labels(corpus)
    paths = [write(tmp_path, "llm", "a", truth, 0.0), write(tmp_path, "llm", "b", truth.iloc[1:], 0.0)]
    with pytest.raises(UserError, match="not the clips of the test split"):
        score(corpus, paths, tmp_path / "m.csv")


def test_labels_that_changed_and_two_tables_of_one_run_are_refused(corpus: Path, tmp_path: Path) -> None:
    truth = labels(corpus)
    first = write(tmp_path, "llm", "seed-1", truth, 0.1)
    with pytest.raises(UserError, match=r"another table of the model llm and run seed-1 was given"):
        score(corpus, [first, write(tmp_path / "b", "llm", "seed-1", truth, 0.2)], tmp_path / "m.csv")
    with pytest.raises(UserError, match="not the labels of"):
        score(corpus, [first, write(tmp_path, "llm", "seed-2", truth.round(), 0.2)], tmp_path / "m.csv")


def test_variant_with_a_decoding_of_its_own_is_shown_in_it_too(corpus: Path, tmp_path: Path) -> None:
    truth = labels(corpus)
    first, paper = (write(tmp_path, name, "seed-1", truth, 0.1) for name in ("llm", "paper"))
    table = pd.read_csv(paper)
    table["prediction"] = table["generate"] = table["label"] + 0.3
    table.to_csv(paper, index=False)
    score(corpus, [first, paper], tmp_path / "m.csv")
    mae = pd.read_csv(tmp_path / "m.csv").set_index(["model", "decoding"])["mae"]
    assert mae["paper", "expected"] == pytest.approx(0.1, abs=1e-4)
    assert mae["paper", "generate"] == pytest.approx(0.3, abs=1e-4)
    assert len(mae.loc["paper"]) == 2


def test_any_two_models_are_compared(corpus: Path, tmp_path: Path) -> None:
    truth, noise = labels(corpus), np.random.default_rng(2)
    good, other = (write(tmp_path, "good", run, truth, noise.normal(0, 0.3, N), False) for run in ("1", "2"))
    bad = write(tmp_path, "bad", "1", truth.iloc[::-1], noise.normal(0, 1.5, N), False)
    config = ["--task", "mosi", "--config", str(ROOT / "config/config.yaml"), "--samples", "300"]
    done = mse("compare", str(good), str(other), "--against", str(bad), *config, "--out", str(tmp_path / "c.csv"))
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "c.csv").set_index("metric")
    assert list(table.columns) == ["value", "low", "high", "difference", "difference_low", "difference_high", "p"]
    assert table.loc["mae", "difference"] < -0.5 and table.loc["mae", "p"] < 0.01
    twice = pd.read_csv(good).assign(expected=lambda t: t["label"])
    twice.to_csv(good, index=False)
    done = mse("compare", str(good), "--against", str(good), "--column", "expected", *config)
    assert done.returncode == 0 and done.stdout.splitlines()[1].startswith("mae,0.0000,")
    fewer = write(tmp_path, "fewer", "1", truth.iloc[1:], 0.0, False)
    done = mse("compare", str(good), "--against", str(fewer), *config)
    assert done.returncode == 1 and "not the same clips and labels" in done.stderr


def test_best_epochs_on_the_validation_split(tmp_path: Path) -> None:
    for model, run, errors in (("a", "1", [3, 1, 2]), ("a", "2", [3, 2, 4]), ("b", "1", [5, 6, np.nan])):
        (tmp_path / model / run).mkdir(parents=True)
        history = {"epoch": [1, 2, 3, 4], "pretrain_loss": [0.7, np.nan, np.nan, np.nan], "train_loss": 0.0}
        history |= {"valid_mae": [np.nan, *errors], "valid_corr": [np.nan, 0.1, 0.2, 0.3]}
        history["valid_f1"] = [np.nan, 0.5, 0.5 if run == "1" else np.nan, 0.5]  # undefined in one run's best epoch
        pd.DataFrame(history).to_csv(tmp_path / model / run / "history.csv", index=False)
    paths = [str(path) for path in sorted(tmp_path.rglob("history.csv"))]
    done = mse("validation", *paths, "--out", str(tmp_path / "v.csv"))
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "v.csv").set_index("model")
    assert table["runs"].tolist() == [2, 1] and table["valid_mae"].tolist() == [1.5, 5.0]
    assert table["valid_corr"].tolist() == [0.2, 0.1] and table["epoch"].tolist() == [3, 2]
    assert np.isnan(table.loc["a", "valid_f1"]) and table.loc["b", "valid_f1"] == 0.5
    assert table.loc["a", "valid_mae_sd"] == pytest.approx(0.5**0.5, abs=1e-4)
    assert not {"pretrain_loss", "train_loss"} & set(table)
    shutil.copytree(tmp_path / "b", tmp_path / "old/b")
    done = mse("validation", *paths, str(tmp_path / "old/b/1/history.csv"))
    assert done.returncode == 1 and "the same model and run as" in done.stderr
    done = mse("validation", *paths, "--key", "accuracy")
    assert done.returncode == 1 and "history.csv: no valid_accuracy; --key takes one of its columns" in done.stderr
    (tmp_path / "a/1/history.csv").write_text("epoch,pretrain_loss\n1,0.7\n")
    done = mse("validation", *paths)
    assert done.returncode == 1 and "1/history.csv: no epoch with the LLM yet" in done.stderr
    done = mse("plot", "training", *paths, "--out", str(tmp_path / "t.svg"))
    assert done.returncode == 1 and "1/history.csv: no epoch with the LLM yet" in done.stderr
