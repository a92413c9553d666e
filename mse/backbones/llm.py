"""A frozen causal language model that reads clips with pseudo tokens in them.

Sequence: [BOS], preamble and opening mark, pseudo tokens, text, closing mark and prompt, then the answer. What
stands before the first pseudo token is always the same: its keys and values are computed once. Contexts are
padded on the left, so that all answers of a batch start at one position and logits are computed there alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from mse.config import Backbone
from mse.errors import UserError

IGNORED = -100  # cross_entropy's mark for positions that do not count


@dataclass(frozen=True)
class Surroundings:
    """What the LLM reads around every clip of a corpus.

    Attributes:
        preamble: before each clip, such as examples of answers.
        prompt: the question after the clip.
        answers: every legal answer.
        max_text_tokens: a longer text is cut.
    """

    preamble: str
    prompt: str
    answers: list[str]
    max_text_tokens: int


class FrozenLLM:
    """An LLM that is never changed, with all that surrounds a clip tokenised once.

    Args:
        folder: config, safetensors weights and tokenizer; no code in it is ever run.
        backbone: marks around the clip.
        around: what else the LLM reads.

    Raises:
        UserError: the folder holds no model that transformers knows.
    """

    def __init__(self, folder: Path, backbone: Backbone, around: Surroundings) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        if not (folder / "config.json").is_file():
            raise UserError(f"{folder}: no model there (config.json is missing); `mse fetch` gets one by name")
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            self.model = AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, use_safetensors=True, local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError) as e:
            raise UserError(f"{folder}: transformers can't load this model: {e}") from e
        self.model.eval().requires_grad_(False)
        self._embedding: nn.Module = self.model.get_input_embeddings()
        self._max_text_tokens = around.max_text_tokens
        self._answer_prefix = backbone.answer_prefix
        # Where all answers are of one length, none needs an end.
        answers = [self._ids(self._answer_prefix + answer) for answer in around.answers]
        lengths = {len(ids) for ids in answers}
        self._end = [] if len(lengths) == 1 else [int(self.tokenizer.eos_token_id)]
        # What all answers begin with, such as a space, is given and not asked for.
        alike = takewhile(lambda tokens: len(set(tokens)) == 1, zip(*answers, strict=False))
        self._given: list[int] = [tokens[0] for tokens in alike]
        self.longest_answer = max(lengths) - len(self._given) + len(self._end)
        bos = [] if self.tokenizer.bos_token_id is None else [self.tokenizer.bos_token_id]
        self._closing = self._embed(self._ids(backbone.close_mark + around.prompt) + self._given)  # (1, L, d)
        self._opening = self._read_opening(bos + self._ids(around.preamble + backbone.open_mark))

    @torch.no_grad()
    def _read_opening(self, ids: list[int]) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of each layer, (1, heads, L, head width), for what stands before the pseudo tokens."""
        if not ids:
            return []
        cache = self.model(inputs_embeds=self._embed(ids), use_cache=True, logits_to_keep=1).past_key_values
        return [(layer.keys, layer.values) for layer in cache.layers]

    def _opened(self, batch: int) -> Any:
        """A cache that holds the opening for each row of a batch."""
        from transformers import DynamicCache

        cache = DynamicCache()
        for index, (keys, values) in enumerate(self._opening):
            cache.update(keys.expand(batch, -1, -1, -1), values.expand(batch, -1, -1, -1), index)
        return cache

    @property
    def width(self) -> int:
        """Hidden size (d)."""
        return int(self._closing.shape[-1])

    @property
    def embedding_rms(self) -> float:
        """Root mean square of an element of the embedding matrix."""
        weight: Tensor = self._embedding.weight  # type: ignore[assignment]
        return float(weight.float().square().mean().sqrt())

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _embed(self, ids: Sequence[int]) -> Tensor:
        embedded: Tensor = self._embedding(torch.tensor([ids], dtype=torch.long))
        return embedded

    def text_ids(self, text: str) -> list[int]:
        """Tokens of a clip's text, cut to the longest allowed."""
        return self._ids(text)[: self._max_text_tokens]

    def answer_ids(self, answer: str) -> list[int]:
        """Tokens that the LLM is to write for an answer."""
        return self._ids(self._answer_prefix + answer)[len(self._given) :] + self._end

    def embed_texts(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Embeddings (B, L, d) of texts, padded on the right, and their mask (B, L)."""
        ids = [torch.tensor(self.text_ids(text), dtype=torch.long) for text in texts]
        mask = pad_sequence([torch.ones(len(i), dtype=torch.bool) for i in ids], batch_first=True)
        return self._embedding(pad_sequence(ids, batch_first=True)), mask

    def contexts(self, pseudo: Tensor, text: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Everything between the opening and the answer.

        Args:
            pseudo: pseudo tokens, shape (B, n, d).
            text: embeddings (B, L, d), padded on the right, and mask (B, L).

        Returns:
            embeddings (B, L', d), padded on the left, and mask (B, L').
        """
        embeddings, mask = text
        rows = [
            torch.cat([tokens, words[real], self._closing[0]])
            for tokens, words, real in zip(pseudo, embeddings, mask, strict=True)
        ]
        padded = pad_sequence(rows, batch_first=True, padding_side="left")
        ones = [torch.ones(len(row), dtype=torch.bool) for row in rows]
        return padded, pad_sequence(ones, batch_first=True, padding_side="left")

    def answer_loss(self, context: tuple[Tensor, Tensor], answers: Sequence[Sequence[int]]) -> Tensor:
        """Mean cross entropy over the answers' tokens; logits are computed at their positions only.

        Args:
            context: embeddings (B, L, d) and mask (B, L), as `contexts` gives them.
            answers: token ids of each answer.
        """
        targets = pad_sequence(
            [torch.tensor(answer) for answer in answers], batch_first=True, padding_value=IGNORED
        )  # (B, A)
        embeddings, mask = context
        given = targets[:, :-1]  # the last token is only foretold, never read
        read = self._embedding(given.clamp(min=0))
        logits = self._forward(
            torch.cat([embeddings, read], dim=1),
            torch.cat([mask, given != IGNORED], dim=1),
            self._opened(len(targets)),
            targets.shape[1],
        ).logits  # (B, A, V)
        return nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED)

    @torch.inference_mode()
    def generate(self, context: tuple[Tensor, Tensor]) -> list[str]:
        """Answer greedily, at most as long as the longest legal answer.

        Args:
            context: embeddings (B, L, d) and mask (B, L), as `contexts` gives them.
        """
        embeddings, mask = context
        cache = self._opened(len(mask))
        chosen: list[Tensor] = []
        for _ in range(self.longest_answer):
            chosen.append(self._forward(embeddings, mask, cache, 1).logits[:, -1].argmax(dim=-1))  # (B,)
            embeddings = self._embedding(chosen[-1][:, None])
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
        answers = []
        for ids in torch.stack(chosen, dim=1).tolist():
            kept = ids[: ids.index(self._end[0])] if self._end and self._end[0] in ids else ids
            answers.append(str(self.tokenizer.decode(self._given + kept)))
        return answers

    def _forward(self, embeddings: Tensor, mask: Tensor, cache: Any, logits: int) -> Any:
        """Run the LLM on embeddings (B, L, d) that follow a cache, with logits at the last positions.

        The mask (B, L') covers all that came after the opening; positions count real tokens only.
        """
        opening = torch.ones(len(mask), self._opening[0][0].shape[2] if self._opening else 0, dtype=torch.bool)
        whole = torch.cat([opening, mask], dim=1)
        positions = (whole.cumsum(dim=1) - 1).clamp(min=0)[:, -embeddings.shape[1] :]
        return self.model(
            inputs_embeds=embeddings,
            attention_mask=whole.long(),
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=logits,
        )
