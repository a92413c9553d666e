"""Tiny random LLMs of many architectures, and the tokenizer of single bytes."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from mse.backbones.llm import FrozenLLM
from tests.conftest import Shared

SIZES = {
    "vocab_size": 258,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "initializer_range": 0.2,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
    "max_position_embeddings": 256,
}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {},
    "glm": {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}},
    "gemma3_text": {"sliding_window": 64, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
    "mistral": {"sliding_window": 64},
    "gpt_neo": {"num_hidden_layers": 2, "attention_types": [[["global", "local"], 1]], "window_size": 64},
    "gemma3n_text": {
        "intermediate_size": [96] * 4,
        "num_hidden_layers": 4,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "sliding_window": 64,
        "num_kv_shared_layers": 2,
        "hidden_size_per_layer_input": 16,  # whose square root bfloat16 can hold
        "vocab_size_per_layer_input": 258,
        "activation_sparsity_pattern": [0.0] * 4,
        "laurel_rank": 8,
        "altup_num_inputs": 2,
    },
    "gemma4_text": {
        "num_hidden_layers": 4,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "sliding_window": 64,
        "num_kv_shared_layers": 2,
        "hidden_size_per_layer_input": 16,  # whose square root bfloat16 can hold
        "vocab_size_per_layer_input": 258,
        "global_head_dim": 32,
    },
}
# Layers that compute with the weights of their parts; what they need depends on content.
EXPERTS: dict[str, dict[str, Any]] = {
    "jetmoe": {"num_local_experts": 4, "kv_channels": 16, "num_key_value_heads": 2},
    "llama4_text": {"num_local_experts": 2, "intermediate_size_mlp": 96, "attention_chunk_size": 64},
}


TEXTS = ["hello", "", "a much longer text"]


@pytest.fixture(scope="session")
def tiny(shared: Shared, tiny_llm: Path) -> Callable[[str], Path]:
    """A folder with a tiny random LLM of an architecture, and the tokenizer of single bytes."""
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    def make(kind: str, folder: Path) -> None:
        torch.manual_seed(0)
        config = CONFIG_MAPPING[kind](**SIZES | (ARCHITECTURES | EXPERTS)[kind])
        model = AutoModelForCausalLM.from_config(config).bfloat16().float()  # values that both dtypes can hold
        model.save_pretrained(folder)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(tiny_llm / name, folder)

    return lambda kind: shared(kind, partial(make, kind))


def pseudo_tokens(llm: FrozenLLM, count: int = 3) -> torch.Tensor:
    return llm.embedding_rms * torch.randn(count, 2, llm.width, generator=torch.Generator().manual_seed(0))


def whole_sequence(llm: FrozenLLM, pseudo: torch.Tensor, text: str, answer: list[int]) -> torch.Tensor:
    """Everything that the LLM reads, put together plainly: shape (1, L, d + p)."""
    before, words, after = (
        llm.reader.inputs(torch.tensor([ids], dtype=torch.long))
        for ids in (llm.words.opening, llm.words.text_ids(text), [*llm.words.closing, *answer])
    )
    return torch.cat([before, llm.reader.pseudo_inputs(pseudo[None]), words, after], dim=1)


def read_plainly(llm: FrozenLLM, inputs: torch.Tensor) -> torch.Tensor:
    """Logits (L, V) of inputs (1, L, d + p), with nothing kept."""
    return llm.model(**llm.reader.arguments(inputs), use_cache=False).logits[0]
