"""The published training procedure, written plainly from its description, to be compared with; nothing else uses it.

Text is padded to a fixed number of tokens, padding is read like words (there is no mask), logits are computed over the
whole vocabulary at every position, and answers come from the library's generate().
"""

from pathlib import Path

import torch
from torch import Tensor

from mse.adapter import MSEAdapter
from mse.backbones.load import load_backbone
from mse.backbones.wording import Wording
from mse.config import Backbone, TrainSettings
from mse.data import Batch
from mse.labels import LabelText

IGNORED = -100  # the library's mark for positions without a target


class PlainProcedure:
    """One training run as published, but for the words around a clip, which are ours.

    Args:
        folder: the LLM.
        backbone: dtype and quantisation.
        words: what the LLM reads around a clip.
        adapter: what is trained.
        labels: how answers are written.
        settings: optimiser, and the number of tokens that texts are padded to.
        device: where it computes.
    """

    def __init__(
        self,
        folder: Path,
        backbone: Backbone,
        words: Wording,
        adapter: MSEAdapter,
        labels: LabelText,
        settings: TrainSettings,
        device: torch.device,
    ) -> None:
        self.model = load_backbone(folder, backbone, device)
        self.words, self.adapter, self.labels, self.device = words, adapter.to(device), labels, device
        self.tokens = settings.max_text_tokens
        self.optimiser = torch.optim.AdamW(adapter.parameters(), lr=settings.learning_rate, eps=settings.adam_eps)

    def _embed(self, ids: list[list[int]]) -> Tensor:
        embedded: Tensor = self.model.get_input_embeddings()(torch.tensor(ids, dtype=torch.long, device=self.device))
        return embedded

    def _context(self, batch: Batch) -> Tensor:
        """Everything before the answer, shape (B, L, d), of one length for all batches."""
        there = batch.to(self.device)
        ids = [self.words.text_ids(text) for text in batch.texts]
        text = self._embed([row + [0] * (self.tokens - len(row)) for row in ids])
        read = torch.ones(text.shape[:2], dtype=torch.bool, device=self.device)
        pseudo = self.adapter(there.acoustic, there.facial, (text, read)).to(text.dtype)
        around = [self._embed([part]).expand(len(ids), -1, -1) for part in (self.words.opening, self.words.closing)]
        return torch.cat([around[0], pseudo, text, around[1]], dim=1)

    def step(self, batch: Batch) -> float:
        """One update; returns the loss before it."""
        self.adapter.train()
        answers = [self.words.answer_ids(self.labels.write(label)) for label in batch.labels]
        longest = max(map(len, answers))
        context = self._context(batch)
        read = self._embed([answer + [0] * (longest - len(answer)) for answer in answers])
        targets = torch.full((len(answers), context.shape[1] + longest), IGNORED, device=self.device)
        for row, answer in enumerate(answers):
            targets[row, context.shape[1] : context.shape[1] + len(answer)] = torch.tensor(answer)
        loss = self.model(inputs_embeds=torch.cat([context, read], dim=1), labels=targets).loss
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return float(loss.item())

    @torch.no_grad()
    def evaluate(self, batch: Batch) -> list[str]:
        """Answers to a batch."""
        self.adapter.eval()
        written = self.model.generate(
            inputs_embeds=self._context(batch),
            max_new_tokens=self.words.longest_answer,
            do_sample=False,
            pad_token_id=0,
        )
        return [self.words.written(ids) for ids in written.tolist()]
