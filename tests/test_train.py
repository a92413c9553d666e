"""Training, predicting and scoring with a tiny random LLM, through the real code."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from mse.adapter import AdapterConfig, MSEAdapter
from mse.backbones.llm import FrozenLLM
from mse.config import AdapterSettings, Backbone, Classes, Intensity, TrainSettings
from mse.errors import UserError
from mse.metrics import Scorer
from mse.plots.answers import predictions
from mse.plots.corpus import quality
from mse.plots.runs import training
from mse.predictions import answer_split, read_predictions, write_predictions
from mse.score import score
from mse.sealed import seal
from mse.train import Trainer, cosine_with_warmup, run_epochs, train
from tests.made import make_dataset

MARKS = Backbone(
    folder=Path("tiny"), license="none", dtype="float32", open_mark="[", close_mark="]", explicit_plus=True
)
SETTINGS = TrainSettings(pretrain_epochs=1, schedule_epochs=2, batch_size=7, learning_rate=3e-3, threads=1)
SHAPE = AdapterSettings(acoustic_hidden=8, facial_hidden=8, fusion_width=16)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_llm: Path) -> Callable[..., Path]:
    """Train and predict once for each set of settings; returns the run's folder."""
    data = make_dataset(tmp_path_factory.mktemp("data"))

    def once(name: str, seed: int = 1, **changes: object) -> Path:
        out = data.parent / name
        settings = SETTINGS.model_copy(update=changes)
        train(data, tiny_llm, "tiny", MARKS, SHAPE, settings, seed, out / "adapter", out / "history.csv")
        answer_split(data, tiny_llm, MARKS, out / "adapter", settings, out / "predictions.csv")
        return out

    return once


def test_same_seed_same_bytes_other_seed_others(run: Callable[..., Path]) -> None:
    names = ["adapter/adapter.safetensors", "adapter/config.json", "history.csv", "predictions.csv"]
    first, second, other = ([(run(n, s) / f).read_bytes() for f in names] for n, s in (("a", 1), ("b", 1), ("c", 2)))
    assert first == second
    assert first[0] != other[0]


def test_adapter_learns(run: Callable[..., Path]) -> None:
    """Through the LLM alone, from random weights."""
    folder = run("learns", pretrain_epochs=0, schedule_epochs=30, patience_epochs=30, learning_rate=0.02)
    history = pd.read_csv(folder / "history.csv")
    assert "pretrain_loss" not in history
    losses = history["train_loss"]
    assert len(losses) == 30 and losses.iloc[-1] < 0.6 * losses.iloc[0]
    table = pd.read_csv(folder / "predictions.csv")  # of clips that it was not trained on
    assert table["prediction"].corr(table["label"]) > 0.8
    assert history["epoch"].tolist() == list(range(1, len(history) + 1))


class Rehearsed(Trainer):
    """A trainer whose epochs write their number into the adapter, and whose validation errors are given."""

    def __init__(self, errors: list[float], **settings: object) -> None:
        self.errors = errors
        self.settings = TrainSettings(**settings)  # type: ignore[arg-type]
        self.scorer = Scorer(Intensity(), np.zeros(1))
        self.adapter = MSEAdapter(AdapterConfig(acoustic_width=2, facial_width=2, text_width=32))

    @property
    def parts(self) -> dict[str, Any]:
        return {"adapter": self.adapter}

    def epoch(self, number: int) -> float:
        torch.nn.init.constant_(self.adapter.fusion.expand.bias, float(number))
        return 1.0

    def validate(self) -> dict[str, float]:
        return {"mae": self.errors.pop(0), "corr": 0.0, "unparseable": 0}


