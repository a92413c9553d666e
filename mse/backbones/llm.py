"""A frozen causal language model that reads clips with pseudo tokens in them.

Sequence: start of text, preamble and opening mark, pseudo tokens, text, closing mark and prompt, then the answer. What
stands before the first pseudo token is always the same: its keys and values are computed once. Contexts are
padded on the left, so that all answers of a batch start at one position and logits are computed there alone.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint
from transformers.cache_utils import Cache, DynamicLayer
from transformers.modeling_layers import GradientCheckpointingLayer

from mse.backbones.load import load_backbone, require_attention
from mse.backbones.wording import Wording
from mse.config import Backbone
from mse.errors import UserError

IGNORED = -100  # cross_entropy's mark for positions that do not count


class FrozenLLM:
    """An LLM that is never changed. Adapters stand beside it, so that one LLM serves several, batch by batch.

    Args:
        folder: config, safetensors weights and tokenizer; no code in it is ever run.
        backbone: dtype and quantisation.
        words: what it reads around a clip.
        device: where it computes.
        recompute: compute each layer anew for its gradient, and so keep less in memory.

    Raises:
        UserError: the folder holds no model that transformers knows, or one that pseudo tokens can't be put into.
    """

    def __init__(
        self,
        folder: Path,
        backbone: Backbone,
        words: Wording,
        device: torch.device | None = None,
        recompute: bool = False,
    ) -> None:
        self.words = words
        self.device = device or torch.device("cpu")
        self.model = load_backbone(folder, backbone, self.device)
        words.require_room(reads_at_most(self.model.config), str(folder / "config.json"))
        require_attention(self.model.config, str(folder))
        if recompute:
            _recompute_layers(self.model)
        self._embedding: nn.Module = self.model.get_input_embeddings()
        rows = self._embedding.weight.shape[0]
        if max([*words.opening, *words.closing, *words.end, 0]) >= rows:
            raise UserError(
                f"{folder}: a mark or the prompt holds a token that the weights do not know ({rows:,} rows)"
            )
        self._closing = self._embed(words.closing)  # (1, L, d)
        self._opening: list[tuple[Tensor, Tensor]] = []  # keys and values of each layer, (1, heads, L, head width)
        if words.opening:
            cache = self._opened(1, DynamicLayer)
            with torch.no_grad():
                read = self._embed(words.opening)
                self.model(inputs_embeds=read, past_key_values=cache, use_cache=True, logits_to_keep=1)
            self._opening = [(layer.keys, layer.values) for layer in cache.layers]

    def _opened(self, batch: int, kind: type[DynamicLayer]) -> Any:
        """A cache that holds the opening for each row of a batch."""
        if not self._opening:
            return Cache(layer_class_to_replicate=kind)
        layers: list[Any] = []
        for keys, values in self._opening:
            layer = kind()
            layer.lazy_initialization(keys, values)
            layer.keys, layer.values = keys.expand(batch, -1, -1, -1), values.expand(batch, -1, -1, -1)
            layers.append(layer)
        return Cache(layers=layers)

    @property
    def width(self) -> int:
        """Hidden size (d)."""
        return int(self._closing.shape[-1])

    @property
    def embedding_rms(self) -> float:
        """Root mean square of an element of what the embedding gives; some LLMs scale what their matrix holds."""
        weight: Tensor = self._embedding.weight  # type: ignore[assignment]
        rows = torch.arange(min(len(weight), 1000), device=self.device)
        given, held = (part.float().square().mean().sqrt() for part in (self._embedding(rows), weight[rows]))
        return float(weight.float().square().mean().sqrt() * (given / held))

    def _embed(self, ids: Sequence[int]) -> Tensor:
        embedded: Tensor = self._embedding(torch.tensor([ids], dtype=torch.long, device=self.device))
        return embedded

    def embed_texts(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Embeddings (B, L, d) of texts, padded on the right, and their mask (B, L)."""
        ids = [torch.tensor(self.words.text_ids(text), dtype=torch.long, device=self.device) for text in texts]
        mask = pad_sequence([torch.ones_like(i, dtype=torch.bool) for i in ids], batch_first=True)
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
            torch.cat([tokens, word[real], self._closing[0]])
            for tokens, word, real in zip(pseudo.to(embeddings.dtype), embeddings, mask, strict=True)
        ]
        padded = pad_sequence(rows, batch_first=True, padding_side="left")
        ones = [torch.ones_like(row[:, 0], dtype=torch.bool) for row in rows]
        return padded, pad_sequence(ones, batch_first=True, padding_side="left")

    def answer_loss(self, context: tuple[Tensor, Tensor], answers: Sequence[Sequence[int]]) -> Tensor:
        """Mean cross entropy over the answers' tokens; logits are computed at their positions only.

        Args:
            context: embeddings (B, L, d) and mask (B, L), as `contexts` gives them.
            answers: token ids of each answer.
        """
        targets = pad_sequence(
            [torch.tensor(answer, device=self.device) for answer in answers], batch_first=True, padding_value=IGNORED
        )  # (B, A)
        embeddings, mask = context
        given = targets[:, :-1]  # the last token is only foretold, never read
        read = self._embedding(given.clamp(min=0))
        logits = self._forward(
            torch.cat([embeddings, read], dim=1),
            torch.cat([mask, given != IGNORED], dim=1),
            self._opened(len(targets), ReadOnlyLayer),
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
        cache = self._opened(len(mask), DynamicLayer)
        chosen: list[Tensor] = []
        for _ in range(self.words.longest_answer):
            chosen.append(self._forward(embeddings, mask, cache, 1).logits[:, -1].argmax(dim=-1))  # (B,)
            embeddings = self._embedding(chosen[-1][:, None])
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
        return [self.words.written(ids) for ids in torch.stack(chosen, dim=1).tolist()]

    def _forward(self, embeddings: Tensor, mask: Tensor, cache: Any, logits: int) -> Any:
        """Run the LLM on embeddings (B, L, d) that follow a cache, with logits at the last positions.

        The mask (B, L') covers all that came after the opening; positions count real tokens only.
        """
        whole = nn.functional.pad(mask, (len(self.words.opening), 0), value=True)
        positions = (whole.cumsum(dim=1) - 1).clamp(min=0)[:, -embeddings.shape[1] :]
        return self.model(
            inputs_embeds=embeddings,
            attention_mask=whole.long(),
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=logits,
        )


class ReadOnlyLayer(DynamicLayer):
    """The opening's keys and values, to which nothing is added: a layer that is computed twice sees the same twice."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """The opening's keys and values (B, heads, L, head width), and these after them."""
        if self.keys is None or self.values is None:
            return key_states, value_states
        return torch.cat([self.keys, key_states], dim=-2), torch.cat([self.values, value_states], dim=-2)


def _recompute_layers(model: nn.Module) -> None:
    """Keep only what enters each layer. transformers' own switch works in training mode alone, and drops the cache."""
    layers = [part for part in model.modules() if isinstance(part, GradientCheckpointingLayer)]
    if not layers:
        raise UserError(f"{type(model).__name__} has no layers that can be recomputed; gradient_checkpointing: false")
    for layer in layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)


def reads_at_most(config: Any) -> int | None:
    """Tokens that an LLM can read, where its configuration says.

    A window that slides along counts places, padding among them, so no context may be longer than it.
    """
    text = config.get_text_config()
    names = ("max_position_embeddings", "sliding_window", "attention_chunk_size")
    return min((limit for name in names if (limit := getattr(text, name, None))), default=None)
