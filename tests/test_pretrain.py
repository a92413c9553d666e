"""Pseudo tokens that are drawn to the right answers before the LLM is computed."""

import math
from pathlib import Path

import pytest
import torch

from mse.adapter import AdapterConfig, MSEAdapter
from mse.backbones.llm import FrozenLLM
from mse.backbones.wording import Surroundings, Wording
from mse.config import AdapterSettings, Intensity, TrainSettings
from mse.data import ClipDataset
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


def test_answers_of_the_same_signs_in_another_order_lie_elsewhere(tiny_llm: Path) -> None:
    from transformers import AutoTokenizer

    answers = ["-1.2", "-2.1", "+1.2"]
    words = Wording(AutoTokenizer.from_pretrained(tiny_llm), MARKS, Surroundings("", "?", answers, 50))
    directions = answer_directions(FrozenLLM(tiny_llm, MARKS, words))
    assert directions.norm(dim=1).tolist() == pytest.approx([1, 1, 1])
    minus_plus = (directions[0] - directions[2]).norm(), (directions[0] - directions[1]).norm()
    assert minus_plus[1] > 0.1


def test_llm_is_not_computed_and_the_adapter_learns(
    tmp_path: Path, tiny_llm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape, settings = AdapterSettings(), TrainSettings(pretrain_epochs=6, batch_size=7, threads=1)
    with ClipDataset(make_dataset(tmp_path)) as dataset:
        labels = label_text(Intensity(), True)
        llm = load_llm(tiny_llm, MARKS, dataset, labels, settings, shape, training=True)
        monkeypatch.setattr(llm, "_forward", lambda *_: pytest.fail("the LLM was computed"))
        torch.manual_seed(1)
        config = AdapterConfig(
            acoustic_width=dataset.widths["acoustic"],
            facial_width=dataset.widths["facial"],
            text_width=llm.width,
            embedding_rms=llm.embedding_rms,
        )
        trainer = Trainer(dataset, llm, MSEAdapter(config), labels, settings, 1)
        losses = [trainer.epoch(number) for number in range(1, 7)]
        assert losses[-1] < 0.8 * losses[0]
        with pytest.raises(pytest.fail.Exception, match="was computed"):
            trainer.epoch(7)
