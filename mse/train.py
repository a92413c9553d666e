"""Train one adapter in front of a frozen LLM (paper, section Method and Settings)."""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mse.adapter import AdapterConfig, MSEAdapter
from mse.answer import answer, clip_context, mixed_vectors
from mse.augment import augmented
from mse.backbones.llm import FrozenLLM
from mse.config import AdapterSettings, Backbone, TrainSettings
from mse.data import Batch, ClipDataset, Example, bucketed, collate, task_of
from mse.errors import UserError
from mse.fetch import source_of
from mse.history import log_row, tensorboard, write_history
from mse.labels import LabelText, label_text
from mse.metrics import Scorer
from mse.pipeline import pipeline_of, write_pipeline
from mse.pretrain import SEED as FUSION_SEED
from mse.pretrain import LabelCodes, cosine_with_warmup, digest_of, fit_fusion, load_fusion, save_fusion
from mse.progress import say, track
from mse.ready import load_llm, reproducible
from mse.resume import Progress, Saving, fingerprint, load_state, save_state

EXPLODED = 2.0  # times the loss of one who knows nothing of the vocabulary
KEPT_BYTES = 100_000_000  # of the training clips' features


class Trainer:
    """One training run.

    Args:
        dataset: clips of all splits.
        llm: the frozen LLM.
        adapter: what is trained.
        labels: how answers are written.
        settings: optimiser and schedule.
        seed: of the order of clips and of what augments them (the adapter's weights are drawn by the caller).
    """

    def __init__(
        self,
        dataset: ClipDataset,
        llm: FrozenLLM,
        adapter: MSEAdapter,
        labels: LabelText,
        settings: TrainSettings,
        seed: int,
    ) -> None:
        self.dataset, self.llm, self.adapter, self.labels, self.settings = dataset, llm, adapter, labels, settings
        self.train, self.valid = dataset.require("train"), dataset.require("valid")
        self.scorer = Scorer(task_of(dataset), dataset.labels[self.train])
        self.lengths = [len(llm.words.text_ids(dataset.texts[index])) for index in self.train]
        self.generator = torch.Generator().manual_seed(seed)
        self._kept: dict[int, Example] = {}
        self._room = KEPT_BYTES
        self.optimiser = torch.optim.AdamW(
            adapter.parameters(),
            lr=settings.learning_rate,
            eps=settings.adam_eps,
            weight_decay=settings.weight_decay,
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimiser, self.rate)

    @cached_property
    def codes(self) -> LabelCodes:
        """What is to enter the fusion, for training without the LLM."""
        return LabelCodes(self.scorer.task, self.labels, self.adapter.config.settings.fusion_width)

    @property
    def parts(self) -> dict[str, Any]:
        """What changes in training."""
        return {
            "adapter": self.adapter,
            "optimiser": self.optimiser,
            "schedule": self.schedule,
            "generator": self.generator,
        }

    def rate(self, step: int) -> float:
        """Factor on the learning rate: a schedule for what comes before the LLM, and one for the training with it."""
        clips = len(self.train)
        before = self.settings.pretrain_epochs * math.ceil(clips / self.settings.pretrain_batch_size)
        steps = self.settings.schedule_epochs * math.ceil(clips / self.settings.batch_size)
        if step < before:
            peak = self.settings.pretrain_learning_rate / self.settings.learning_rate
            return peak * cosine_with_warmup(step, before, self.settings.warmup_fraction)
        return cosine_with_warmup(step - before, steps, self.settings.warmup_fraction)

    def epoch(self, number: int) -> float:
        """One pass over the train split, the first `pretrain_epochs` without the LLM; returns the mean loss."""
        settings = self.settings
        pretraining = number <= settings.pretrain_epochs
        if number == settings.pretrain_epochs + 1:
            self.optimiser.state.clear()  # the moments of another loss
        self.optimiser.param_groups[0]["weight_decay"] = (
            settings.pretrain_weight_decay if pretraining else settings.weight_decay
        )
        size = settings.pretrain_batch_size if pretraining else settings.batch_size
        self.adapter.train()
        batches = bucketed(self.lengths, size, self.generator)
        losses = []
        for batch in track(batches, f"epoch {number}", len(batches), "steps"):
            clips = [self._clip(self.train[place]) for place in batch]
            examples = collate([augmented(clip, settings, self.generator) for clip in clips])
            losses.append(self.step(examples, pretraining))
        return float(np.mean(losses))

    def _clip(self, index: int) -> Example:
        """One clip, read once while the memory for that lasts."""
        if index in self._kept:
            return self._kept[index]
        clip = self.dataset[index]
        size = clip.acoustic.nbytes + clip.facial.nbytes
        if size <= self._room:
            self._kept[index] = clip
            self._room -= size
        return clip

    def step(self, batch: Batch, pretraining: bool = False) -> float:
        """One update; returns the loss before it.

        Args:
            batch: clips.
            pretraining: without the LLM.

        Raises:
            UserError: loss or gradient is not finite, or the loss explodes; the message names the batch's clips.
        """
        loss = self._alignment_loss(batch) if pretraining else self._answer_loss(batch)
        self.optimiser.zero_grad()
        loss.backward()
        limit = math.inf if self.settings.max_grad_norm is None else self.settings.max_grad_norm
        norm = torch.nn.utils.clip_grad_norm_(self.adapter.parameters(), limit)
        most = math.inf if pretraining else EXPLODED * math.log(self.llm.vocabulary)
        self._require_sane(batch, loss.detach(), norm, most)
        self.optimiser.step()
        self.schedule.step()
        return loss.item()

    def _answer_loss(self, batch: Batch) -> Tensor:
        return self.llm.answer_loss(clip_context(self.llm, self.adapter, batch), self._weights(batch))

    def _alignment_loss(self, batch: Batch) -> Tensor:
        codes = self.codes.of(torch.tensor(batch.labels)).to(self.llm.device)
        return nn.functional.mse_loss(mixed_vectors(self.llm, self.adapter, batch), codes)

    def _weights(self, batch: Batch) -> Tensor:
        """How right each legal answer is, (B, K)."""
        return torch.tensor([self.labels.weights(label, self.settings.label_spread) for label in batch.labels])

    def _require_sane(self, batch: Batch, loss: Tensor, norm: Tensor, most: float) -> None:
        if torch.isfinite(norm) and loss <= most:
            return
        raise UserError(
            f"the loss became {loss.item():.3g} and its gradient's norm {norm.item():.3g} with the clips "
            f"{', '.join(batch.clip_ids)}; lower train.learning_rate, or look at these clips' features"
        )

    def validate(self) -> dict[str, float]:
        """Metrics on the validation split, and how many answers were no legal label."""
        decoding, task = self.settings.decoding, self.scorer.task
        answers = answer(
            self.dataset,
            self.valid,
            self.llm,
            self.adapter,
            self.labels,
            task,
            self.settings.batch_size,
            [decoding],
        )
        predictions = answers.predictions[decoding]
        metrics = self.scorer.metrics(predictions, self.dataset.labels[self.valid])
        return metrics | {"unparseable": int(np.isnan(predictions).sum())}


