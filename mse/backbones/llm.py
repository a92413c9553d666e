"""A frozen causal language model that reads clips with pseudo tokens in them.

Sequence: start of text, preamble and opening mark, pseudo tokens, text, closing mark and prompt, then the answer
(paper); or, with the placement `after_text`, the pseudo tokens before the prompt's last token. What stands before the
first pseudo token needs no gradient: it is read beforehand, once for all clips or once a text, and only its keys and
values are kept. Contexts are padded on the left, so that all answers of a batch start at one position and logits are
computed there alone.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from mse.backbones.answers import AnswerTree
from mse.backbones.load import layer_configs, load_backbone, load_config, require_attention
from mse.backbones.reader import Context, Layers, Reader, growing_cache, padded
from mse.backbones.texts import ReadTexts
from mse.backbones.wording import Wording
from mse.config import Backbone
from mse.errors import UserError

# Keys of configurations that limit how far back a token sees.
WINDOWS = (
    "sliding_window",
    "sliding_window_size",
    "attention_chunk_size",
    "window_size",
    "local_attention",
    "keep_window_size",
)
IGNORED = -100  # cross_entropy's mark for positions that do not count


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
        try:
            self.reader = Reader(self.model)
        except UserError as e:
            raise UserError(f"{folder}: {e}") from e
        if recompute:
            recompute_layers(self.model)
        # The last positions alone are no contiguous tensor, of which torch would multiply each row for itself: slower.
        self.model.get_output_embeddings().register_forward_pre_hook(lambda _, given: (given[0].contiguous(),))
        if max([*words.opening, *words.closing, *words.end, 0]) >= self.vocabulary:
            raise UserError(
                f"{folder}: a mark or the prompt holds a token that the weights do not know ({self.vocabulary:,} rows)"
            )
        self.answers = AnswerTree(words.legal_ids)
        self._closing = self._inputs([words.closing])  # (1, L, d + p)
        self._opening: Layers = []  # (1, heads, L, head width)
        if words.opening:
            whole = torch.ones(1, len(words.opening), dtype=torch.bool, device=self.device)
            self._opening = self.reader.read(Context([], self._inputs([words.opening]), whole))
        self.texts = ReadTexts(self._read_texts, text_cache_bytes)

    @property
    def width(self) -> int:
        """Hidden size (d)."""
        return self.reader.width

    @property
    def vocabulary(self) -> int:
        """Tokens that it can write."""
        return int(self.reader.embedding.weight.shape[0])

    @property
    def embedding_rms(self) -> float:
        """Root mean square of an element of what the embedding gives; some LLMs scale what their matrix holds."""
        weight: Tensor = self.reader.embedding.weight
        rows = torch.arange(min(len(weight), 1000), device=self.device)
        given, held = (part.float().square().mean().sqrt() for part in (self.reader.embedding(rows), weight[rows]))
        return float(weight.float().square().mean().sqrt() * (given / held))

    def embed(self, ids: Sequence[int]) -> Tensor:
        """Embeddings (1, L, d) of L tokens."""
        return self._inputs([ids])[..., : self.width]

    def _inputs(self, ids: Sequence[Sequence[int]]) -> Tensor:
        """What the LLM reads for tokens (B, L), shape (B, L, d + p)."""
        return self.reader.inputs(torch.tensor(ids, dtype=torch.long, device=self.device))

    def embed_texts(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Embeddings (B, L, d) of texts, padded on the right, and their mask (B, L)."""
        inputs, mask = self._text_inputs(texts)
        return inputs[..., : self.width], mask

    def _text_inputs(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """What the LLM reads for texts (B, L, d + p), padded on the right, and their mask (B, L)."""
        ids = [torch.tensor(self.words.text_ids(text), dtype=torch.long, device=self.device) for text in texts]
        mask = pad_sequence([torch.ones_like(i, dtype=torch.bool) for i in ids], batch_first=True)
        return self.reader.inputs(pad_sequence(ids, batch_first=True)), mask

    def context(self, pseudo: Tensor, texts: Sequence[str]) -> Context:
        """Everything that the LLM reads before it answers.

        Args:
            pseudo: pseudo tokens, shape (B, n, d).
            texts: of the B clips.
        """
        opened = torch.ones(len(texts), len(self.words.opening), dtype=torch.bool, device=self.device)
        pseudo = self.reader.pseudo_inputs(pseudo.to(self._closing.dtype))
        if self.words.around.placement == "after_text":
            past, mask = self.texts([tuple(self._before(text)) for text in texts])
            after = torch.cat([pseudo, self._closing[:, -1:].expand(len(texts), -1, -1)], dim=1)
            if past and self._opening:
                past = [_after(opening, read) for opening, read in zip(self._opening, past, strict=True)]
            mask = torch.cat([opened, mask.to(self.device), torch.ones_like(after[..., 0], dtype=torch.bool)], dim=1)
            return Context(past or self._opening, after, mask)
        read, real = self._text_inputs(texts)
        rows = [
            torch.cat([tokens, words[there], self._closing[0]])
            for tokens, words, there in zip(pseudo, read, real, strict=True)
        ]
        embeddings, mask = padded(rows)
        return Context(self._opening, embeddings, torch.cat([opened, mask], dim=1))

    def _before(self, text: str) -> list[int]:
        """Tokens between the opening and the pseudo tokens, where these come after the text."""
        return [*self.words.text_ids(text), *self.words.closing[:-1]]

    def read_beforehand(self, texts: Sequence[str], batch_size: int) -> None:
        """Read texts that pseudo tokens will follow, and keep as many as the memory for them allows."""
        if self.words.around.placement == "after_text":
            self.texts.keep([tuple(self._before(text)) for text in [*texts, ""]], batch_size)  # "": a text left out

    def _read_texts(self, ids: Sequence[tuple[int, ...]]) -> Layers:
        """Keys and values of token sequences after the opening, padded on the left."""
        embeddings, mask = padded([self._inputs([row])[0] for row in ids])
        opened = torch.ones(len(ids), len(self.words.opening), dtype=torch.bool, device=self.device)
        read = self.reader.read(Context(self._opening, embeddings, torch.cat([opened, mask], dim=1)))
        start = len(self.words.opening)
        return [(keys[:, :, start:], values[:, :, start:]) for keys, values in read]

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
        logits = self.reader.follow(context, self.reader.inputs(given.clamp(min=0)), given != IGNORED)  # (B, A, V)
        return _soft_cross_entropy(logits, self.answers.along(answers, weights))

    @torch.inference_mode()
    def answer_logits(self, context: Context) -> Tensor:
        """What the LLM says at the end of each context and at each node of the tree of legal answers, in one pass.

        Returns:
            shape (B, 1 + N, V), as `self.answers` reads it.

        Raises:
            FloatingPointError: it computes NaN.
        """
        return _defined(self.reader.tree_logits(context, self.answers))

    @torch.inference_mode()
    def generate(self, context: Context) -> list[str]:
        """Answer greedily, at most as long as the longest legal answer.

        Raises:
            FloatingPointError: it computes NaN, whose greatest element would be the first token.
        """
        embeddings, mask = context.embeddings, context.mask
        cache = growing_cache(context)
        chosen: list[Tensor] = []
        for _ in range(self.words.longest_answer):
            chosen.append(_defined(self.reader.forward(embeddings, mask, cache, 1))[:, -1].argmax(dim=-1))  # (B,)
            embeddings = self.reader.inputs(chosen[-1][:, None])
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
        return [self.words.written(ids) for ids in torch.stack(chosen, dim=1).tolist()]


def _after(first: tuple[Tensor, Tensor], then: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Keys and values (B, heads, L, head width) after others (1, heads, L0, head width) that are the same for all."""
    keys, values = (torch.cat([a.expand(len(b), -1, -1, -1), b], dim=2) for a, b in zip(first, then, strict=True))
    return keys, values


def _defined(logits: Tensor) -> Tensor:
    if logits.isnan().any():
        raise FloatingPointError("the LLM computes NaN")
    return logits


def recompute_layers(model: nn.Module) -> None:
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
    limits = []
    for layer in layer_configs(config):
        slides = "local" in getattr(layer, "attention_layers", ["local"])  # GPT-Neo, where each layer has its kind
        names = ("max_position_embeddings", *(WINDOWS if slides else ()))
        found = [getattr(layer, name, None) for name in names]
        limits += [limit for limit in found if type(limit) is int and limit > 0]
    return min(limits, default=None)


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
