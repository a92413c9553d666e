"""What the LLM must be shown is learned once, without clips; encoders then learn it from clips, without the LLM."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from mse.adapter import AdapterConfig, MSEAdapter
from mse.answer import mixed_vectors
from mse.config import AdapterSettings, Classes, Intensity, Task, TrainSettings
from mse.data import ClipDataset, collate
from mse.errors import UserError
from mse.labels import label_text
from mse.pretrain import LabelCodes, load_fusion, save_fusion
from mse.ready import load_llm
from mse.train import Trainer, prepared, pretrain, train
from tests.made import make_dataset
from tests.test_train import MARKS, SHAPE

FEELINGS = Classes(classes={"sad": ["-"], "glad": ["+"], "calm": ["0"]}, answer="name")


def test_codes_of_intensities_lie_on_an_arc_in_their_order() -> None:
    codes = LabelCodes(Intensity(), label_text(Intensity(), True), 32)
    points = codes.of(torch.linspace(-3, 3, 7))
    assert points.square().mean(dim=1).tolist() == pytest.approx([1] * 7, abs=1e-5)
    likeness = torch.nn.functional.cosine_similarity(points[:1], points, dim=1)
    assert likeness.tolist() == pytest.approx([math.cos(0.5 * step) for step in range(7)], abs=1e-5)


def test_codes_of_classes_are_orthogonal_and_mixtures_lie_between() -> None:
    codes = LabelCodes(FEELINGS, label_text(FEELINGS, True), 32)
    points = codes.of(torch.tensor([0.0, 1.0, 2.0]))
    assert torch.allclose(points @ points.T / 32, torch.eye(3), atol=1e-5)
    drawn, weights = codes.draw(500, 0.0, torch.Generator().manual_seed(1))
    assert torch.allclose(weights.sum(dim=1), torch.ones(500)) and 0.5 < weights.amax(dim=1).mean() < 0.95
    assert ((drawn @ points.T).argmax(dim=1) == weights.argmax(dim=1)).float().mean() > 0.9


def test_drawn_intensities_come_with_their_labels() -> None:
    codes = LabelCodes(Intensity(), label_text(Intensity(), True), 256)
    drawn, weights = codes.draw(50, 0.08, torch.Generator().manual_seed(1))
    assert torch.allclose(drawn.square().mean(dim=1), torch.ones(50), atol=1e-5)
    legal = torch.tensor([float(text) for text in codes.labels.legal()])
    nearest = legal[(drawn @ codes.of(legal).T).argmax(dim=1)]
    assert (nearest - legal[weights.argmax(dim=1)]).abs().mean() < 0.3


@pytest.mark.parametrize(("task", "modalities"), [(Intensity(), None), (FEELINGS, ["acoustic"])])
def test_llm_tells_the_label_from_what_the_fusion_learned(
    task: Task, modalities: list[str] | None, tmp_path: Path, tiny_llm: Path
) -> None:
    """With an adapter that is no other, the LLM's loss falls towards what is left to learn; each time the same."""
    shape = SHAPE.model_copy(update={"modalities": modalities or SHAPE.modalities})
    settings = TrainSettings(threads=1, label_spread=0.0)
    with prepared(make_dataset(tmp_path, task=task), tiny_llm, "tiny", MARKS, shape, settings) as ready:
        codes = LabelCodes(task, ready.labels, shape.fusion_width)
        first, second = ready.fusion(), ready.fusion()
        assert all(torch.equal(first[name], second[name]) for name in first)
        adapter = ready.adapter(1)
        every = torch.tensor([ready.labels.read(text) for text in ready.labels.legal()])
        weights = torch.eye(len(every))

        def loss() -> float:
            with torch.inference_mode():
                context = ready.llm.context(adapter.fuse(codes.of(every)), ["it is so"] * len(every))
                return float(ready.llm.answer_loss(context, weights))

        before = loss()
        adapter.fusion.load_state_dict(first)
        assert loss() < before - 0.3


