"""Train one adapter in front of a frozen LLM (paper, section Method and Settings)."""

import copy
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mse.adapter import AdapterConfig, MSEAdapter
from mse.atomic import replacing
from mse.backbones import memory
from mse.backbones.llm import FrozenLLM, reads_at_most
from mse.backbones.load import load_config, load_tokenizer
from mse.backbones.wording import Surroundings, Wording
from mse.config import AdapterSettings, Backbone, TrainSettings
from mse.data import Batch, ClipDataset, bucketed, collate, task_of
from mse.errors import UserError
from mse.fetch import source_of
from mse.labels import LabelText, label_text
from mse.metrics import Scorer
from mse.progress import say, track


class Trainer:
    """One training run.

    Args:
        dataset: clips of all splits.
        llm: the frozen LLM.
        adapter: what is trained.
        labels: how answers are written.
        settings: optimiser and schedule.
        seed: of the order of clips (the adapter's weights are drawn by the caller).
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
        self.train, self.valid = dataset.indices("train"), dataset.indices("valid")
        self.scorer = Scorer(task_of(dataset), dataset.labels[self.train])
        self.lengths = [len(llm.words.text_ids(dataset.texts[index])) for index in self.train]
        self.generator = torch.Generator().manual_seed(seed)
        self.optimiser = torch.optim.AdamW(
            adapter.parameters(),
            lr=settings.learning_rate,
            eps=settings.adam_eps,
            weight_decay=settings.weight_decay,
        )
        steps = settings.schedule_epochs * math.ceil(len(self.train) / settings.batch_size)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimiser, lambda step: cosine_with_warmup(step, steps, settings.warmup_fraction)
        )

    def epoch(self, number: int) -> float:
        """One pass over the train split; returns the mean loss."""
        self.adapter.train()
        batches = bucketed(self.lengths, self.settings.batch_size, self.generator)
        losses = []
        for batch in track(batches, f"epoch {number}", len(batches), "steps"):
            loss = self.step(collate([self.dataset[self.train[i]] for i in batch]))
            losses.append(loss)
        return float(np.mean(losses))

    def step(self, batch: Batch) -> float:
        """One update; returns the loss before it.

        Raises:
            UserError: the loss is not finite; the message names the batch's clips.
        """
        answers = [self.llm.words.answer_ids(self.labels.write(label)) for label in batch.labels]
        loss = self.llm.answer_loss(contexts(self.llm, self.adapter, batch), answers)
        if not torch.isfinite(loss):
            raise UserError(
                f"the loss became {loss.item()} with the clips {', '.join(batch.clip_ids)}; "
                "lower train.learning_rate, or look at these clips' features"
            )
        self.optimiser.zero_grad()
        loss.backward()
        if self.settings.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.adapter.parameters(), self.settings.max_grad_norm)
        self.optimiser.step()
        self.schedule.step()
        return loss.item()

    def validate(self) -> dict[str, float]:
        """Metrics on the validation split, and how many answers were no legal label."""
        answers = generate(self.dataset, self.valid, self.llm, self.adapter, self.settings.batch_size)
        predictions = np.array([self.labels.read(answer) for answer in answers], np.float64)  # None becomes NaN
        metrics = self.scorer.metrics(predictions, self.dataset.labels[self.valid])
        return metrics | {"unparseable": int(np.isnan(predictions).sum())}


def cosine_with_warmup(step: int, steps: int, warmup_fraction: float) -> float:
    """Factor on the learning rate: a linear rise over the warm-up, then a half cosine down to 0."""
    warmup = warmup_fraction * steps
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1.0, steps - warmup))))


def load_llm(
    folder: Path,
    backbone: Backbone,
    dataset: ClipDataset,
    labels: LabelText,
    settings: TrainSettings,
    pseudo_tokens: int,
    training: bool,
) -> FrozenLLM:
    """The frozen LLM, ready for the clips of a dataset.

    Args:
        folder: weights and tokenizer.
        backbone: marks, dtype and quantisation.
        dataset: its preamble, prompt and texts.
        labels: the legal answers.
        settings: batch size, longest text and device.
        pseudo_tokens: how many the adapter makes.
        training: whether gradients will be computed.

    Raises:
        UserError: the LLM can't be loaded, can't write every label, or needs more memory than is free.
    """
    device = chosen_device(settings.device)
    around = Surroundings(dataset.preamble, dataset.prompt, labels.legal(), settings.max_text_tokens, pseudo_tokens)
    words = Wording(load_tokenizer(folder), backbone, around)
    say(words.described(dataset.texts, reads_at_most(load_config(folder))))
    recompute = training and settings.gradient_checkpointing
    needs = memory.estimate(folder, backbone, settings.batch_size, words.longest_context, training, recompute, device)
    memory.require(needs, device)
    memory.return_freed_memory()
    return FrozenLLM(folder, backbone, words, device, recompute)


def contexts(llm: FrozenLLM, adapter: MSEAdapter, batch: Batch) -> tuple[Tensor, Tensor]:
    """Embeddings and mask of everything that the LLM reads before it answers."""
    text = llm.embed_texts(batch.texts)
    batch = batch.to(llm.device)
    return llm.contexts(adapter(batch.acoustic, batch.facial, text), text)


@torch.inference_mode()
def generate(
    dataset: ClipDataset,
    indices: Sequence[int],
    llm: FrozenLLM,
    adapter: MSEAdapter,
    batch_size: int,
) -> list[str]:
    """The LLM's answers to some clips, in their order.

    Args:
        dataset: holds the clips.
        indices: which clips.
        llm: the frozen LLM.
        adapter: makes the pseudo tokens.
        batch_size: clips at a time.
    """
    adapter.eval()
    answers: list[str] = []
    starts = range(0, len(indices), batch_size)
    for start in track(starts, "answering", len(starts), "batches"):
        batch = collate([dataset[index] for index in indices[start : start + batch_size]])
        answers += llm.generate(contexts(llm, adapter, batch))
    return answers


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

    Args:
        dataset_path: dataset.h5.
        llm_folder: the LLM's weights and tokenizer.
        backbone_name: for the record.
        backbone: marks and label style of the LLM.
        adapter_settings: shape of the adapter.
        settings: optimiser and schedule.
        seed: of weights and order.
        out: folder of the adapter.
        history: CSV with one row an epoch.
    """
    reproducible(settings.threads)
    with ClipDataset(dataset_path) as dataset:
        labels = label_text(task_of(dataset), backbone.explicit_plus)
        llm = load_llm(llm_folder, backbone, dataset, labels, settings, adapter_settings.pseudo_tokens, training=True)
        torch.manual_seed(seed)
        adapter = MSEAdapter(
            AdapterConfig(
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
                settings=adapter_settings,
            )
        ).to(llm.device)
        say(f"{sum(p.numel() for p in adapter.parameters()):,} trainable parameters")
        trainer = Trainer(dataset, llm, adapter, labels, settings, seed)
        rows = run_epochs(trainer)
    adapter.save_pretrained(out)
    with replacing(history) as partial:
        pd.DataFrame(rows).to_csv(partial, index=False)


