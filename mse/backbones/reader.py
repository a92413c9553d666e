"""How a model of transformers is read: embeddings in place of tokens, a mask, and what was read before them."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers.cache_utils import Cache, DynamicLayer

from mse.backbones.answers import AnswerTree
from mse.errors import UserError

Layers = list[tuple[Tensor, Tensor]]  # keys and values by layer, (B, heads, L, head width)
CACHE_NAMES = ("cache", "past_key_values")  # of the argument, in transformers from 5.24 and before


@dataclass(frozen=True)
class Context:
    """What the LLM reads before it answers.

    Attributes:
        past: keys and values of what it has read, by layer: (1 or B, heads, L0, head width).
        embeddings: what follows, as `Reader.inputs` makes it, shape (B, L, d + p).
        mask: of both, False for padding, shape (B, L0 + L).
    """

    past: Layers
    embeddings: Tensor
    mask: Tensor


class Reader:
    """A model that reads embeddings.

    Some LLMs (Gemma 3n, Gemma 4) add something to a token in each layer, which is looked up by its number. It stands
    behind the token's embedding, in p more columns; p is 0 for other LLMs. A pseudo token has no number: as these LLMs
    do with images and sounds, it is given what padding has.

    Args:
        model: a causal language model.

    Attributes:
        width: hidden size (d).

    Raises:
        UserError: it takes no embeddings or no positions, or keeps no keys and values.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.embedding: Any = model.get_input_embeddings()
        arguments = inspect.signature(model.forward).parameters
        name = type(model).__name__
        if "position_ids" not in arguments:
            raise UserError(f"{name} takes no positions of tokens, so that padding would count; choose another LLM")
        if "inputs_embeds" not in arguments:
            raise UserError(f"{name} takes no embeddings, so that it can't read pseudo tokens; choose another LLM")
        cache = next((cache for cache in CACHE_NAMES if cache in arguments), None)
        if cache is None:
            raise UserError(
                f"{name} keeps no keys and values of what it has read, such as the prompt; choose another LLM"
            )
        self._cache_name = cache
        config = model.config.get_text_config()
        self._by_layer: Any = None
        if getattr(config, "hidden_size_per_layer_input", None):
            self._by_layer = next((part for part in model.modules() if hasattr(part, "get_per_layer_inputs")), None)
            self._layers = int(config.num_hidden_layers)
        self._padding = getattr(config, "pad_token_id", None) or 0
        self.width = int(self.embedding.weight.shape[-1])

    def inputs(self, ids: Tensor) -> Tensor:
        """What is read for tokens (...), shape (..., d + p)."""
        embedded: Tensor = self.embedding(ids)
        if self._by_layer is None:
            return embedded
        return torch.cat([embedded, self._of_layers(ids).to(embedded.dtype)], dim=-1)

    def pseudo_inputs(self, tokens: Tensor) -> Tensor:
        """What is read for pseudo tokens (..., d), shape (..., d + p)."""
        if self._by_layer is None:
            return tokens
        padding = self._of_layers(torch.tensor([self._padding], device=tokens.device))[0]
        return torch.cat([tokens, padding.to(tokens.dtype).expand(*tokens.shape[:-1], -1)], dim=-1)

    def _of_layers(self, ids: Tensor) -> Tensor:
        added: Tensor = self._by_layer.get_per_layer_inputs(ids)
        return added.flatten(start_dim=-2)  # (..., layers x width) -> (..., p)

    @torch.no_grad()
    def read(self, context: Context) -> Layers:
        """Keys and values of a context, by layer: (B, heads, L0 + L, head width)."""
        cache = _cache(context, DynamicLayer)
        self.forward(context.embeddings, context.mask, cache, 1)
        return [(layer.keys, layer.values) for layer in cache.layers]

    def follow(self, context: Context, inputs: Tensor, real: Tensor) -> Tensor:
        """Logits at the last position of a context and at all inputs (B, L, d + p) after it: shape (B, 1 + L, V).

        Args:
            context: of B clips.
            inputs: what follows.
            real: False for padding, shape (B, L).
        """
        embeddings = torch.cat([context.embeddings, inputs], dim=1)
        mask = torch.cat([context.mask, real], dim=1)
        return self.forward(embeddings, mask, _cache(context, ReadOnlyLayer), 1 + inputs.shape[1])

    def tree_logits(self, context: Context, tree: AnswerTree) -> Tensor:
        """Logits at the end of each context and at each node of a tree of answers, in one pass: (B, 1 + N, V)."""
        device = context.mask.device
        clips, before, nodes = len(context.mask), context.mask.shape[1], len(tree.tokens)
        read = self.inputs(tree.tokens.to(device)).expand(clips, -1, -1)
        embeddings = torch.cat([context.embeddings, read], dim=1)
        sees = torch.zeros(clips, embeddings.shape[1], before + nodes, dtype=torch.bool, device=device)
        length = context.embeddings.shape[1]
        causal = torch.ones(length, before, dtype=torch.bool, device=device).tril(before - length)
        sees[:, :length, :before] = causal & context.mask[:, None]
        # Padding sees itself: a row that saw nothing would be NaN, and a NaN spreads.
        sees[:, :length, before - length : before] |= torch.eye(length, dtype=torch.bool, device=device)
        sees[:, length:, :before] = context.mask[:, None]
        sees[:, length:, before:] = tree.sees.to(device)
        real = context.mask.sum(dim=1, keepdim=True)
        at = torch.cat([_positions(context.mask)[:, -length:], real - 1 + tree.depth.to(device)], dim=1)
        return self.forward(embeddings, sees[:, None], _cache(context, ReadOnlyLayer), 1 + nodes, at)

    def forward(self, inputs: Tensor, mask: Tensor, cache: Any, logits: int, at: Tensor | None = None) -> Tensor:
        """Logits at the last positions, after inputs (B, L, d + p) that follow a cache.

        Args:
            inputs: what is read.
            mask: (B, L0 + L), or (B, 1, L, L0 + L) where the rule is another than to see all that came before.
            cache: of the library, which adds to it.
            logits: how many positions.
            at: positions (B, L), needed for the second kind of mask; else they count real tokens.
        """
        if at is None:
            at, mask = _positions(mask)[:, -inputs.shape[1] :], mask.long()
        elif self.model.config.get_text_config()._attn_implementation == "eager":  # which adds its mask
            mask = torch.zeros_like(mask, dtype=torch.float32).masked_fill(~mask, torch.finfo(torch.float32).min)
        given: dict[str, Any] = {self._cache_name: cache, "use_cache": True, "logits_to_keep": logits}
        read: Tensor = self.model(**self.arguments(inputs), attention_mask=mask, position_ids=at, **given).logits
        return read[:, -logits:]  # old architectures give them all

    def arguments(self, inputs: Tensor) -> dict[str, Tensor]:
        """The model's arguments for inputs (B, L, d + p)."""
        if self._by_layer is None:
            return {"inputs_embeds": inputs}
        by_layer = inputs[..., self.width :].unflatten(-1, (self._layers, -1))
        return {"inputs_embeds": inputs[..., : self.width], "per_layer_inputs": by_layer}