@pytest.mark.parametrize("before", [0, 3])
@pytest.mark.parametrize(
    ("errors", "patience", "epochs", "best"),
    [([3, 2, 1, 4, 5, 0.1], 2, 5, 3), ([3, 2, 1], 2, 3, 3), ([1, 2, 2, 2], 3, 4, 1), ([2, 2, 1, 3], 5, 4, 3)],
)
def test_best_epoch_is_kept_and_patience_ends_the_run(
    errors: list[float], patience: int, epochs: int, best: int, before: int, tmp_path: Path
) -> None:
    worse = [9.0] if before else []  # after the epochs without the LLM
    trainer = Rehearsed(
        [*worse, *errors], patience_epochs=patience, schedule_epochs=len(errors), pretrain_epochs=before
    )
    run_epochs(trainer, tmp_path, "run", tmp_path / "history.csv")
    history = pd.read_csv(tmp_path / "history.csv")
    assert history["epoch"].tolist() == list(range(1, before + epochs + 1))
    assert history["valid_mae"].dropna().tolist() == [*worse, *errors[:epochs]]
    assert trainer.adapter.fusion.expand.bias.tolist() == [float(before + best)] * 4


def test_adapter_stays_as_it_was_without_the_llm_where_that_was_best(tmp_path: Path) -> None:
    trainer = Rehearsed([1, 2, 2, 0], patience_epochs=2, schedule_epochs=3, pretrain_epochs=3)
    run_epochs(trainer, tmp_path, "run", tmp_path / "history.csv")
    assert pd.read_csv(tmp_path / "history.csv")["valid_mae"].dropna().tolist() == [1, 2, 2]
    assert trainer.adapter.fusion.expand.bias.tolist() == [3.0] * 4


@pytest.mark.parametrize("placement", ["before_text", "after_text"])
def test_answers_are_the_same_of_the_process_that_trained(placement: str, tmp_path: Path, tiny_llm: Path) -> None:
    """What was read beforehand for training does not show in them, not in the last digit."""
    data, shape = make_dataset(tmp_path), SHAPE.model_copy(update={"placement": placement})
    folder = tmp_path / "adapter"
    llm = train(data, tiny_llm, "tiny", MARKS, shape, SETTINGS, 1, folder, tmp_path / "history.csv")
    for name, loaded in (("same", llm), ("other", None)):
        answer_split(data, tiny_llm, MARKS, folder, SETTINGS, tmp_path / f"{name}.csv", llm=loaded)
    assert (tmp_path / "same.csv").read_bytes() == (tmp_path / "other.csv").read_bytes()


def test_adapter_describes_itself_and_refuses_other_features(run: Callable[..., Path], tiny_llm: Path) -> None:
    folder = run("described")
    config = MSEAdapter.from_pretrained(folder / "adapter").config
    assert (config.backbone, config.dataset, config.seed) == ("tiny", "made", 1)
    assert config.train == SETTINGS
    other = folder / "other.h5"
    other.write_bytes((folder.parent / "dataset.h5").read_bytes())
    with h5py.File(other, "r+") as file:
        file["facial/facial"].attrs["settings_digest"] = np.bytes_("0" * 16)
    seal(other)
    with pytest.raises(UserError, match="trained on facial features of other settings"):
        answer_split(other, tiny_llm, MARKS, folder / "adapter", SETTINGS, folder / "p.csv")


def test_adapter_refuses_features_and_llms_of_other_widths(run: Callable[..., Path], tiny_llm: Path) -> None:
    folder = run("widths")
    adapter = MSEAdapter.from_pretrained(folder / "adapter").config
    for changed, message in (
        ({"acoustic_width": 7}, r"imported: reads 7 acoustic features of a frame, but .*dataset\.h5 has \d+"),
        ({"text_width": 8}, r"imported: made for an LLM with a hidden size of 8, not \d+ as in"),
    ):
        foreign = adapter.model_copy(update={"feature_digests": {}, "reading": {}, "llm_source": {}, **changed})
        MSEAdapter(foreign).save_pretrained(folder / "imported")
        with pytest.raises(UserError, match=message):
            answer_split(folder.parent / "dataset.h5", tiny_llm, MARKS, folder / "imported", None, folder / "p.csv")