@dataclass(frozen=True)
class Prepared:
    """What training and its preparation share.

    Attributes:
        dataset: clips of all splits.
        llm: the frozen LLM.
        labels: how answers are written.
        config: of an adapter for both, without a seed.
    """

    dataset: ClipDataset
    llm: FrozenLLM
    labels: LabelText
    config: AdapterConfig

    def adapter(self, seed: int) -> MSEAdapter:
        """Draw an adapter."""
        torch.manual_seed(seed)
        return MSEAdapter(self.config.model_copy(update={"seed": seed})).to(self.llm.device)

    def fusion(self) -> dict[str, Tensor]:
        """Let a fusion learn what the LLM must be shown, for the adapters of all seeds."""
        settings = self.config.settings
        codes = LabelCodes(task_of(self.dataset), self.labels, settings.fusion_width)
        texts = [self.dataset.texts[clip] for clip in self.dataset.require("train")]
        chosen = self.config.train or TrainSettings()
        adapter = self.adapter(FUSION_SEED)
        return fit_fusion(self.llm, adapter, codes, texts, chosen.label_spread, chosen.fusion_steps)

    @property
    def fusion_digest(self) -> str:
        """What a fusion's weights depend on, but for the texts around."""
        chosen, config = self.config.train or TrainSettings(), self.config
        learned = (chosen.label_spread, chosen.fusion_steps)
        parts = (config.dataset, config.reading, config.llm_source, config.settings.fusion, learned)
        return digest_of(*map(repr, parts), repr(self.llm.words.around))


@contextmanager
def prepared(
    dataset_path: Path,
    llm_folder: Path,
    backbone_name: str,
    backbone: Backbone,
    adapter_settings: AdapterSettings,
    settings: TrainSettings,
) -> Iterator[Prepared]:
    """Open a dataset and load the LLM for training on it; arguments and errors are those of `train`."""
    reproducible(settings.threads)
    with ClipDataset(
        dataset_path, adapter_settings.modalities, acoustic_sets=adapter_settings.acoustic_sets
    ) as dataset:
        labels = label_text(task_of(dataset), backbone.explicit_plus)
        llm = load_llm(llm_folder, backbone, dataset, labels, settings, adapter_settings, training=True)
        config = AdapterConfig(
            acoustic_width=dataset.widths["acoustic"],
            facial_width=dataset.widths["facial"],
            text_width=llm.width,
            embedding_rms=llm.embedding_rms,
            backbone=backbone_name,
            reading=backbone.reading,
            llm_source=source_of(llm_folder),
            dataset=dataset.name,
            feature_digests=dataset.feature_digests,
            train=settings,
            settings=adapter_settings.model_copy(update={"acoustic_sets": dataset.acoustic_sets}),
        )
        clips = [*dataset.require("train"), *dataset.require("valid")]
        llm.read_beforehand([dataset.texts[clip] for clip in clips], settings.batch_size)
        yield Prepared(dataset, llm, labels, config)


