"""Train one adapter in front of a frozen LLM (paper, section Method and Settings)."""

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mse.adapter import AdapterConfig, MSEAdapter
from mse.answer import answer, clip_context, pseudo_tokens
from mse.atomic import replacing
from mse.augment import augmented
from mse.backbones.llm import FrozenLLM
from mse.config import AdapterSettings, Backbone, TrainSettings
from mse.data import Batch, ClipDataset, bucketed, collate, task_of
from mse.errors import UserError
from mse.fetch import source_of
from mse.labels import LabelText, label_text
from mse.metrics import Scorer
from mse.pipeline import pipeline_of, write_pipeline
from mse.pretrain import alignment_loss, answer_directions
from mse.progress import say, track
from mse.ready import load_llm, reproducible
from mse.resume import Progress, fingerprint, load_state, save_state

EXPLODED = 2.0  # times the loss of one who knows nothing of the vocabulary


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
        self.optimiser = torch.optim.AdamW(
            adapter.parameters(),
            lr=settings.learning_rate,
            eps=settings.adam_eps,
            weight_decay=settings.weight_decay,
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimiser, self.rate)

    @cached_property
    def directions(self) -> Tensor:
        """Where the legal answers lie, for training without the LLM."""
        return answer_directions(self.llm)

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
        each = math.ceil(len(self.train) / self.settings.batch_size)
        before, steps = self.settings.pretrain_epochs * each, self.settings.schedule_epochs * each
        if step < before:
            return cosine_with_warmup(step, before, self.settings.warmup_fraction)
        return cosine_with_warmup(step - before, steps, self.settings.warmup_fraction)

    def epoch(self, number: int) -> float:
        """One pass over the train split, the first `pretrain_epochs` without the LLM; returns the mean loss."""
        pretraining = number <= self.settings.pretrain_epochs
        if number == self.settings.pretrain_epochs + 1:
            self.optimiser.state.clear()  # the moments of another loss
        self.adapter.train()
        batches = bucketed(self.lengths, self.settings.batch_size, self.generator)
        losses = []
        for batch in track(batches, f"epoch {number}", len(batches), "steps"):
            clips = [self.dataset[self.train[place]] for place in batch]
            examples = collate([augmented(clip, self.settings, self.generator) for clip in clips])
            losses.append(self.step(examples, pretraining))
        return float(np.mean(losses))

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
        if pretraining and self.adapter.gain is not None:
            self.adapter.gain.grad = None  # no cosine depends on it: mere rounding would move it
        limit = math.inf if self.settings.max_grad_norm is None else self.settings.max_grad_norm
        norm = torch.nn.utils.clip_grad_norm_(self.adapter.parameters(), limit)
        # A cosine is bounded, and so is the loss without the LLM.
        most = math.inf if pretraining else EXPLODED * math.log(self.llm.vocabulary)
        self._require_sane(batch, loss.detach(), norm, most)
        self.optimiser.step()
        self.schedule.step()
        return loss.item()

    def _answer_loss(self, batch: Batch) -> Tensor:
        return self.llm.answer_loss(clip_context(self.llm, self.adapter, batch), self._weights(batch))

    def _alignment_loss(self, batch: Batch) -> Tensor:
        pseudo = pseudo_tokens(self.llm, self.adapter, batch)
        return alignment_loss(pseudo, self.directions, self._weights(batch).to(pseudo.device))

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


