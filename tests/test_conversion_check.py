"""What a conversion refuses, and what it tries: embeddings, windows, gradients."""

import functools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mse.backbones.convert import convert
from mse.backbones.llm import reads_at_most
from mse.backbones.load import require_attention
from mse.backbones.wording import Surroundings
from mse.errors import UserError
from tests.test_llm import AROUND, frozen, only
from tests.tiny_llms import ARCHITECTURES, EXPERTS, TEXTS, pseudo_tokens, read_plainly


def test_llm_with_a_running_state_is_refused(tmp_path: Path, tiny_llm: Path) -> None:
    from transformers import MambaConfig, MambaForCausalLM

    MambaForCausalLM(MambaConfig(vocab_size=258, hidden_size=32, num_hidden_layers=1)).save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_llm / name, tmp_path)
    with pytest.raises(UserError, match=r"layers other than attention .*choose another LLM"):
        frozen(tmp_path, AROUND)


@pytest.mark.parametrize("kind", ["gemma3_text", "gemma3n_text", "gemma4_text", "mistral", "gpt_neo"])
def test_context_longer_than_a_sliding_window_is_refused(tiny: Callable[[str], Path], kind: str) -> None:
    with pytest.raises(UserError, match=r"config\.json: the LLM reads at most 64 tokens, but a context may have 7\d: "):
        frozen(tiny(kind), Surroundings("x" * 50, "?", ["1", "2"], 12))


def test_windows_go_by_many_names() -> None:
    from transformers import CONFIG_MAPPING as known

    sizes = {"num_layers": 2, "max_position_embeddings": 300, "window_size": 50}
    assert reads_at_most(known["gpt_neo"](attention_types=[[["global"], 2]], **sizes)) == 300
    assert reads_at_most(known["gpt_neo"](attention_types=[[["global", "local"], 1]], **sizes)) == 50
    assert reads_at_most(known["llama4_text"](attention_chunk_size=77)) == 77
    assert reads_at_most(known["modernbert-decoder"](local_attention=66)) <= 66
    assert reads_at_most(known["doge"](keep_window_size=55)) == 55
    assert reads_at_most(known["qwen2"](max_position_embeddings=300, sliding_window=50)) == 300  # it is not used
    assert reads_at_most(known["gpt2"](n_positions=99)) == 99


@pytest.mark.parametrize("kind", [*ARCHITECTURES, *EXPERTS])
def test_conversion_tries_what_an_adapter_needs(tiny: Callable[[str], Path], kind: str, tmp_path: Path) -> None:
    convert(tiny(kind), tmp_path / "out")
    llm = frozen(tmp_path / "out", AROUND)
    ids = torch.tensor([[5, 7, 6, 8]])
    with torch.no_grad():
        assert torch.allclose(read_plainly(llm, llm.reader.inputs(ids)), llm.model(ids).logits[0], atol=1e-4)
    pseudo = pseudo_tokens(llm).requires_grad_()
    llm.answer_loss(llm.context(pseudo, TEXTS), only(llm, "1", "1", "1")).backward()
    assert pseudo.grad.isfinite().all() and pseudo.grad.abs().sum(dim=-1).all()


class Deaf(torch.autograd.Function):
    """Numbers pass, gradients do not."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(gradients[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda read: Deaf.apply(read), "gives pseudo tokens no gradient, so that no adapter could learn"),
        (lambda read: 8 * read, "reads .* embeddings otherwise than their tokens"),
        (lambda read: read[:, :, :-1], "can't be read as an adapter needs it, as embeddings at given positions"),
    ],
)
def test_embeddings_that_are_not_read_as_tokens_are(
    tiny: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any, message: str
) -> None:
    from transformers import LlamaForCausalLM

    plain = LlamaForCausalLM.forward

    @functools.wraps(plain)
    def forward(self: Any, *given: Any, inputs_embeds: Any = None, **more: Any) -> Any:
        return plain(self, *given, inputs_embeds=None if inputs_embeds is None else change(inputs_embeds), **more)

    monkeypatch.setattr(LlamaForCausalLM, "forward", forward)
    with pytest.raises(UserError, match=f"LlamaForCausalLM {message}.*; choose another LLM"):
        convert(tiny("llama"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_llm_that_keeps_nothing_is_refused(tmp_path: Path, tiny_llm: Path) -> None:
    from transformers import OpenAIGPTConfig, OpenAIGPTLMHeadModel

    config = OpenAIGPTConfig(vocab_size=258, n_embd=64, n_layer=2, n_head=4, n_positions=256)
    OpenAIGPTLMHeadModel(config).save_pretrained(tmp_path / "gpt")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_llm / name, tmp_path / "gpt")
    for refused in (lambda: convert(tmp_path / "gpt", tmp_path / "out"), lambda: frozen(tmp_path / "gpt", AROUND)):
        with pytest.raises(UserError, match=r"gpt: OpenAIGPTLMHeadModel keeps no keys and values .*choose another LLM"):
            refused()


def test_several_language_models_in_one_are_refused(tmp_path: Path) -> None:
    from transformers import EncodecConfig, MusicgenConfig, MusicgenDecoderConfig, T5Config

    parts = {"text_encoder": T5Config(), "audio_encoder": EncodecConfig(), "decoder": MusicgenDecoderConfig()}
    config = MusicgenConfig(**{name: part.to_dict() for name, part in parts.items()})
    with pytest.raises(UserError, match=r"x: a model of several language models.*choose an LLM"):
        require_attention(config, "x")
