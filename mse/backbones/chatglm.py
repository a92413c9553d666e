"""ChatGLM2 and ChatGLM3 as published, for transformers' GlmForCausalLM (paper.md's layout, no permutation)."""

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import PositiveFloat, PositiveInt, model_validator

from mse.backbones.layout import Layout, Move, OriginalConfig
from mse.backbones.vocabulary import from_sentencepiece
from mse.config import parse

# They follow the SentencePiece model's ids. ChatGLM2 knows the first five alone; the others mean nothing to it.
CONTROL = ["[MASK]", "[gMASK]", "[sMASK]", "sop", "eop", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"]
OPENING = ["[gMASK]", "sop"]  # how every text begins
ROTARY_BASE = 10000.0


class ChatGLMConfig(OriginalConfig):
    """config.json of ChatGLM2 and ChatGLM3; a flag has the one value that GlmForCausalLM computes."""

    num_layers: PositiveInt
    hidden_size: PositiveInt
    ffn_hidden_size: PositiveInt
    num_attention_heads: PositiveInt
    kv_channels: PositiveInt
    multi_query_attention: Literal[True]
    multi_query_group_num: PositiveInt
    padded_vocab_size: PositiveInt
    seq_length: PositiveInt
    layernorm_epsilon: PositiveFloat
    rmsnorm: Literal[True]
    post_layer_norm: Literal[True]
    apply_residual_connection_post_layernorm: Literal[False]
    add_bias_linear: Literal[False]
    add_qkv_bias: bool
    original_rope: Literal[True] = True
    rope_ratio: float = 1
    pre_seq_len: None = None  # a learned prefix
    quantization_bit: Literal[0] = 0
    tie_word_embeddings: Literal[False] = False

    @model_validator(mode="before")
    @classmethod
    def _second_or_third(cls, given: dict[str, Any]) -> dict[str, Any]:
        if "inner_hidden_size" in given or "position_encoding_2d" in given:
            raise ValueError("this is first-generation ChatGLM, another architecture; ChatGLM2 and 3 can be converted")
        if given.get("rope_ratio", 1) != 1:
            raise ValueError(
                f"rope_ratio = {given['rope_ratio']}: this is a variant for long texts, whose positions turn "
                "otherwise; take the plain one"
            )
        return given


class ChatGLM(Layout):
    """ChatGLM2 and ChatGLM3; see `Layout`."""

    model_type: ClassVar[str] = "chatglm"
    tokenizer_file: ClassVar[str] = "tokenizer.model"

    def __init__(self, config: dict[str, Any], source: str) -> None:
        self.sizes = parse(ChatGLMConfig, config, source)

    @property
    def moves(self) -> list[Move]:
        """Queries, keys and values are one tensor in the original; gate and up projection are one in both."""
        s = self.sizes
        heads, groups = s.num_attention_heads * s.kv_channels, s.multi_query_group_num * s.kv_channels
        before, after = "transformer.encoder.layers.{i}", "model.layers.{i}"
        attention = tuple(f"{after}.self_attn.{part}_proj.{{kind}}" for part in "qkv")
        return [
            Move("transformer.embedding.word_embeddings.weight", ("model.embed_tokens.weight",)),
            Move("transformer.rotary_pos_emb.inv_freq"),
            Move(f"{before}.input_layernorm.weight", (f"{after}.input_layernorm.weight",)),
            Move(f"{before}.self_attention.query_key_value.{{kind}}", attention, (heads, groups, groups)),
            Move(f"{before}.self_attention.dense.weight", (f"{after}.self_attn.o_proj.weight",)),
            Move(f"{before}.post_attention_layernorm.weight", (f"{after}.post_attention_layernorm.weight",)),
            Move(f"{before}.mlp.dense_h_to_4h.weight", (f"{after}.mlp.gate_up_proj.weight",)),
            Move(f"{before}.mlp.dense_4h_to_h.weight", (f"{after}.mlp.down_proj.weight",)),
            Move("transformer.encoder.final_layernorm.weight", ("model.norm.weight",)),
            Move("transformer.output_layer.weight", ("lm_head.weight",)),
        ]

    def native_config(self) -> Any:
        """Half of each head's width is turned by position."""
        from transformers import GlmConfig

        s = self.sizes
        return GlmConfig(
            vocab_size=s.padded_vocab_size,
            hidden_size=s.hidden_size,
            intermediate_size=s.ffn_hidden_size,
            num_hidden_layers=s.num_layers,
            num_attention_heads=s.num_attention_heads,
            num_key_value_heads=s.multi_query_group_num,
            head_dim=s.kv_channels,
            max_position_embeddings=s.seq_length,
            rms_norm_eps=s.layernorm_epsilon,
            attention_bias=s.add_qkv_bias,
            rope_parameters={"rope_type": "default", "rope_theta": ROTARY_BASE, "partial_rotary_factor": 0.5},
            tie_word_embeddings=False,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
        )

    def tokenizer(self, folder: Path) -> Any:
        """SentencePiece, then the control tokens; every text begins with [gMASK] sop."""
        from tokenizers import processors
        from transformers import PreTrainedTokenizerFast

        built = from_sentencepiece(folder / self.tokenizer_file, CONTROL)
        first = built.get_vocab_size() - len(CONTROL)
        opening = [(token, first + CONTROL.index(token)) for token in OPENING]
        template = " ".join([*OPENING, "$A"])
        built.post_processor = processors.TemplateProcessing(single=template, special_tokens=opening)
        return PreTrainedTokenizerFast(
            tokenizer_object=built,
            unk_token="<unk>",
            bos_token="<s>",
            eos_token="</s>",
            pad_token="<unk>",
            padding_side="left",
            split_special_tokens=True,  # as the original: what looks like a control token is mere text
            model_max_length=self.sizes.seq_length,
            clean_up_tokenization_spaces=False,
        )
