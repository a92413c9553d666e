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
from torch import Tensor, nn

from mse.adapter import MSEAdapter
from mse.backbones.llm import FrozenLLM
from mse.backbones.reader import Context
from mse.config import Decoding, Intensity, Task
from mse.data import Batch, Clips, collate
from mse.errors import UserError
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


@dataclass(frozen=True)
class BatchAnswers:
    """Of B clips, as far as they were asked for.

    Attributes:
        texts: as generated, B or none.
        greedy: places among the K legal answers, found along the tree, B or none.
        probabilities: of the legal answers, given that one of them is written, shape (B, K); None where no decoding
            needs them.
    """

    texts: list[str]
    greedy: list[int]
    probabilities: Values | None


def clip_context(llm: FrozenLLM, adapter: MSEAdapter | None, batch: Batch) -> Context:
    """Everything that the LLM reads of some clips before it answers; without an adapter their texts alone."""
    if adapter is None:
        return llm.context(torch.zeros(len(batch.texts), 0, llm.width, device=llm.device), batch.texts)
    return llm.context(pseudo_tokens(llm, adapter, batch), batch.texts)


def pseudo_tokens(llm: FrozenLLM, adapter: MSEAdapter, batch: Batch) -> Tensor:
    """What an adapter makes of some clips, (B, n, d)."""
    return adapter.fuse(mixed_vectors(llm, adapter, batch))


def mixed_vectors(llm: FrozenLLM, adapter: MSEAdapter, batch: Batch) -> Tensor:
    """What enters an adapter's fusion for some clips, (B, fusion width)."""
    there = batch.to(llm.device)
    return adapter.mix(there.acoustic, there.facial, llm.embed_texts(batch.texts))


@torch.inference_mode()
def answer_batch(
    llm: FrozenLLM, adapter: MSEAdapter | None, batch: Batch, decodings: Collection[Decoding]
) -> BatchAnswers:
    """The LLM's answers to B clips.

    Args:
        llm: the frozen LLM.
        adapter: makes the pseudo tokens; None: there are none.
        batch: the clips.
        decodings: ways of reading them out.

    Raises:
        UserError: the LLM computes NaN.
    """
    context = clip_context(llm, adapter, batch)
    try:
        texts = llm.generate(context) if "generate" in decodings else []
        if not set(decodings) - {"generate"}:
            return BatchAnswers(texts, [], None)
        logits = llm.answer_logits(context)
    except FloatingPointError as e:
        raise UserError(
            f"the LLM computes NaN for a clip of {', '.join(batch.clip_ids)}; numbers too large for float16 need "
            "dtype: bfloat16 or float32 in the backbone's YAML, an adapter gone astray a lower train.learning_rate"
        ) from e
    likelihoods = nn.functional.softmax(llm.answers.log_likelihoods(logits).double(), dim=1)
    greedy = llm.answers.greedy(logits) if "constrained" in decodings else []
    return BatchAnswers(texts, greedy, likelihoods.cpu().numpy())


def answer(
    dataset: Clips,
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

    Raises:
        UserError: the LLM computes NaN; the message names the batch's clips.
    """
    if adapter is not None:
        adapter.eval()
    lengths = [len(llm.words.text_ids(dataset.texts[index])) for index in indices]
    order = sorted(range(len(indices)), key=lambda place: lengths[place])
    starts = range(0, len(order), batch_size)
    batches = []
    for start in track(starts, "answering", len(starts), "batches"):
        clips = [dataset[indices[place]] for place in order[start : start + batch_size]]
        batches.append(answer_batch(llm, adapter, collate(clips), decodings))
    back = np.argsort(order)
    values = np.array([labels.read(text) for text in llm.words.around.answers], np.float64)  # (K,)
    predictions: dict[Decoding, Values] = {}
    texts = [""] * len(indices)
    if "generate" in decodings:
        written = [text for batch in batches for text in batch.texts]
        texts = [written[place] for place in back]
        predictions["generate"] = np.array([labels.read(text) for text in texts], np.float64)  # None becomes NaN
    shares = [batch.probabilities for batch in batches if batch.probabilities is not None]
    if not shares:
        return Answers(predictions, texts, None)
    probabilities = np.concatenate(shares)[back]
    if "constrained" in decodings:
        predictions["constrained"] = values[[place for batch in batches for place in batch.greedy]][back]
    if "expected" in decodings:
        likeliest = values[probabilities.argmax(axis=1)]
        predictions["expected"] = probabilities @ values if isinstance(task, Intensity) else likeliest
    return Answers(predictions, texts, probabilities)