class ReadOnlyLayer(DynamicLayer):
    """Keys and values to which nothing is added: a layer that is computed twice sees the same twice."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """What was read (B, heads, L, head width), and these keys and values after it."""
        if self.keys is None or self.values is None:
            return key_states, value_states
        return torch.cat([self.keys, key_states], dim=-2), torch.cat([self.values, value_states], dim=-2)


def padded(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Sequences (L, d) padded on the left, shape (B, L, d), and their mask (B, L)."""
    ones = [torch.ones_like(row[:, 0], dtype=torch.bool) for row in rows]
    return (
        pad_sequence(list(rows), batch_first=True, padding_side="left"),
        pad_sequence(ones, batch_first=True, padding_side="left"),
    )


def growing_cache(context: Context) -> Any:
    """What was read before a context, in the library's form, which adds what is read after it."""
    return _cache(context, DynamicLayer)


def _cache(context: Context, kind: type[DynamicLayer]) -> Any:
    if not context.past:
        return Cache(layer_class_to_replicate=kind)
    layers: list[Any] = []
    for keys, values in context.past:
        layer = kind()
        layer.lazy_initialization(keys, values)
        layer.keys, layer.values = (part.expand(len(context.mask), -1, -1, -1) for part in (keys, values))
        layers.append(layer)
    return Cache(layers=layers)


def _positions(mask: Tensor) -> Tensor:
    """Places of real tokens, counted from 0, of the same shape as the mask (B, L)."""
    return (mask.cumsum(dim=1) - 1).clamp(min=0)
