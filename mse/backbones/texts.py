"""Keys and values of texts that pseudo tokens come after: read once, without gradient, and kept while they fit."""

from collections.abc import Callable, Sequence
from itertools import groupby

import torch
from torch import Tensor

from mse.backbones.reader import Layers
from mse.progress import say, track

Ids = tuple[int, ...]


class ReadTexts:
    """What an LLM has read of texts.

    Which texts are kept depends on the texts alone, never on the order in which they are asked for, so that a run that
    was resumed computes what it would have.

    Args:
        read: reads token sequences, padded on the left.
        limit_bytes: memory for what is kept.
    """

    def __init__(self, read: Callable[[Sequence[Ids]], Layers], limit_bytes: float) -> None:
        self._read, self._limit = read, limit_bytes
        self._kept: dict[Ids, Layers] = {}

    def keep(self, texts: Sequence[Ids], batch_size: int) -> None:
        """Read texts, shortest first, until the memory is full.

        Args:
            texts: token sequences.
            batch_size: sequences at a time, all of one length.
        """
        size = 0
        ordered = sorted(set(texts) - {()}, key=lambda ids: (len(ids), ids))
        batches = [
            alike[start : start + batch_size]
            for alike in (list(group) for _, group in groupby(ordered, key=len))
            for start in range(0, len(alike), batch_size)
        ]
        for batch in track(batches, "reading texts", len(batches), "batches"):
            layers = self._read(batch)
            size += sum(keys.nbytes + values.nbytes for keys, values in layers)
            if size > self._limit:
                break
            for row, ids in enumerate(batch):
                self._kept[ids] = [(keys[row].clone(), values[row].clone()) for keys, values in layers]
        if len(self._kept) < len(ordered):
            say(
                f"{len(self._kept)} of {len(ordered)} texts are kept in memory (train.text_cache_gb: "
                f"{self._limit / 1e9:g}); the others are read anew in each epoch"
            )

    def forget(self) -> None:
        """Keep nothing any more."""
        self._kept.clear()

    def __call__(self, texts: Sequence[Ids]) -> tuple[Layers, Tensor]:
        """What was read of the texts of a batch.

        Args:
            texts: B token sequences.

        Returns:
            keys and values, padded on the left, by layer; mask (B, L), False for padding.
        """
        longest = max(map(len, texts))
        rows = self._rows(set(texts) - {()})
        padded = []
        for pairs in zip(*rows.values(), strict=True):  # one layer of each text
            layer = dict(zip(rows, pairs, strict=True))
            keys, values = (part.new_zeros(len(texts), part.shape[0], longest, part.shape[2]) for part in pairs[0])
            for row, ids in enumerate(texts):
                if ids:
                    keys[row, :, -len(ids) :], values[row, :, -len(ids) :] = layer[ids]
            padded.append((keys, values))
        lengths = torch.tensor([len(ids) for ids in texts])
        return padded, torch.arange(longest, 0, -1)[None] <= lengths[:, None]

    def _rows(self, texts: set[Ids]) -> dict[Ids, Layers]:
        """Keys and values (heads, L, head width) of each text, read now where they are not kept."""
        rows = {ids: self._kept[ids] for ids in texts if ids in self._kept}
        missing = sorted(texts - set(rows))
        if missing:
            layers = self._read(missing)
            for row, ids in enumerate(missing):
                rows[ids] = [(keys[row, :, -len(ids) :], values[row, :, -len(ids) :]) for keys, values in layers]
        return rows