def test_settings_given_for_answers_lie_over_those_of_training(run: Callable[..., Path], tiny_llm: Path) -> None:
    folder = run("over", decoding="constrained")
    answer_split(
        folder.parent / "dataset.h5",
        tiny_llm,
        MARKS,
        folder / "adapter",
        TrainSettings(batch_size=3, threads=1),
        folder / "p.csv",
    )
    again = pd.read_csv(folder / "p.csv")
    assert again["prediction"].tolist() == again["constrained"].tolist() != again["expected"].tolist()


def test_adapter_is_given_features_as_it_was_in_training(
    run: Callable[..., Path], tmp_path: Path, tiny_llm: Path
) -> None:
    folder, data = run("raw"), run("raw").parent / "dataset.h5"
    adapter = MSEAdapter.from_pretrained(folder / "adapter")
    tables = []
    for standardised in (True, False):
        adapter.config = adapter.config.model_copy(update={"standardised": standardised})
        adapter.save_pretrained(tmp_path)
        answer_split(data, tiny_llm, MARKS, tmp_path, SETTINGS, tmp_path / "p.csv")
        tables.append(pd.read_csv(tmp_path / "p.csv")["expected"])
    assert tables[0].equals(pd.read_csv(folder / "predictions.csv")["expected"]) and not tables[0].equals(tables[1])


def test_adapter_refuses_an_llm_that_is_another_or_reads_otherwise(tmp_path: Path, tiny_llm: Path) -> None:
    data, llm = make_dataset(tmp_path), tmp_path / "llm"
    shutil.copytree(tiny_llm, llm)
    (llm / "native.json").write_text('{"sha256": {"model.safetensors": "1"}}')
    short = SETTINGS.model_copy(update={"schedule_epochs": 1})
    train(data, llm, "tiny", MARKS, SHAPE, short, 1, tmp_path / "adapter", tmp_path / "history.csv")
    given = (tmp_path / "adapter", short, tmp_path / "p.csv")
    answer_split(data, llm, MARKS, *given)
    for change in ({"dtype": "bfloat16"}, {"open_mark": "<"}, {"explicit_plus": False}):
        with pytest.raises(
            UserError, match=rf"adapter: trained with {next(iter(change))} = .*set it back, or train anew"
        ):
            answer_split(data, llm, MARKS.model_copy(update=change), *given)
    (llm / "native.json").write_text('{"sha256": {"model.safetensors": "2"}}')
    with pytest.raises(UserError, match=r"adapter: trained with other weights than those in .*llm \(their checksums"):
        answer_split(data, llm, MARKS, *given)


