"""What training and answering share: an LLM made ready for a corpus, on a device, with the same numbers each time."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from mse.backbones import memory
from mse.backbones.answers import AnswerTree
from mse.backbones.llm import FrozenLLM, reads_at_most
from mse.backbones.load import load_config, load_tokenizer
from mse.backbones.wording import Surroundings, Wording
from mse.config import AdapterSettings, Backbone, TrainSettings
from mse.data import Clips
from mse.errors import UserError
from mse.labels import LabelText
from mse.progress import say


def load_llm(
    folder: Path,
    backbone: Backbone,
    dataset: Clips,
    labels: LabelText,
    settings: TrainSettings,
    adapter: AdapterSettings | None,
    training: bool,
) -> FrozenLLM:
    """The frozen LLM, ready for the clips of a dataset.

    Args:
        folder: weights and tokenizer.
        backbone: marks, dtype and quantisation.
        dataset: its preamble, prompt and texts.
        labels: the legal answers.
        settings: batch size, longest text, device and memory for texts.
        adapter: how many pseudo tokens there are, and where they stand; None: there are none.
        training: whether gradients will be computed.

    Raises:
        UserError: the LLM can't be loaded, can't write every label, or needs more memory than is free.
    """
    device = chosen_device(settings.device)
    words = wording(folder, backbone, dataset, labels, settings, adapter)
    if dataset.texts:  # else they are not known yet
        say(words.described(dataset.texts, reads_at_most(load_config(folder))))
    recompute = training and settings.gradient_checkpointing
    limit = 1e9 * settings.text_cache_gb if training else 0.0
    tokens = words.longest_step if training else words.longest_context
    told = 1 + len(AnswerTree(words.legal_ids).tokens)  # validation reads the whole tree
    needs = memory.estimate(folder, backbone, settings.batch_size, tokens, training, recompute, device, told)
    kept = min(limit, _read_bytes(folder, backbone, words, dataset.texts, device)) if limit else 0.0
    memory.require(needs, device, kept)
    memory.return_freed_memory()
    return FrozenLLM(folder, backbone, words, device, recompute, limit)


def wording(
    folder: Path,
    backbone: Backbone,
    dataset: Clips,
    labels: LabelText,
    settings: TrainSettings,
    adapter: AdapterSettings | None,
) -> Wording:
    """What the LLM reads around the clips of a dataset; arguments and errors are those of `load_llm`."""
    around = Surroundings(
        dataset.preamble,
        dataset.prompt,
        labels.legal(),
        settings.max_text_tokens,
        adapter.pseudo_tokens if adapter else 0,
        adapter.placement if adapter else "before_text",
    )
    return Wording(load_tokenizer(folder), backbone, around)


def _read_bytes(folder: Path, backbone: Backbone, words: Wording, texts: Sequence[str], device: torch.device) -> float:
    """What the LLM reads of texts before the pseudo tokens, and of none, takes in memory."""
    if words.around.placement == "before_text":
        return 0.0
    tokens = sum(len(words.text_ids(text)) + len(words.closing) - 1 for text in {*texts, ""})
    return memory.of_read_tokens(folder, backbone, device, tokens)


def reproducible(threads: int) -> None:
    """Same machine, same number of threads, same bytes."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what CUDA wants for that, before its first use
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010 (torch hides it from checkers)


def chosen_device(name: str) -> torch.device:
    """The device of a setting; `auto` is a GPU where there is one.

    Raises:
        UserError: a GPU is asked for, and there is none.
    """
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise UserError("train.device = 'cuda', but torch sees no GPU here; device: auto, or a torch built for CUDA")
    return torch.device("cuda" if there and name != "cpu" else "cpu")
