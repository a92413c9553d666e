"""First-generation Qwen as published, for transformers' Qwen2ForCausalLM (paper.md's layout).

Beyond the checkpoint's seq_length the original scales attention by length, which Qwen2 does not; the native
config's max_position_embeddings is that length, and longer inputs are refused (mse/backbones/llm.py).
"""

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import PositiveFloat, PositiveInt, model_validator

from mse.backbones.layout import Layout, Move, OriginalConfig
from mse.backbones.vocabulary import from_tiktoken
from mse.config import parse

END = "<|endoftext|>"
CONTROL = [END, "<|im_start|>", "<|im_end|>", *(f"<|extra_{number}|>" for number in range(205))]
# Words: a contraction; letters with one mark before them; a single digit; other marks; line ends; spaces.
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class QwenConfig(OriginalConfig):
    """config.json of first-generation Qwen; a flag has the one value that Qwen2ForCausalLM computes."""

    num_hidden_layers: PositiveInt
    hidden_size: PositiveInt
    intermediate_size: PositiveInt  # of both halves of the gated layer together
    num_attention_heads: PositiveInt
    kv_channels: PositiveInt
    vocab_size: PositiveInt
    seq_length: PositiveInt
    layer_norm_epsilon: PositiveFloat
    rotary_emb_base: PositiveFloat
    rotary_pct: Literal[1]
    no_bias: Literal[True]
    scale_attn_weights: Literal[True] = True
    tie_word_embeddings: Literal[False] = False
    quantization_config: None = None

    @model_validator(mode="after")
    def _heads_fill_the_width(self) -> "QwenConfig":
        if self.kv_channels * self.num_attention_heads != self.hidden_size or self.intermediate_size % 2:
            raise ValueError(
                f"hidden_size = {self.hidden_size}, num_attention_heads = {self.num_attention_heads}, kv_channels = "
                f"{self.kv_channels}, intermediate_size = {self.intermediate_size}: expected hidden_size = "
                "num_attention_heads x kv_channels, and an even intermediate_size"
            )
        return self


class Qwen(Layout):
    """First-generation Qwen; see `Layout`."""

    model_type: ClassVar[str] = "qwen"
    tokenizer_file: ClassVar[str] = "qwen.tiktoken"

    def __init__(self, config: dict[str, Any], source: str) -> None:
        self.sizes = parse(QwenConfig, config, source)

    @property
    def moves(self) -> list[Move]:
        """Queries, keys and values are one tensor in the original; w2 is the gate."""
        width = self.sizes.hidden_size
        before, after = "transformer.h.{i}", "model.layers.{i}"
        attention = tuple(f"{after}.self_attn.{part}_proj.{{kind}}" for part in "qkv")
        return [
            Move("transformer.wte.weight", ("model.embed_tokens.weight",)),
            Move("transformer.rotary_emb.inv_freq"),
            Move(f"{before}.ln_1.weight", (f"{after}.input_layernorm.weight",)),
            Move(f"{before}.attn.c_attn.{{kind}}", attention, (width, width, width)),
            Move(f"{before}.attn.c_proj.weight", (f"{after}.self_attn.o_proj.weight",)),
            Move(f"{before}.ln_2.weight", (f"{after}.post_attention_layernorm.weight",)),
            Move(f"{before}.mlp.w1.weight", (f"{after}.mlp.up_proj.weight",)),
            Move(f"{before}.mlp.w2.weight", (f"{after}.mlp.gate_proj.weight",)),
            Move(f"{before}.mlp.c_proj.weight", (f"{after}.mlp.down_proj.weight",)),
            Move("transformer.ln_f.weight", ("model.norm.weight",)),
            Move("lm_head.weight", ("lm_head.weight",)),
        ]

    def native_config(self) -> Any:
        """All heads have keys and values of their own."""
        from transformers import Qwen2Config

        s = self.sizes
        return Qwen2Config(
            vocab_size=s.vocab_size,
            hidden_size=s.hidden_size,
            intermediate_size=s.intermediate_size // 2,
            num_hidden_layers=s.num_hidden_layers,
            num_attention_heads=s.num_attention_heads,
            num_key_value_heads=s.num_attention_heads,
            max_position_embeddings=s.seq_length,
            rms_norm_eps=s.layer_norm_epsilon,
            rope_parameters={"rope_type": "default", "rope_theta": s.rotary_emb_base},
            tie_word_embeddings=False,
        )

    def tokenizer(self, folder: Path) -> Any:
        """tiktoken's vocabulary, then the control tokens."""
        from tokenizers import AddedToken
        from transformers import PreTrainedTokenizerFast

        built = from_tiktoken(folder / self.tokenizer_file, WORDS)
        built.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in CONTROL])
        return PreTrainedTokenizerFast(
            tokenizer_object=built,
            eos_token=END,
            pad_token=END,
            padding_side="left",
            model_max_length=self.sizes.seq_length,
            clean_up_tokenization_spaces=False,
        )