def test_llm_that_does_not_fit_into_memory_is_refused_before_it_is_loaded(
    tmp_path: Path, tiny_llm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mse.backbones.memory.available", lambda device: 1e6)
    monkeypatch.setattr("mse.backbones.llm.load_backbone", lambda *_: pytest.fail("it was loaded"))
    with pytest.raises(UserError, match=r"the LLM needs about 0\.\d GB .*; 0\.0 GB of memory are free\. A smaller"):
        train(make_dataset(tmp_path), tiny_llm, "tiny", MARKS, SHAPE, SETTINGS, 1, tmp_path / "a", tmp_path / "h.csv")


def test_answer_with_any_mark_of_a_line_s_end_stays_one_row(tmp_path: Path) -> None:
    """An LLM that was never trained writes whatever tokens there are."""
    rows = [("a", "0.5", "0.5", "+0\r5", "so\r\nit, is"), ("b", "0.5", "0.5", "\r", "x")]
    table = pd.DataFrame(rows, columns=["clip_id", "prediction", "label", "answer", "text"])
    write_predictions(table, None, [], Intensity(), tmp_path / "p.csv")
    again = read_predictions(tmp_path / "p.csv", Intensity())
    assert again["answer"].tolist() == ["+0\n5", "\n"] and again["text"].tolist() == ["so\nit, is", "x"]


def test_batch_size_one(run: Callable[..., Path]) -> None:
    history = pd.read_csv(run("one", batch_size=1, schedule_epochs=1) / "history.csv")
    assert np.isfinite(history["train_loss"].dropna()).tolist() == [True]


def test_exploding_loss_names_its_clips(run: Callable[..., Path]) -> None:
    with pytest.raises(
        UserError,
        match=r"the loss became .* with the clips clip0.*lower train\.learning_rate",
    ):
        run("explodes", learning_rate=1e30, max_grad_norm=None, schedule_epochs=3)


def test_finite_loss_beyond_all_measure_stops_the_run(
    run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    loss = FrozenLLM.answer_loss
    monkeypatch.setattr(FrozenLLM, "answer_loss", lambda self, *given: 5 * loss(self, *given))
    with pytest.raises(UserError, match=r"the loss became \d+(\.\d+)? and its gradient's norm .* with the clips clip0"):
        run("soars")


def test_schedule_is_a_rise_and_half_a_cosine() -> None:
    factors = [cosine_with_warmup(step, 100, 0.1) for step in range(101)]
    assert factors[:10] == pytest.approx([(i + 1) / 11 for i in range(10)])
    assert factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0.0)
    assert cosine_with_warmup(0, 10, 0.0) == 1.0


def test_figures_are_drawn_the_same_twice(run: Callable[..., Path], tmp_path: Path) -> None:
    folder = run("drawn")
    table = pd.read_csv(folder.parent / "quality.csv").assign(acoustic_coverage=1.0, facial_coverage=0.5)
    table.to_csv(tmp_path / "quality.csv", index=False)
    for out in ("a", "b"):
        training([folder / "history.csv"], tmp_path / out / "training.svg")
        predictions([folder / "predictions.csv"], folder.parent / "dataset.h5", tmp_path / out / "predictions.svg")
        quality(tmp_path / "quality.csv", tmp_path / out / "quality.svg")
    for name in ("training", "predictions", "quality"):
        first, second = ((tmp_path / out / f"{name}.svg").read_bytes() for out in ("a", "b"))
        assert first == second and b"</svg>" in first


@pytest.mark.parametrize("modalities", [["acoustic"], ["facial", "text"], ["text"], ["acoustic", "facial"]])
def test_corpus_without_some_modalities(modalities: list[str], tmp_path: Path, tiny_llm: Path) -> None:
    """What no clip has is absent from shards to adapter, which stands in its learned vectors."""
    data = make_dataset(tmp_path, modalities=modalities)
    train(data, tiny_llm, "tiny", MARKS, SHAPE, SETTINGS, 1, tmp_path / "adapter", tmp_path / "history.csv")
    answer_split(data, tiny_llm, MARKS, tmp_path / "adapter", SETTINGS, tmp_path / "p.csv")
    table = read_predictions(tmp_path / "p.csv", Intensity())
    assert len(table) == 10 and (table["text"].fillna("") == ("it is so" if "text" in modalities else "")).all()
    adapter = MSEAdapter.from_pretrained(tmp_path / "adapter")
    names = set(adapter.state_dict())
    for modality in ("acoustic", "facial"):
        assert any(name.startswith(f"{modality}.lstm") for name in names) == (modality in modalities)
        assert f"{modality}.absent" in names
    assert set(adapter.config.feature_digests) == set(modalities) - {"text"}
    if modalities != ["text"]:
        (tmp_path / "words").mkdir()
        words = make_dataset(tmp_path / "words", modalities=["text"])
        with pytest.raises(UserError, match=r"trained on \w+ features, but .*dataset\.h5 has none"):
            answer_split(words, tiny_llm, MARKS, tmp_path / "adapter", SETTINGS, tmp_path / "p.csv")


def test_classes_are_learned_scored_and_drawn(tmp_path: Path, tiny_llm: Path) -> None:
    task = Classes(classes={"sad": ["-"], "glad": ["+"]}, answer="index")
    data = make_dataset(tmp_path, task=task)
    settings = SETTINGS.model_copy(
        update={"pretrain_epochs": 0, "schedule_epochs": 30, "patience_epochs": 30, "learning_rate": 0.02}
    )
    first = tmp_path / "llm" / "seed-1" / "predictions.csv"
    train(data, tiny_llm, "tiny", MARKS, SHAPE, settings, 1, tmp_path / "adapter", tmp_path / "history.csv")
    answer_split(data, tiny_llm, MARKS, tmp_path / "adapter", settings, first)
    shown = pd.read_csv(first, dtype=str)
    assert set(shown["label"]) == {"sad", "glad"} and set(shown["answer"]) <= {"0", "1"}
    shares = shown[["p_sad", "p_glad"]].astype(float)
    assert shares.sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-5)
    assert shown["expected"].tolist() == [("sad", "glad")[int(b > a)] for a, b in shares.to_numpy()]
    assert shown["prediction"].tolist() == shown["expected"].tolist()
    shown.loc[0, "generate"] = None  # an answer that was no class is wrong, whatever the truth
    shown.loc[1:, "generate"] = shown.loc[1:, "label"]
    second = tmp_path / "llm" / "seed-2" / "predictions.csv"
    second.parent.mkdir()
    shown.to_csv(second, index=False)
    score(data, [first, second], tmp_path / "m.csv")
    metrics = pd.read_csv(tmp_path / "m.csv").set_index(["model", "decoding", "run"])
    n = len(shown)
    assert metrics.loc[("llm", "generate", "seed-2"), "accuracy"] == pytest.approx((n - 1) / n, abs=1e-4)
    assert metrics.loc[("llm", "generate", "seed-2"), "unparseable"] == 1
    assert list(metrics.columns[2:7]) == ["accuracy", "weighted_f1", "macro_f1", "f1_sad", "f1_glad"]
    constant = metrics.loc[("constant", np.nan, "single"), "accuracy"]
    assert metrics.loc[("llm", "expected", "seed-1"), "accuracy"] > constant
    predictions([first, second], data, tmp_path / "confusion.svg")
    assert b"</svg>" in (tmp_path / "confusion.svg").read_bytes()
    training([tmp_path / "history.csv"], tmp_path / "training.svg")
    with pytest.raises(UserError, match="these are no labels of the corpus's task"):
        read_predictions(second, Classes(classes={"a": ["1"], "b": ["2"]}))


