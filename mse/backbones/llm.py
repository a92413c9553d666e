"""A frozen causal language model that reads clips with pseudo tokens in them.

Sequence: start of text, preamble and opening mark, pseudo tokens, text, closing mark and prompt, then the answer
(paper); or, with the placement `after_text`, the pseudo tokens before the prompt's last token. What stands before the
first pseudo token needs no gradient: it is read beforehand, once for all clips or once a text, and only its keys and
values are kept. Contexts are padded on the left, so that all answers of a batch start at one position and logits are
computed there alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint
from transformers.cache_utils import Cache, DynamicLayer
from transformers.modeling_layers import GradientCheckpointingLayer

from mse.backbones.answers import AnswerTree
from mse.backbones.load import load_backbone, load_config, require_attention
from mse.backbones.texts import ReadTexts
from mse.backbones.wording import Wording
from mse.config import Backbone
from mse.errors import UserError

IGNORED = -100  # cross_entropy's mark for positions that do not count


@dataclass(frozen=True)
class Context:
    """What the LLM reads before it answers.

    Attributes:
        past: keys and values of what it has read, by layer: (1 or B, heads, L0, head width).
        embeddings: what follows, shape (B, L, d).
        mask: of both, False for padding, shape (B, L0 + L).
    """

    past: list[tuple[Tensor, Tensor]]
    embeddings: Tensor
    mask: Tensor


class FrozenLLM:
    """An LLM that is never changed. Adapters stand beside it, so that one LLM serves several, batch by batch.

    Args:
        folder: config, safetensors weights and tokenizer; no code in it is ever run.
        backbone: dtype and quantisation.
        words: what it reads around a clip.
        device: where it computes.
        recompute: compute each layer anew for its gradient, and so keep less in memory.
        text_cache_bytes: memory for texts that were read before, where pseudo tokens come after them.

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
        text_cache_bytes: float = 0.0,
    ) -> None:
        self.words = words
        self.device = device or torch.device("cpu")
        config = load_config(folder)
        words.require_room(reads_at_most(config), str(folder / "config.json"))
        require_attention(config, str(folder))
        self.model = load_backbone(folder, backbone, self.device)
        if recompute:
            _recompute_layers(self.model)
        # The last positions alone are no contiguous tensor, of which torch would multiply each row for itself: slower.
        self.model.get_output_embeddings().register_forward_pre_hook(lambda _, given: (given[0].contiguous(),))
        self._embedding: Any = self.model.get_input_embeddings()
        if max([*words.opening, *words.closing, *words.end, 0]) >= self.vocabulary:
            raise UserError(
                f"{folder}: a mark or the prompt holds a token that the weights do not know ({self.vocabulary:,} rows)"
            )
        self.answers = AnswerTree(words.legal_ids)
        self._closing = self.embed(words.closing)  # (1, L, d)
        self._opening: list[tuple[Tensor, Tensor]] = []  # (1, heads, L, head width)
        if words.opening:
            whole = torch.ones(1, len(words.opening), dtype=torch.bool, device=self.device)
            self._opening = self.read(Context([], self.embed(words.opening), whole))
        self.texts = ReadTexts(self._read_texts, text_cache_bytes)

    @property
    def width(self) -> int:
        """Hidden size (d)."""
        return int(self._closing.shape[-1])

    @property
    def vocabulary(self) -> int:
        """Tokens that it can write."""
        return int(self._embedding.weight.shape[0])

    @property
    def embedding_rms(self) -> float:
        """Root mean square of an element of what the embedding gives; some LLMs scale what their matrix holds."""
        weight: Tensor = self._embedding.weight
        rows = torch.arange(min(len(weight), 1000), device=self.device)
        given, held = (part.float().square().mean().sqrt() for part in (self._embedding(rows), weight[rows]))
        return float(weight.float().square().mean().sqrt() * (given / held))

    def embed(self, ids: Sequence[int]) -> Tensor:
        """Embeddings (1, L, d) of L tokens."""
        embedded: Tensor = self._embedding(torch.tensor([ids], dtype=torch.long, device=self.device))
        return embedded

    def embed_texts(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Embeddings (B, L, d) of texts, padded on the right, and their mask (B, L)."""
        ids = [torch.tensor(self.words.text_ids(text), dtype=torch.long, device=self.device) for text in texts]
        mask = pad_sequence([torch.ones_like(i, dtype=torch.bool) for i in ids], batch_first=True)
        return self._embedding(pad_sequence(ids, batch_first=True)), mask

    def context(self, pseudo: Tensor, texts: Sequence[str]) -> Context:
        """Everything that the LLM reads before it answers.

        Args:
            pseudo: pseudo tokens, shape (B, n, d).
            texts: of the B clips.
        """
        opened = torch.ones(len(texts), len(self.words.opening), dtype=torch.bool, device=self.device)
        if self.words.around.placement == "after_text":
            past, mask = self.texts([tuple(self._before(text)) for text in texts])
            after = torch.cat([pseudo.to(self._closing.dtype), self._closing[:, -1:].expand(len(texts), -1, -1)], 1)
            if past and self._opening:
                past = [_after(opening, read) for opening, read in zip(self._opening, past, strict=True)]
            mask = torch.cat([opened, mask.to(self.device), torch.ones_like(after[..., 0], dtype=torch.bool)], dim=1)
            return Context(past or self._opening, after, mask)
        embedded, real = self.embed_texts(texts)
        rows = [
            torch.cat([tokens, words[there], self._closing[0]])
            for tokens, words, there in zip(pseudo.to(embedded.dtype), embedded, real, strict=True)
        ]
        embeddings, mask = _padded(rows)
        return Context(self._opening, embeddings, torch.cat([opened, mask], dim=1))

    def _before(self, text: str) -> list[int]:
        """Tokens between the opening and the pseudo tokens, where these come after the text."""
        return [*self.words.text_ids(text), *self.words.closing[:-1]]

    def read_beforehand(self, texts: Sequence[str], batch_size: int) -> None:
        """Read texts that pseudo tokens will follow, and keep as many as the memory for them allows."""
        if self.words.around.placement == "after_text":
            self.texts.keep([tuple(self._before(text)) for text in [*texts, ""]], batch_size)  # "": a text left out

    def _read_texts(self, ids: Sequence[tuple[int, ...]]) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of token sequences after the opening, padded on the left."""
        embeddings, mask = _padded([self.embed(row)[0] for row in ids])
        opened = torch.ones(len(ids), len(self.words.opening), dtype=torch.bool, device=self.device)
        read = self.read(Context(self._opening, embeddings, torch.cat([opened, mask], dim=1)))
        start = len(self.words.opening)
        return [(keys[:, :, start:], values[:, :, start:]) for keys, values in read]

    @torch.no_grad()
    def read(self, context: Context) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of a context, by layer: (B, heads, L0 + L, head width)."""
        cache = _cache(context, DynamicLayer)
        self._forward(context.embeddings, context.mask, cache, 1)
        return [(layer.keys, layer.values) for layer in cache.layers]

    def answer_loss(self, context: Context, weights: Tensor) -> Tensor:
        """Mean cross entropy over the answers' tokens; logits are computed at their positions only.

        Args:
            context: of B clips.
            weights: how right each legal answer is, shape (B, K). The heaviest is what the LLM reads; the others have a
                share in what should follow.

        Returns:
            a scalar.
        """
        answers = weights.argmax(dim=1).tolist()
        targets = pad_sequence(
            [torch.tensor(self.words.legal_ids[answer], device=self.device) for answer in answers],
            batch_first=True,
            padding_value=IGNORED,
        )  # (B, A)
        given = targets[:, :-1]  # the last token is only foretold, never read
        read = self._embedding(given.clamp(min=0))
        logits = self._forward(
            torch.cat([context.embeddings, read], dim=1),
            torch.cat([context.mask, given != IGNORED], dim=1),
            _cache(context, ReadOnlyLayer),
            targets.shape[1],
        )  # (B, A, V)
        return _soft_cross_entropy(logits, self.answers.along(answers, weights))

    @torch.inference_mode()
    def answer_logits(self, context: Context) -> Tensor:
        """What the LLM says at the end of each context and at each node of the tree of legal answers, in one pass.

        Returns:
            shape (B, 1 + N, V), as `self.answers` reads it.

        Raises:
            FloatingPointError: it computes NaN.
        """
        tree = self.answers
        clips, before, nodes = len(context.mask), context.mask.shape[1], len(tree.tokens)
        read = self.embed(tree.tokens.tolist()).expand(clips, -1, -1)
        embeddings = torch.cat([context.embeddings, read], dim=1)
        sees = torch.zeros(clips, embeddings.shape[1], before + nodes, dtype=torch.bool, device=self.device)
        length = context.embeddings.shape[1]
        causal = torch.ones(length, before, dtype=torch.bool, device=self.device).tril(before - length)
        sees[:, :length, :before] = causal & context.mask[:, None]
        # Padding sees itself: a row that saw nothing would be NaN, and a NaN spreads.
        sees[:, :length, before - length : before] |= torch.eye(length, dtype=torch.bool, device=self.device)
        sees[:, length:, :before] = context.mask[:, None]
        sees[:, length:, before:] = tree.sees.to(self.device)
        real = context.mask.sum(dim=1, keepdim=True)
        at = torch.cat([_positions(context.mask)[:, -length:], real - 1 + tree.depth.to(self.device)], dim=1)
        return _defined(self._forward(embeddings, sees[:, None], _cache(context, DynamicLayer), 1 + nodes, at))

    @torch.inference_mode()
    def generate(self, context: Context) -> list[str]:
        """Answer greedily, at most as long as the longest legal answer.

        Raises:
            FloatingPointError: it computes NaN, whose greatest element would be the first token.
        """
        embeddings, mask = context.embeddings, context.mask
        cache = _cache(context, DynamicLayer)
        chosen: list[Tensor] = []
        for _ in range(self.words.longest_answer):
            chosen.append(_defined(self._forward(embeddings, mask, cache, 1))[:, -1].argmax(dim=-1))  # (B,)
            embeddings = self._embedding(chosen[-1][:, None])
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
        return [self.words.written(ids) for ids in torch.stack(chosen, dim=1).tolist()]

    def _forward(self, embeddings: Tensor, mask: Tensor, cache: Any, logits: int, at: Tensor | None = None) -> Tensor:
        """Logits at the last positions, after embeddings (B, L, d) that follow a cache.

        The mask is (B, L0 + L), or (B, 1, L, L0 + L) where the rule is another than to see all that came before;
        positions (B, L) then must be given, else they count real tokens.
        """
        if at is None:
            at, mask = _positions(mask)[:, -embeddings.shape[1] :], mask.long()
        elif self.model.config._attn_implementation == "eager":  # which adds its mask
            mask = torch.zeros_like(mask, dtype=torch.float32).masked_fill(~mask, torch.finfo(torch.float32).min)
        read: Tensor = self.model(
            inputs_embeds=embeddings,
            attention_mask=mask,
            position_ids=at,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=logits,
        ).logits
        return read


class ReadOnlyLayer(DynamicLayer):
    """Keys and values to which nothing is added: a layer that is computed twice sees the same twice."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """What was read (B, heads, L, head width), and these keys and values after it."""
        if self.keys is None or self.values is None:
            return key_states, value_states
        return torch.cat([self.keys, key_states], dim=-2), torch.cat([self.values, value_states], dim=-2)


def _cache(context: Context, kind: type[DynamicLayer]) -> Any:
    """What was read before a context, in the library's form."""
    if not context.past:
        return Cache(layer_class_to_replicate=kind)
    layers: list[Any] = []
    for keys, values in context.past:
        layer = kind()
        layer.lazy_initialization(keys, values)
        layer.keys, layer.values = (part.expand(len(context.mask), -1, -1, -1) for part in (keys, values))
        layers.append(layer)
    return Cache(layers=layers)


def _after(first: tuple[Tensor, Tensor], then: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Keys and values (B, heads, L, head width) after others (1, heads, L0, head width) that are the same for all."""
    keys, values = (torch.cat([a.expand(len(b), -1, -1, -1), b], dim=2) for a, b in zip(first, then, strict=True))
    return keys, values


def _padded(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Sequences (L, d) padded on the left, shape (B, L, d), and their mask (B, L)."""
    ones = [torch.ones_like(row[:, 0], dtype=torch.bool) for row in rows]
    return (
        pad_sequence(list(rows), batch_first=True, padding_side="left"),
        pad_sequence(ones, batch_first=True, padding_side="left"),
    )


def _defined(logits: Tensor) -> Tensor:
    if logits.isnan().any():
        raise FloatingPointError("the LLM computes NaN")
    return logits


def _positions(mask: Tensor) -> Tensor:
    """Places of real tokens, counted from 0, of the same shape as the mask (B, L)."""
    return (mask.cumsum(dim=1) - 1).clamp(min=0)


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


def _soft_cross_entropy(logits: Tensor, shares: Sequence[Sequence[dict[int, float]]]) -> Tensor:
    """Mean cross entropy at logits (B, A, V) whose targets are shares of several tokens at each of a row's steps."""
    rows, steps, tokens, parts = zip(
        *(
            (row, step, token, part)
            for row, of_row in enumerate(shares)
            for step, of_step in enumerate(of_row)
            for token, part in of_step.items()
        ),
        strict=True,
    )
    likelihood = logits.float().log_softmax(dim=-1)[list(rows), list(steps), list(tokens)]
    return -(likelihood * torch.tensor(parts, device=logits.device)).sum() / sum(map(len, shares))