def run_epochs(trainer: Trainer) -> list[dict[str, float]]:
    """Train until the schedule ends or patience does; the adapter is left as it was in its best epoch."""
    best, best_epoch, best_weights = -math.inf, 0, trainer.adapter.state_dict()
    key = trainer.scorer.task.key_metric
    rows: list[dict[str, float]] = []
    for epoch in range(1, trainer.settings.schedule_epochs + 1):
        loss = trainer.epoch(epoch)
        metrics = trainer.validate()
        rows.append({"epoch": epoch, "train_loss": loss} | {f"valid_{name}": v for name, v in metrics.items()})
        say(
            f"epoch {epoch}: train loss {loss:.3f}, validation {key} {metrics[key]:.3f}, "
            f"unparseable {metrics['unparseable']:.0f}"
        )
        if trainer.scorer.gain(metrics) > best:
            best, best_epoch = trainer.scorer.gain(metrics), epoch
            best_weights = copy.deepcopy(trainer.adapter.state_dict())
        elif epoch - best_epoch >= trainer.settings.patience_epochs:
            say(f"no gain for {trainer.settings.patience_epochs} epochs; the best was epoch {best_epoch}")
            break
    trainer.adapter.load_state_dict(best_weights)
    return rows


def reproducible(threads: int) -> None:
    """Same machine, same number of threads, same bytes."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what CUDA wants for that, before its first use
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)


def chosen_device(name: str) -> torch.device:
    """The device of a setting; `auto` is a GPU where there is one.

    Raises:
        UserError: a GPU is asked for, and there is none.
    """
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise UserError("train.device = 'cuda', but torch sees no GPU here; device: auto, or a torch built for CUDA")
    return torch.device("cuda" if there and name != "cpu" else "cpu")