def test_only_the_modalities_that_are_asked_for_are_taken(tmp_path: Path, tiny_llm: Path) -> None:
    """A run on some of a corpus's modalities is the run on a corpus that has no others."""
    for folder in ("whole", "poor"):
        (tmp_path / folder).mkdir()
    whole = make_dataset(tmp_path / "whole")
    for modalities in (["acoustic"], ["facial", "text"], ["text"]):
        poor = make_dataset(tmp_path / "poor", modalities=modalities)
        weights = []
        for data, shape in ((whole, SHAPE.model_copy(update={"modalities": modalities})), (poor, SHAPE)):
            out = tmp_path / "adapter"
            train(data, tiny_llm, "tiny", MARKS, shape, SETTINGS, 1, out, tmp_path / "history.csv")
            answer_split(data, tiny_llm, MARKS, out, SETTINGS, tmp_path / "p.csv")
            weights.append((load_file(out / "adapter.safetensors"), (tmp_path / "p.csv").read_bytes()))
        torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)
    with pytest.raises(UserError, match=r"the corpus has text, and so none of adapter\.modalities = \[acoustic\]"):
        train(
            poor,
            tiny_llm,
            "tiny",
            MARKS,
            SHAPE.model_copy(update={"modalities": ["acoustic"]}),
            SETTINGS,
            1,
            tmp_path / "a",
            tmp_path / "h.csv",
        )


def test_events_for_tensorboard_hold_the_history(run: Callable[..., Path]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = run("events")
    events = EventAccumulator(str(folder / "history.tensorboard")).Reload()
    history = pd.read_csv(folder / "history.csv")
    for name in ("pretrain_loss", "train_loss", "valid_mae"):
        assert [event.value for event in events.Scalars(name)] == pytest.approx(
            history[name].dropna().tolist(), rel=1e-6
        )