def pretrain(
    dataset_path: Path,
    llm_folder: Path,
    backbone_name: str,
    backbone: Backbone,
    adapter_settings: AdapterSettings,
    settings: TrainSettings,
    out: Path,
) -> None:
    """Let a fusion learn which pseudo tokens make the LLM write each label, for the adapters of all seeds.

    Args:
        out: the fusion's weights; the other arguments and errors are those of `train`.
    """
    with prepared(dataset_path, llm_folder, backbone_name, backbone, adapter_settings, settings) as ready:
        save_fusion(ready.fusion(), ready.fusion_digest, out)


def train(
    dataset_path: Path,
    llm_folder: Path,
    backbone_name: str,
    backbone: Backbone,
    adapter_settings: AdapterSettings,
    settings: TrainSettings,
    seed: int,
    out: Path,
    history: Path,
    fusion: Path | None = None,
) -> FrozenLLM:
    """Train an adapter, stop early on the validation split, keep the best epoch.

    A run that was killed goes on after its last saved epoch, and ends with the same bytes. Its state stays until the
    adapter has answered, so that a workflow that was killed before noting the job as done does not train again.

    Args:
        dataset_path: dataset.h5.
        llm_folder: the LLM's weights and tokenizer.
        backbone_name: for the record.
        backbone: marks and label style of the LLM.
        adapter_settings: shape of the adapter, and what it takes.
        settings: optimiser and schedule.
        seed: of weights and order.
        out: folder of the adapter; holds the state of an unfinished run, too.
        history: CSV with one row an epoch; beside it lies a folder of that name, .tensorboard, with the same as events.
        fusion: what `pretrain` wrote; None: it is learned here. Unused where `pretrain_epochs` is 0.

    Returns:
        the LLM, which may answer now.

    Raises:
        UserError: LLM, corpus and fusion do not fit each other, memory does not suffice, or the loss is not finite or
            explodes.
    """
    with prepared(dataset_path, llm_folder, backbone_name, backbone, adapter_settings, settings) as ready:
        weights: dict[str, Tensor] = {}
        if settings.pretrain_epochs:
            weights = load_fusion(fusion, ready.fusion_digest) if fusion else ready.fusion()
        adapter = ready.adapter(seed)
        say(f"{sum(p.numel() for p in adapter.parameters()):,} trainable parameters")
        if weights:
            adapter.fusion.load_state_dict(weights)
        trainer = Trainer(ready.dataset, ready.llm, adapter, ready.labels, settings, seed)
        pipeline = pipeline_of(ready.dataset, backbone_name or llm_folder.resolve().name, backbone)
        run_epochs(trainer, out, fingerprint(adapter.config, dataset_path, ready.llm.device, weights), history)
    write_pipeline(pipeline, out)
    adapter.save_pretrained(out)
    return ready.llm


def run_epochs(trainer: Trainer, folder: Path, run: str, history: Path) -> None:
    """Train until the schedule ends or patience does; the adapter is left as it was in its best epoch.

    The first validation comes after the last epoch without the LLM, so that epochs with it are kept only where they
    bring something.

    Args:
        trainer: the run.
        folder: where its state lies while it is unfinished.
        run: its fingerprint.
        history: CSV with one row an epoch.

    Raises:
        UserError: the loss is not finite, or explodes.
    """
    progress = load_state(folder, run, trainer.parts)
    patience, before = trainer.settings.patience_epochs, trainer.settings.pretrain_epochs
    saving = Saving()
    with tensorboard(history.with_suffix(".tensorboard"), progress.rows) as log:
        for epoch in range(progress.epoch + 1, before + trainer.settings.schedule_epochs + 1):
            if progress.epoch - max(before, progress.best_epoch) >= patience:
                say(f"no gain for {patience} epochs; the best was epoch {progress.best_epoch}")
                break
            name = "pretrain_loss" if epoch <= before else "train_loss"
            progress.rows.append({"epoch": float(epoch), name: trainer.epoch(epoch)})
            if epoch >= before:
                validate(trainer, progress)
            if epoch > before or saving.due():
                with saving:
                    save_state(folder, run, progress, trainer.parts)
            write_history(progress, history)
            log_row(log, progress.rows[-1])
    write_history(progress, history)
    trainer.adapter.load_state_dict(progress.best_weights)


def validate(trainer: Trainer, progress: Progress) -> None:
    """Add the validation to the last epoch's row, and keep the adapter if it is the best so far."""
    metrics, row = trainer.validate(), progress.rows[-1]
    loss = row.get("train_loss", row.get("pretrain_loss"))
    row |= {f"valid_{name}": value for name, value in metrics.items()}
    if trainer.scorer.gain(metrics) > progress.best or not progress.best_weights:
        progress.best, progress.best_epoch = trainer.scorer.gain(metrics), progress.epoch
        progress.best_weights = copy.deepcopy(trainer.adapter.state_dict())
    key = trainer.scorer.task.key_metric
    say(
        f"epoch {progress.epoch}{'' if 'train_loss' in row else ', without the LLM'}: loss {loss:.3f}, "
        f"validation {key} {metrics[key]:.3f}, unparseable {metrics['unparseable']:.0f}"
    )
