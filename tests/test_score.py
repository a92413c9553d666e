"""Any table of predictions, scored by name of a corpus."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error, r2_score

from mse.config import Classes, Config, Intensity, load_dataset
from mse.errors import UserError
from mse.score import score_table
from tests.command_line import mse
from tests.conftest import ROOT

RUN = Config(config_path=[ROOT / "config"])
EMOTIONS = Classes(classes={"neutral": ["neutral"], "joy": ["joy"], "anger": ["anger"]})


def table(folder: Path, predictions: list[object], labels: list[object]) -> Path:
    rows = {"clip_id": [f"c{number}" for number in range(len(labels))], "prediction": predictions, "label": labels}
    pd.DataFrame(rows).to_csv(folder / "predictions.csv", index=False)
    return folder / "predictions.csv"


def columns(corpus: str) -> list[str]:
    task = load_dataset(RUN, corpus).task
    if isinstance(task, Classes):
        return ["accuracy", "weighted_f1", "macro_f1", *(f"f1_{name}" for name in task.names)]
    if corpus.startswith("sims"):
        return ["acc2", "acc2_weak", "acc3", "acc5", "f1", "mae", "corr", "r2"]
    return ["mae", "corr", "acc7", "acc5", "has0_acc2", "has0_f1", "non0_acc2", "non0_f1"]


@pytest.mark.parametrize("corpus", ["mosi", "mosei", "sims", "simsv2", "meld", "cherma", "iemocap", "ravdess", "demo"])
def test_one_row_of_the_corpus_s_metrics(tmp_path: Path, corpus: str) -> None:
    task = load_dataset(RUN, corpus).task
    labels = task.names[:4] if isinstance(task, Classes) else [-0.8, 0.0, 0.4, 1.0]
    path = table(tmp_path, labels, labels)
    done = mse("score", str(path), "--task", corpus, "--config", str(ROOT / "config/config.yaml"))
    assert done.returncode == 0, done.stderr
    shown = pd.read_csv(io.StringIO(done.stdout))
    assert list(shown.columns) == ["n", *columns(corpus), "unparseable"] and len(shown) == 1
    perfect = "accuracy" if isinstance(task, Classes) else "corr"
    assert shown[perfect][0] == 1.0


def test_edges_of_sims_by_hand(tmp_path: Path) -> None:
    """Each interval is closed on the right: 0 is negative, 0.1 neutral, -0.1 negative, 0.7 weakly positive."""
    truth = [0.0, 0.1, -0.1, 0.7, -0.7, 1.0, 0.4]
    guess = [0.1, 0.1, -0.2, 0.8, -0.8, 5.0, 0.5]
    row = score_table(table(tmp_path, guess, truth), Intensity(low=-1, high=1, metrics="sims")).iloc[0]
    assert row["acc2"] == pytest.approx(6 / 7)  # 0.0 against 0.1 alone
    assert row["acc2_weak"] == pytest.approx(3 / 4)  # of 0.0, 0.1, -0.1 and 0.4
    assert row["acc3"] == pytest.approx(7 / 7)
    assert row["acc5"] == pytest.approx(6 / 7)  # 0.7 is weakly positive, 0.8 is not; -0.7 is as negative as -0.8
    assert row["mae"] == pytest.approx((0.1 + 0 + 0.1 + 0.1 + 0.1 + 0.0 + 0.1) / 7)  # 5.0 is clipped to 1
    clipped = np.clip(guess, -1, 1)
    assert row["r2"] == pytest.approx(r2_score(truth, clipped))


def test_agrees_with_scikit_learn(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth, guess = rng.integers(0, 3, 200), rng.integers(0, 3, 200)
    row = score_table(table(tmp_path, [EMOTIONS.names[g] for g in guess], list(truth)), EMOTIONS).iloc[0]
    assert row["accuracy"] == pytest.approx(accuracy_score(truth, guess))
    assert row["weighted_f1"] == pytest.approx(f1_score(truth, guess, average="weighted"))
    assert row["macro_f1"] == pytest.approx(f1_score(truth, guess, average="macro"))
    values, guesses = rng.uniform(-3, 3, 200).round(1), rng.uniform(-3, 3, 200).round(1)
    row = score_table(table(tmp_path, list(guesses), list(values)), Intensity()).iloc[0]
    assert row["mae"] == pytest.approx(mean_absolute_error(values, guesses))
    assert row["has0_f1"] == pytest.approx(f1_score(values >= 0, guesses >= 0, average="weighted"))


def test_empty_predictions_are_counted_and_scored(tmp_path: Path) -> None:
    row = score_table(table(tmp_path, ["joy", "", "anger"], ["joy", "joy", "2"]), EMOTIONS).iloc[0]
    assert (row["accuracy"], row["unparseable"], row["n"]) == (pytest.approx(2 / 3), 1, 3)
    path = table(tmp_path, [1.0, ""], [1.0, 2.0])
    with pytest.raises(UserError, match=r"predictions\.csv: 1 predictions are empty; .* --training-mean"):
        score_table(path, Intensity())
    assert score_table(path, Intensity(), training_mean=0.5).iloc[0]["mae"] == pytest.approx((0 + 1.5) / 2)


@pytest.mark.parametrize(
    ("content", "task", "message"),
    [
        ("clip_id,label\na,1\n", Intensity(), "the columns clip_id, prediction and label; prediction is missing"),
        ("id,prediction,label\na,1,1\n", Intensity(), "the column 'clip_id' is missing"),
        ("clip_id,prediction,label\n", Intensity(), "there is no clip"),
        ("clip_id,prediction,label\na,1,1\na,1,1\n", Intensity(), "the clip 'a' stands there twice"),
        ("clip_id,prediction,label\na,1,\n", Intensity(), "the clip 'a' has no label"),
        ("clip_id,prediction,label\na,much,1\n", Intensity(), "prediction of 'a' is 'much'; expected a number"),
        ("clip_id,prediction,label\na,inf,1\n", Intensity(), "prediction of 'a' is 'inf'; expected a number"),
        (
            "clip_id,prediction,label\na,joy,3\n",
            EMOTIONS,
            "label of 'a' is '3'; expected neutral or 0, joy or 1, anger or 2",
        ),
        ("clip_id,prediction,label\na,Joy,joy\n", EMOTIONS, "prediction of 'a' is 'Joy'; expected neutral or 0"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, content: str, task: Classes | Intensity, message: str) -> None:
    (tmp_path / "predictions.csv").write_text(content)
    with pytest.raises(UserError) as caught:
        score_table(tmp_path / "predictions.csv", task)
    assert "predictions.csv: " in str(caught.value) and message in str(caught.value)


def test_several_tables_are_named_by_their_folders(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        table(tmp_path / name, [1.0, -1.0], [1.0, 2.0])
    paths = [str(tmp_path / name / "predictions.csv") for name in ("a", "b")]
    out = tmp_path / "out.csv"
    assert mse("score", *paths, "--task", "mosi", "--out", str(out)).returncode == 0
    assert pd.read_csv(out)["run"].tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "error: mse score: give either --dataset or --task"),
        (["--task", "mosie"], "error: no mosie.yaml in config/datasets; there is cherma, "),
        (["--task", "videos"], "error: the corpus videos has no task, and so no metrics"),
        (["--dataset", "x.h5"], "error: mse score --dataset: give --out, the table to write"),
    ],
)
def test_command_s_mistakes(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = mse("score", str(table(tmp_path, [1.0], [1.0])), *arguments)
    assert done.returncode == 1 and done.stderr.startswith(message)
