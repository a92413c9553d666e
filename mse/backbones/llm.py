"""A frozen causal language model that reads clips with pseudo tokens in them.

Sequence: [BOS] opening mark, pseudo tokens, text, closing mark and prompt, then the answer. Contexts are padded
on the left, so that every answer of a batch starts at the same position and logits are computed there alone.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from mse.config import Backbone
from mse.errors import UserError

IGNORED = -100  # cross_entropy's mark for positions that do not count


class FrozenLLM:
    """An LLM that is never changed, with the marks and the prompt that surround a clip.

    Args:
        folder: config, safetensors weights and tokenizer; no code in it is ever run.
        backbone: marks around the clip.
        prompt: the task's question.
        max_text_tokens: longer texts are cut.

    Raises:
        UserError: the folder holds no model that transformers knows.
    """

    def __init__(self, folder: Path, backbone: Backbone, prompt: str, max_text_tokens: int) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        if not (folder / "config.json").is_file():
            raise UserError(f"{folder}: no model there (config.json is missing); `mse fetch` gets one by name")
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            self.model = AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError) as e:
            raise UserError(f"{folder}: transformers can't load this model: {e}") from e
        self.model.eval().requires_grad_(False)
        self._embedding: nn.Module = self.model.get_input_embeddings()
        self.max_text_tokens = max_text_tokens
        bos = [] if self.tokenizer.bos_token_id is None else [self.tokenizer.bos_token_id]
        self._opening = self._embed(bos + self._ids(backbone.open_mark))  # (1, L, d)
        self._closing = self._embed(self._ids(backbone.close_mark + prompt))
        self.end_id: int = self.tokenizer.eos_token_id

    @property
    def width(self) -> int:
        """Hidden size (d)."""
        return int(self._opening.shape[-1])

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
        return self._ids(text)[: self.max_text_tokens]

    def answer_ids(self, answer: str) -> list[int]:
        """Tokens of an answer and the end of text."""
        return [*self._ids(answer), self.end_id]

    def embed_texts(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Embeddings (B, L, d) of texts, padded on the right, and their mask (B, L)."""
        ids = [torch.tensor(self.text_ids(text), dtype=torch.long) for text in texts]
        mask = pad_sequence([torch.ones(len(i), dtype=torch.bool) for i in ids], batch_first=True)
        return self._embedding(pad_sequence(ids, batch_first=True)), mask

    def contexts(self, pseudo: Tensor, text: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Everything before the answer.

        Args:
            pseudo: pseudo tokens, shape (B, n, d).
            text: embeddings (B, L, d), padded on the right, and mask (B, L).

        Returns:
            embeddings (B, L', d), padded on the left, and mask (B, L').
        """
        embeddings, mask = text
        rows = [
            torch.cat([self._opening[0], tokens, words[real], self._closing[0]])
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
            torch.cat([embeddings, read], dim=1), torch.cat([mask, given != IGNORED], dim=1), targets.shape[1]
        ).logits  # (B, A, V)
        return nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED)

    @torch.inference_mode()
    def generate(self, context: tuple[Tensor, Tensor], most_tokens: int) -> list[str]:
        """Answer greedily, without the end of text.

        Args:
            context: embeddings (B, L, d) and mask (B, L), as `contexts` gives them.
            most_tokens: stop an answer here.
        """
        embeddings, mask = context
        chosen: list[Tensor] = []
        cache = None
        for _ in range(most_tokens):
            out = self._forward(embeddings, mask, 1, cache)
            cache = out.past_key_values
            chosen.append(out.logits[:, -1].argmax(dim=-1))  # (B,)
            embeddings = self._embedding(chosen[-1][:, None])
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
        answers = []
        for ids in torch.stack(chosen, dim=1).tolist():
            kept = ids[: ids.index(self.end_id)] if self.end_id in ids else ids
            answers.append(str(self.tokenizer.decode(kept)))
        return answers

    def _forward(self, embeddings: Tensor, mask: Tensor, logits: int, cache: object = None) -> Any:
        """Run the LLM; the mask covers cached positions too, positions count real tokens only."""
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -embeddings.shape[1] :]
        return self.model(
            inputs_embeds=embeddings,
            attention_mask=mask.long(),
            position_ids=positions,
            past_key_values=cache,
            use_cache=not torch.is_grad_enabled(),
            logits_to_keep=logits,
        )
