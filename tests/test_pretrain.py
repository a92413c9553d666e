"""Pseudo tokens that are drawn to the right answers before the LLM is computed."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from mse.adapter import AdapterConfig, MSEAdapter
from mse.answer import pseudo_tokens
from mse.backbones.llm import FrozenLLM
from mse.backbones.load import load_tokenizer
from mse.backbones.wording import Surroundings, Wording
from mse.config import AdapterSettings, Classes, Intensity, Task, TrainSettings
from mse.data import ClipDataset, collate
from mse.labels import label_text
from mse.pretrain import SHARPNESS, alignment_loss, answer_directions
from mse.ready import load_llm
from mse.train import Trainer
from tests.made import make_dataset
from tests.test_train import MARKS


def test_loss_is_that_of_a_softmax_over_cosines() -> None:
    directions = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    pseudo = torch.tensor([[[3.0, 0.0], [3.0, 4.0]]])  # cosines (1, 0) and (.6, .8), in the mean (.8, .4)
    right, wrong, both = (
        alignment_loss(pseudo, directions, torch.tensor([weights])) for weights in ([1.0, 0.0], [0.0, 1.0], [3.0, 1.0])
    )
    assert right.item() == pytest.approx(math.log1p(math.exp(-0.4 * SHARPNESS)), abs=1e-6)
    assert wrong.item() == pytest.approx(math.log1p(math.exp(0.4 * SHARPNESS)))
    assert both.item() == pytest.approx(0.75 * right.item() + 0.25 * wrong.item())


def test_first_tokens_tell_most_of_where_an_answer_lies(tiny_llm: Path) -> None:
    answers = ["-1.2", "-2.1", "+1.2", "+2.1"]
    words = Wording(load_tokenizer(tiny_llm), MARKS, Surroundings("", "?", answers, 50))
    directions = answer_directions(FrozenLLM(tiny_llm, MARKS, words))
    assert directions.norm(dim=1).tolist() == pytest.approx([1] * 4)
    likeness = directions @ directions.T
    assert likeness[0, 2] < likeness[0, 1] < 0.95  # same characters in another order; another sign


@pytest.mark.parametrize(
    ("task", "spread"),
    [(Intensity(), 0.08), (Intensity(), 0.0), (Classes(classes={"sad": ["-"], "glad": ["+"]}, answer="name"), 0.0)],
)
def test_adapter_learns_and_the_llm_is_not_computed(
    task: Task, spread: float, tmp_path: Path, tiny_llm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = AdapterSettings()
    settings = TrainSettings(pretrain_epochs=20, schedule_epochs=2, batch_size=4, threads=1, label_spread=spread)
    with ClipDataset(make_dataset(tmp_path, task=task)) as dataset:
        labels = label_text(task, True)
        llm = load_llm(tiny_llm, MARKS, dataset, labels, settings, shape, training=True)
        monkeypatch.setattr(llm.reader, "forward", lambda *_: pytest.fail("the LLM was computed"))
        torch.manual_seed(1)
        widths = {f"{modality}_width": dataset.widths[modality] for modality in ("acoustic", "facial")}
        adapter = MSEAdapter(AdapterConfig(**widths, text_width=llm.width, embedding_rms=llm.embedding_rms))
        trainer = Trainer(dataset, llm, adapter, labels, settings, 1)
        losses = [trainer.epoch(number) for number in range(1, 21)]
        assert losses[-1] < losses[0] and adapter.gain.item() == pytest.approx(llm.embedding_rms)
        clips = [dataset[index] for index in trainer.train]
        with torch.inference_mode():
            pseudo = pseudo_tokens(llm, adapter.eval(), collate(clips))
            nearest = (pseudo.mean(dim=1) @ trainer.directions.T).argmax(dim=1)
        told = [labels.read(labels.legal()[place]) for place in nearest]
        assert np.corrcoef(told, [clip.label for clip in clips])[0, 1] > 0.8
        with pytest.raises(pytest.fail.Exception, match="was computed"):
            trainer.epoch(21)


def test_each_part_has_a_schedule_of_its_own(tmp_path: Path, tiny_llm: Path) -> None:
    settings = TrainSettings(pretrain_epochs=5, schedule_epochs=5, batch_size=4, threads=1)
    with ClipDataset(make_dataset(tmp_path)) as dataset:
        labels = label_text(Intensity(), True)
        llm = load_llm(tiny_llm, MARKS, dataset, labels, settings, None, training=False)
        config = AdapterConfig(acoustic_width=2, facial_width=2, text_width=llm.width)
        trainer = Trainer(dataset, llm, MSEAdapter(config), labels, settings, 1)
        each = math.ceil(len(trainer.train) / 4)
        rates = [trainer.rate(step) for step in range(10 * each)]
        assert rates[: 5 * each] == rates[5 * each :] and max(rates) > 0.9 > 0.1 > rates[5 * each - 1]
        trainer.settings = settings.model_copy(update={"pretrain_epochs": 0})
        assert [trainer.rate(step) for step in range(5 * each)] == rates[: 5 * each]