@pytest.mark.parametrize("task", [Intensity(), FEELINGS])
def test_encoders_learn_the_codes_and_the_llm_is_not_computed(
    task: Task, tmp_path: Path, tiny_llm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = TrainSettings(
        pretrain_epochs=20, schedule_epochs=2, pretrain_batch_size=4, pretrain_weight_decay=0.01, threads=1
    )
    with ClipDataset(make_dataset(tmp_path, task=task)) as dataset:
        labels = label_text(task, True)
        llm = load_llm(tiny_llm, MARKS, dataset, labels, settings, AdapterSettings(), training=True)
        monkeypatch.setattr(llm.reader, "forward", lambda *_: pytest.fail("the LLM was computed"))
        torch.manual_seed(1)
        widths = {f"{modality}_width": dataset.widths[modality] for modality in ("acoustic", "facial")}
        adapter = MSEAdapter(AdapterConfig(**widths, text_width=llm.width, embedding_rms=llm.embedding_rms))
        as_it_was = {name: value.clone() for name, value in adapter.fusion.state_dict().items()}
        trainer = Trainer(dataset, llm, adapter, labels, settings, 1)
        losses = [trainer.epoch(number) for number in range(1, 21)]
        assert losses[-1] < losses[0] and adapter.gain.item() == pytest.approx(llm.embedding_rms)
        assert all(torch.equal(value, as_it_was[name]) for name, value in adapter.fusion.state_dict().items())
        clips = [dataset[index] for index in trainer.train]
        with torch.inference_mode():
            mixed = mixed_vectors(llm, adapter.eval(), collate(clips))
        every = torch.tensor([labels.read(text) for text in labels.legal()])
        nearest = every[(mixed @ trainer.codes.of(every).T).argmax(dim=1)]
        assert np.corrcoef(nearest, [clip.label for clip in clips])[0, 1] > 0.8
        with pytest.raises(pytest.fail.Exception, match="was computed"):
            trainer.epoch(21)


def test_each_part_has_a_schedule_and_a_peak_of_its_own(tmp_path: Path, tiny_llm: Path) -> None:
    settings = TrainSettings(
        pretrain_epochs=5,
        schedule_epochs=5,
        batch_size=4,
        pretrain_batch_size=4,
        threads=1,
        learning_rate=1e-4,
        pretrain_learning_rate=1e-3,
    )
    with ClipDataset(make_dataset(tmp_path)) as dataset:
        labels = label_text(Intensity(), True)
        llm = load_llm(tiny_llm, MARKS, dataset, labels, settings, None, training=False)
        config = AdapterConfig(acoustic_width=2, facial_width=2, text_width=llm.width)
        trainer = Trainer(dataset, llm, MSEAdapter(config), labels, settings, 1)
        each = math.ceil(len(trainer.train) / 4)
        rates = [trainer.rate(step) for step in range(10 * each)]
        with_llm = rates[5 * each :]
        assert rates[: 5 * each] == pytest.approx([10 * rate for rate in with_llm])
        assert max(with_llm) > 0.9 > 0.1 > with_llm[-1]
        trainer.settings = settings.model_copy(update={"pretrain_epochs": 0})
        assert [trainer.rate(step) for step in range(5 * each)] == with_llm


def test_adapter_is_the_same_whoever_taught_the_fusion(tmp_path: Path, tiny_llm: Path) -> None:
    """`mse pretrain` beforehand, for all seeds and modalities, or the training itself."""
    data, settings = make_dataset(tmp_path), TrainSettings(pretrain_epochs=2, schedule_epochs=1, threads=1)
    fusion = tmp_path / "fusion.safetensors"
    pretrain(data, tiny_llm, "tiny", MARKS, SHAPE, settings, fusion)
    bytes_of = []
    for name, given in (("given", fusion), ("own", None)):
        folder = tmp_path / name
        train(data, tiny_llm, "tiny", MARKS, SHAPE, settings, 1, folder, folder / "history.csv", given)
        bytes_of.append((folder / "adapter.safetensors").read_bytes())
    assert bytes_of[0] == bytes_of[1]
    for changes in ({"modalities": ["acoustic"]}, {"pooling": "last"}):  # no part of the fusion
        other = SHAPE.model_copy(update=changes)
        train(data, tiny_llm, "tiny", MARKS, other, settings, 2, tmp_path / "other", tmp_path / "h.csv", fusion)
    for changes in ({"pseudo_tokens": 2}, {"fusion_width": 8}, {"scales": [8]}):
        other = SHAPE.model_copy(update=changes)
        with pytest.raises(UserError, match=r"fusion\.safetensors: made for another LLM, prompt, corpus, shape"):
            train(data, tiny_llm, "tiny", MARKS, other, settings, 1, tmp_path / "other", tmp_path / "h.csv", fusion)


def test_damaged_fusion_is_named(tmp_path: Path) -> None:
    path = tmp_path / "fusion.safetensors"
    with pytest.raises(UserError, match=r"fusion\.safetensors: no fusion's weights .*`mse pretrain`"):
        load_fusion(path, "x")
    save_fusion({"weight": torch.ones(3)}, "x", path)
    assert load_fusion(path, "x")["weight"].tolist() == [1, 1, 1]
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(UserError, match="no fusion's weights"):
        load_fusion(path, "x")
