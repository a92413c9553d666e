"""What an LLM answers to clips, read out in three ways.

`generate` writes token by token whatever is likeliest (paper); what comes may be no legal label. `constrained` does so
along the tree of legal answers. `expected` weighs all legal answers by their likelihood: the mean intensity, or the
likeliest class. The last two, and the probabilities, come from one pass over the tree.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mse.adapter import MSEAdapter
from mse.backbones.llm import Context, FrozenLLM
from mse.config import Decoding, Intensity, Task
from mse.data import Batch, ClipDataset, collate
from mse.labels import LabelText
from mse.progress import track

Values = npt.NDArray[np.float64]
DECODINGS: tuple[Decoding, ...] = ("generate", "constrained", "expected")


@dataclass(frozen=True)
class Answers:
    """Of N clips.

    Attributes:
        predictions: labels as numbers by decoding, NaN for an answer that is no legal label, shape (N,).
        texts: what was generated; empty where that was not asked for.
        probabilities: of each of K legal labels, given that one of them is written, shape (N, K); None where no
            decoding needs them.
    """

    predictions: dict[Decoding, Values]
    texts: list[str]
    probabilities: Values | None


def clip_context(llm: FrozenLLM, adapter: MSEAdapter | None, batch: Batch) -> Context:
    """Everything that the LLM reads of some clips before it answers; without an adapter their texts alone."""
    if adapter is None:
        return llm.context(torch.zeros(len(batch.texts), 0, llm.width, device=llm.device), batch.texts)
    there = batch.to(llm.device)
    return llm.context(adapter(there.acoustic, there.facial, llm.embed_texts(batch.texts)), batch.texts)


@torch.inference_mode()
def answer(
    dataset: ClipDataset,
    indices: Sequence[int],
    llm: FrozenLLM,
    adapter: MSEAdapter | None,
    labels: LabelText,
    task: Task,
    batch_size: int,
    decodings: Collection[Decoding] = DECODINGS,
) -> Answers:
    """The LLM's answers to some clips.

    Args:
        dataset: holds the clips.
        indices: which clips.
        llm: the frozen LLM.
        adapter: makes the pseudo tokens; None: there are none.
        labels: the legal answers.
        task: what they mean.
        batch_size: clips at a time; those with texts of like length are taken together.
        decodings: ways of reading them out.

    Returns:
        in the order of `indices`.
    """
    if adapter is not None:
        adapter.eval()
    order = sorted(range(len(indices)), key=lambda place: len(llm.words.text_ids(dataset.texts[indices[place]])))
    values = np.array([labels.read(text) for text in llm.words.around.answers], np.float64)  # (K,)
    texts, likelihoods, greedy = [""] * len(indices), np.zeros((len(indices), len(values))), np.zeros(len(indices), int)
    starts = range(0, len(order), batch_size)
    for start in track(starts, "answering", len(starts), "batches"):
        places = order[start : start + batch_size]
        context = clip_context(llm, adapter, collate([dataset[indices[place]] for place in places]))
        if "generate" in decodings:
            for place, text in zip(places, llm.generate(context), strict=True):
                texts[place] = text
        if set(decodings) != {"generate"}:
            logits = llm.answer_logits(context)
            likelihoods[places] = nn.functional.softmax(llm.answers.log_likelihoods(logits).double(), dim=1).cpu()
            greedy[places] = llm.answers.greedy(logits)
    predictions: dict[Decoding, Values] = {}
    if "generate" in decodings:
        predictions["generate"] = np.array([labels.read(text) for text in texts], np.float64)  # None becomes NaN
    if "constrained" in decodings:
        predictions["constrained"] = values[greedy]
    if "expected" in decodings:
        likeliest = values[likelihoods.argmax(axis=1)]
        predictions["expected"] = likelihoods @ values if isinstance(task, Intensity) else likeliest
    return Answers(predictions, texts, likelihoods if set(decodings) != {"generate"} else None)
