"""The benchmark compares what computes the same."""

from pathlib import Path

import pandas as pd
import pytest
import torch

from mse.adapter import AdapterConfig, MSEAdapter
from mse.adapter.published import PUBLISHED
from mse.answer import answer_batch
from mse.bench.extract import bench_extract
from mse.bench.plain import PlainProcedure
from mse.bench.train import _of_length
from mse.config import AdapterSettings, TrainSettings
from mse.data import ClipDataset, collate, task_of
from mse.errors import UserError
from mse.labels import label_text
from mse.ready import load_llm
from mse.train import Trainer
from tests.command_line import mse
from tests.made import make_dataset
from tests.test_train import MARKS

SETTINGS = TrainSettings(
    batch_size=4, learning_rate=1e-3, adam_eps=1e-4, max_grad_norm=None, label_spread=0.0, threads=1
)
PAPER = AdapterSettings(**PUBLISHED)


@pytest.mark.parametrize("padded", [0, 4])
def test_plain_procedure_equals_ours_where_nothing_is_padded(tmp_path: Path, tiny_llm: Path, padded: int) -> None:
    """Same adapter, same clips: the losses of three steps and the answers agree, unless padding is read like words."""
    with ClipDataset(make_dataset(tmp_path)) as dataset:
        labels = label_text(task_of(dataset), MARKS.explicit_plus)
        length = len("it is so") + padded  # a token a byte
        settings = SETTINGS.model_copy(update={"max_text_tokens": length})
        llm = load_llm(tiny_llm, MARKS, dataset, labels, settings, PAPER, training=True)
        torch.manual_seed(0)
        config = AdapterConfig(acoustic_width=5, facial_width=6, text_width=llm.width, settings=PAPER)
        ours, theirs = MSEAdapter(config), MSEAdapter(config)
        theirs.load_state_dict(ours.state_dict())
        trainer = Trainer(dataset, llm, ours, labels, settings, 1)
        trainer.optimiser.param_groups[0]["lr"] = settings.learning_rate
        trainer.schedule = torch.optim.lr_scheduler.ConstantLR(trainer.optimiser, 1.0)  # the plain one has none
        plain = PlainProcedure(tiny_llm, MARKS, llm.words, theirs, labels, settings, torch.device("cpu"))
        plain.optimiser.param_groups[0]["weight_decay"] = settings.weight_decay
        batches = [collate([dataset[clip] for clip in range(start, start + 4)]) for start in (0, 4, 8)]
        losses = [(trainer.step(batch), plain.step(batch)) for batch in batches]
        together = all(mine == pytest.approx(other, rel=1e-4) for mine, other in losses)
        assert together == (not padded)
        if not padded:
            assert answer_batch(llm, ours.eval(), batches[0], ["generate"]).texts == plain.evaluate(batches[0])


@pytest.mark.slow
def test_command_prints_ratios_of_all_sides(tmp_path: Path, tiny_llm: Path) -> None:
    data = make_dataset(tmp_path, clips=80)
    options = ["--llm", str(tiny_llm), "--backbone", MARKS.model_dump_json(exclude_defaults=True)]
    options += ["--settings", SETTINGS.model_dump_json(), "--rounds", "2", "--words", "3", "--profile", "2"]
    done = mse("bench", "train", str(data), *options, "--out", str(tmp_path / "bench.csv"))
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "bench.csv")
    shares = table[table["measure"].str.startswith("share of")]
    assert len(shares) == 3 * 2 * 2 and shares["value"].between(0, 1).all()
    table = table.drop(shares.index)
    assert len(table) == 3 * 5 and set(table["side"]) == {"plain", "before_text", "after_text"}
    assert (table.loc[table["side"] == "plain", "ratio"].dropna() == 1).all()
    assert (table.loc[~table["measure"].str.startswith(("above", "texts")), "value"] > 0).all()
    assert "after_text" in done.stdout


def test_side_that_fails_ends_the_benchmark(tmp_path: Path, tiny_llm: Path) -> None:
    data = make_dataset(tmp_path)
    options = ["--llm", str(tmp_path), "--backbone", MARKS.model_dump_json(exclude_defaults=True)]
    done = mse("bench", "train", str(data), *options)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"error: {tmp_path}: no " in done.stderr


def test_texts_are_brought_to_a_median_length() -> None:
    lengths = [len(text.split()) for text in _of_length(["a b c"] * 400 + [""], 20, seed=1)]
    assert 18 <= pd.Series(lengths).median() <= 22 and min(lengths) < 12 and max(lengths) > 32


def test_extraction_is_measured_beside_the_bare_libraries(corpus: Path, landmarker: Path) -> None:
    table = bench_extract([corpus / "good.mp4"], landmarker, rounds=1, clips=2).set_index("what")
    assert list(table.index) == ["floor", "segment", "acoustic", "facial", "whole"]
    assert (table[["CPU s a second", "wall s a second", "peak memory (GB)"]] > 0).all(axis=None)
    assert table.loc["floor", "ratio"] == 1
    parts = table.loc[["segment", "acoustic", "facial"]]
    assert table.loc["whole", "CPU s a second"] == pytest.approx(parts["CPU s a second"].sum())
    assert table.loc["whole", "peak memory (GB)"] == parts["peak memory (GB)"].max()
    cut = bench_extract([corpus / "good.mp4"], landmarker, rounds=1, cut_s=0.5, floor=False).set_index("what")
    assert "floor" not in cut.index and cut["ratio"].isna().all()


@pytest.mark.slow
def test_a_stage_that_fails_is_named_with_what_it_said(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"facial .*gone\.task: no such file"):
        bench_extract([corpus / "good.mp4"], tmp_path / "gone.task", rounds=1, floor=False)