def cosine_with_warmup(step: int, steps: int, warmup_fraction: float) -> float:
    """Factor on the learning rate: a linear rise over the warm-up, then a half cosine down to 0."""
    warmup = warmup_fraction * steps
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1.0, steps - warmup))))


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
) -> None:
    """Train an adapter, stop early on the validation split, keep the best epoch.

    A run that was killed goes on after its last whole epoch, and ends with the same bytes. Its state stays until `mse
    answer` uses the adapter, so that a workflow that was killed before noting the job as done does not train again.

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

    Raises:
        UserError: LLM and corpus do not fit each other, memory does not suffice, or the loss is not finite or explodes.
    """
    reproducible(settings.threads)
    with ClipDataset(
        dataset_path, adapter_settings.modalities, acoustic_sets=adapter_settings.acoustic_sets
    ) as dataset:
        labels = label_text(task_of(dataset), backbone.explicit_plus)
        llm = load_llm(llm_folder, backbone, dataset, labels, settings, adapter_settings, training=True)
        torch.manual_seed(seed)
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
            seed=seed,
            train=settings,
            settings=adapter_settings.model_copy(update={"acoustic_sets": dataset.acoustic_sets}),
        )
        adapter = MSEAdapter(config).to(llm.device)
        say(f"{sum(p.numel() for p in adapter.parameters()):,} trainable parameters")
        trainer = Trainer(dataset, llm, adapter, labels, settings, seed)
        clips = [*trainer.train, *trainer.valid]
        llm.read_beforehand([dataset.texts[clip] for clip in clips], settings.batch_size)
        pipeline = pipeline_of(dataset, backbone_name or llm_folder.resolve().name, backbone)
        run_epochs(trainer, out, fingerprint(config, dataset_path, llm.device), history)
    write_pipeline(pipeline, out)
    adapter.save_pretrained(out)


def run_epochs(trainer: Trainer, folder: Path, run: str, history: Path) -> None:
    """Train until the schedule ends or patience does; the adapter is left as it was in its best epoch.

    Args:
        trainer: the run.
        folder: where its state lies while it is unfinished.
        run: its fingerprint.
        history: CSV with one row an epoch.

    Raises:
        UserError: the loss is not finite, or explodes.
    """
    progress = load_state(folder, run, trainer.parts)
    key, patience = trainer.scorer.task.key_metric, trainer.settings.patience_epochs
    before = trainer.settings.pretrain_epochs
    with tensorboard(history.with_suffix(".tensorboard"), progress.rows) as log:
        for epoch in range(progress.epoch + 1, before + trainer.settings.schedule_epochs + 1):
            if progress.epoch - max(before, progress.best_epoch) >= patience:
                say(f"no gain for {patience} epochs; the best was epoch {progress.best_epoch}")
                break
            loss = trainer.epoch(epoch)
            if epoch <= before:
                progress.rows.append({"epoch": float(epoch), "pretrain_loss": loss})
                say(f"epoch {epoch}, without the LLM: loss {loss:.3f}")
            else:
                metrics = trainer.validate()
                validation = {f"valid_{name}": value for name, value in metrics.items()}
                progress.rows.append({"epoch": float(epoch), "train_loss": loss} | validation)
                if trainer.scorer.gain(metrics) > progress.best or not progress.best_weights:
                    progress.best, progress.best_epoch = trainer.scorer.gain(metrics), epoch
                    progress.best_weights = copy.deepcopy(trainer.adapter.state_dict())
                say(
                    f"epoch {epoch}: train loss {loss:.3f}, validation {key} {metrics[key]:.3f}, "
                    f"unparseable {metrics['unparseable']:.0f}"
                )
            save_state(folder, run, progress, trainer.parts)
            write_history(progress, history)
            log_row(log, progress.rows[-1])
    write_history(progress, history)
    trainer.adapter.load_state_dict(progress.best_weights)


def write_history(progress: Progress, path: Path) -> None:
    """Write one row an epoch."""
    with replacing(path) as partial:
        pd.DataFrame(progress.rows).astype({"epoch": int}).to_csv(partial, index=False)


@contextmanager
def tensorboard(folder: Path, rows: Sequence[dict[str, float]]) -> Iterator[Any]:
    """An event file for TensorBoard, which begins with the rows that there are and replaces what a killed run left."""
    from torch.utils.tensorboard import SummaryWriter

    for left in folder.glob("events.out.tfevents.*"):
        left.unlink()
    with SummaryWriter(str(folder)) as writer:
        for row in rows:
            log_row(writer, row)
        yield writer


def log_row(writer: Any, row: dict[str, float]) -> None:
    """One epoch's numbers as events, on the disk at once."""
    for name, value in row.items():
        writer.add_scalar(name, value, int(row["epoch"]))
    writer.flush()
