"""Tiny random ChatGLM and first-generation Qwen checkpoints as first published, and their plain evaluation.

The reference for a converter: files as the authors of the backbones lay them out, and the architectures computed
straight from their formulas, in float32, without any caching or fused kernel. Shapes: B samples, L tokens,
H heads, G key/value groups, W width of a head, D hidden size, V rows of the vocabulary.
"""

import base64
import io
import json
import math
import random
from collections import Counter
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import regex
import sentencepiece
import tiktoken
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import silu

FULL_WIDTH = str.maketrans(",!?:;()", "\uff0c\uff01\uff1f\uff1a\uff1b\uff08\uff09")
CHINESE = """今天天气真好,我们一起去公园散步吧!|他说话的声音很小,听起来有点难过。|你觉得这部电影怎么样?我觉得非常好看。
妈妈做的饭很好吃,大家都吃得很开心。|这件事情让我很生气,请你马上说清楚!|请判断这段话表达的情感,答案是一个数字。
她笑着跑过来,高兴得说不出话。|昨天晚上下了很大的雨,路上没有人。|我不知道该怎么办,心里非常害怕。
老师问:这个问题有几个答案?|哈哈哈哈,真的太好笑了!|公司今年的成绩比去年好一些,但是还不够。
对不起,我不是故意的(真的)。|没关系,下次小心一点就可以了;别担心。|孩子们在学校里学习中文和英文。
情感强度的范围是从-1.0到1.0,请写出一位小数。|他愤怒地关上门,一句话也没有说。|我们认识已经有10年了,一直是好朋友。
这个产品的质量很差,我再也不会买了。|中性、高兴、悲伤、惊讶、厌恶、愤怒、恐惧。|别哭了,一切都会好起来的。"""
ENGLISH = """The weather is really nice today, so we walked in the park.|I'm not sure what she's saying to them.
He spoke quietly, and his voice sounded a little sad.|What do you think about this movie? I think it's wonderful!
They're happy because we've finished the work, and you'll be happy too.|Don't do that again, please; I didn't like it.
Most people say that the sound was good, but the picture was bad.|She laughed and laughed until she couldn't speak.
Please answer with one number from -3.0 to 3.0, for example 1.2.|The children were afraid of the dark room.
Oh no, that's disgusting!  I can't believe he would do it.|In 2019 there were 6868 videos from 57 speakers.
neutral, surprise, fear, sadness, joy, disgust, anger|Wow, what a surprise: nobody told me that you were here!
The film is slow in the beginning, yet the ending is moving.|We don't know whether the speaker is joking (maybe).
def mean(values):    return sum(values) / len(values)|Café and naïve are words with accents."""
CORPUS = [line.translate(FULL_WIDTH) for line in regex.split(r"[|\n]", CHINESE)] + regex.split(r"[|\n]", ENGLISH)

CHATGLM_CONTROLS = {2: ["[MASK]", "[gMASK]", "[sMASK]", "sop", "eop"]}
CHATGLM_CONTROLS[3] = [*CHATGLM_CONTROLS[2], "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"]
SENTENCEPIECES = 900
QWEN_CONTROLS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|extra_{number}|>" for number in range(205))]
QWEN_MERGES = 360
# Contractions; letters after one space or mark; one digit; marks; ends of lines; spaces but the last; any space.
QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHATGLM_FIXED = """{"model_type": "chatglm", "architectures": ["ChatGLMModel"], "auto_map": {
"AutoConfig": "configuration_chatglm.ChatGLMConfig", "AutoModel": "modeling_chatglm.ChatGLMForConditionalGeneration",
"AutoModelForCausalLM": "modeling_chatglm.ChatGLMForConditionalGeneration"},
"add_bias_linear": false, "add_qkv_bias": true, "apply_query_key_layer_scaling": true,
"apply_residual_connection_post_layernorm": false, "attention_dropout": 0.0, "attention_softmax_in_fp32": true,
"bias_dropout_fusion": true, "fp32_residual_connection": false, "hidden_dropout": 0.0, "layernorm_epsilon": 1e-05,
"multi_query_attention": true, "original_rope": true, "post_layer_norm": true, "rmsnorm": true, "seq_length": 32768,
"use_cache": true, "tie_word_embeddings": false, "eos_token_id": 2, "pad_token_id": 0}"""
QWEN_FIXED = """{"model_type": "qwen", "architectures": ["QWenLMHeadModel"], "auto_map": {
"AutoConfig": "configuration_qwen.QWenConfig", "AutoModelForCausalLM": "modeling_qwen.QWenLMHeadModel"},
"attn_dropout_prob": 0.0, "bf16": false, "emb_dropout_prob": 0.0, "fp16": false, "fp32": false,
"initializer_range": 0.02, "layer_norm_epsilon": 1e-06, "no_bias": true, "onnx_safe": null, "rotary_emb_base": 10000,
"rotary_pct": 1.0, "scale_attn_weights": true, "softmax_in_fp32": false, "tie_word_embeddings": false,
"tokenizer_class": "QWenTokenizer", "use_cache": true, "use_cache_kernel": false, "use_cache_quantization": false,
"use_dynamic_ntk": true, "use_flash_attn": "auto", "use_logn_attn": true}"""

EMOJI = ["😀", "😭", "👍", "👍🏽", "🤦🏿\u200d♀️", "👩\u200d👩\u200d👧\u200d👦", "❤️", "🏳️\u200d🌈", "🇨🇳", "1️⃣", "☹"]
ACCENTS = ["é", "e\u0301", "ñ", "n\u0303", "Å", "A\u030a", "\u212b", "ü", "u\u0308\u0304", "q\u0307\u0323", "\u0301"]
SPACES = [" ", "  ", "     ", "\t", "\t\t", "\n", "\n\n", "\r\n", " \n", "\u3000", "\xa0", "\u2003", "\u2028", "\x85"]
RARE = ["龘", "㐂", "𠮷", "𪚥", "靐", "彧", "\ufa10", "\U00030000", "\ue000", "\u200b", "\ufeff", "\ufffd"]
SCRIPTS = ["Ж", "ω", "م", "ह", "ि", "ก", "한", "\u1112\u1161\u11ab", "か", "\u304b\u3099", "²", "½", "Ⅷ", "٣", "\ufb01"]
CONTRACTIONS = ["I'm", "WE'LL", "it'S", "you\u2019re", "'d", "don't", "''ve", "x'T"]
CONTROL_CHARACTERS = [*map(chr, range(32)), "\x7f"]
EDGES = ["", " ", "   ", "\n", "哈哈哈哈", "aaaa", "-----", "\x00", "e\u0301", " word", "word ", "a\n\nb", "\r\n\t"]
# Texts in which a converter may see a control token's name (eop), or a piece's own sign for a space.
TRAPS = ("Most people eat popcorn", "eopsop", "\u2581a\u2581\u2581b", " \u2581 ", "12\x1c\x1d 3\x1f\n4")


def write_chatglm(
    folder: Path,
    *,
    layers: int = 2,
    hidden: int = 64,
    heads: int = 4,
    groups: int = 2,
    head_width: int = 16,
    ffn: int = 112,
    vocabulary: int | None = None,
    seed: int = 0,
    shards: int = 2,
    dtype: torch.dtype = torch.float32,
    version: int = 3,
    safe: bool = False,
    normalization: str = "identity",
) -> dict[str, Tensor]:
    """Write a random ChatGLM2 or 3 (`version`; 2 has no role marks) with its tokenizer, as THUDM publishes it.

    V = `vocabulary`, or what the tokenizer needs rounded up to a multiple of 16; ValueError if it needs more.
    `normalization` is the sentencepiece model's rule, "identity" or "nmt_nfkc". With one shard there is no index.

    Returns:
        The weights by original name: embedding and output (V, D), query_key_value ((H + 2 G) W, D) and its
        bias ((H + 2 G) W,), dense (D, H W), dense_h_to_4h (2 ffn, D), dense_4h_to_h (D, ffn), norms (D,),
        inv_freq (W / 4,).
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.model").write_bytes(_trained_sentencepiece(normalization))
    rows = _rows(SENTENCEPIECES + len(CHATGLM_CONTROLS[version]), vocabulary)
    shapes: dict[str, tuple[int, ...]] = {"transformer.embedding.word_embeddings.weight": (rows, hidden)}
    for layer in range(layers):
        at = f"transformer.encoder.layers.{layer}"
        shapes |= {f"{at}.input_layernorm.weight": (hidden,), f"{at}.post_attention_layernorm.weight": (hidden,)}
        shapes[f"{at}.self_attention.query_key_value.weight"] = ((heads + 2 * groups) * head_width, hidden)
        shapes[f"{at}.self_attention.query_key_value.bias"] = ((heads + 2 * groups) * head_width,)
        shapes[f"{at}.self_attention.dense.weight"] = (hidden, heads * head_width)
        shapes |= {f"{at}.mlp.dense_h_to_4h.weight": (2 * ffn, hidden), f"{at}.mlp.dense_4h_to_h.weight": (hidden, ffn)}
    shapes["transformer.encoder.final_layernorm.weight"] = (hidden,)
    shapes["transformer.output_layer.weight"] = (rows, hidden)
    weights = _drawn(shapes, seed, dtype)
    weights["transformer.rotary_pos_emb.inv_freq"] = _frequencies(head_width // 4).to(dtype)
    _write_weights(folder, weights, shards, safe)

    config = json.loads(CHATGLM_FIXED) | {"_name_or_path": f"THUDM/chatglm{version}-6b{'-base' * (version == 3)}"}
    config |= {"num_layers": layers, "hidden_size": hidden, "ffn_hidden_size": ffn, "padded_vocab_size": rows}
    config |= {"num_attention_heads": heads, "multi_query_group_num": groups, "kv_channels": head_width}
    config |= {"torch_dtype": str(dtype).removeprefix("torch.")}
    _write_json(folder / "config.json", config)
    made_by = {"AutoTokenizer": ["tokenization_chatglm.ChatGLMTokenizer", None]}
    tokenizer = {"tokenizer_class": "ChatGLMTokenizer", "auto_map": made_by, "remove_space": False}
    _write_json(folder / "tokenizer_config.json", tokenizer | {"do_lower_case": False})
    return weights


def plain_chatglm(config: dict[str, Any], weights: dict[str, Tensor], ids: Tensor) -> Tensor:
    """Logits of ChatGLM2 and 3 by their formulas, from config.json and weights of any floating dtype.

    ids (B, L), without padding -> (B, L, V), float32.
    """
    weights = {name: weight.float() for name, weight in weights.items()}
    heads, groups, width = (config[k] for k in ("num_attention_heads", "multi_query_group_num", "kv_channels"))
    eps = config["layernorm_epsilon"]
    first, second = slice(0, width // 2, 2), slice(1, width // 2, 2)  # neighbours, in the first half of a head
    x = weights["transformer.embedding.word_embeddings.weight"][ids]  # (B, L, D)
    for layer in range(config["num_layers"]):
        w = _under(weights, f"transformer.encoder.layers.{layer}.")
        normed = _rms(x, w["input_layernorm.weight"], eps)
        mixed = normed @ w["self_attention.query_key_value.weight"].T + w["self_attention.query_key_value.bias"]
        parts = mixed.split([heads * width, groups * width, groups * width], dim=-1)
        q, k, v = (part.unflatten(-1, (-1, width)).transpose(1, 2) for part in parts)  # (B, H or G, L, W)
        q, k = (_rotated(part, first, second) for part in (q, k))
        k, v = (part.repeat_interleave(heads // groups, dim=1) for part in (k, v))  # (B, H, L, W)
        x = x + _attended(q, k, v) @ w["self_attention.dense.weight"].T
        normed = _rms(x, w["post_attention_layernorm.weight"], eps)
        gate, up = (normed @ w["mlp.dense_h_to_4h.weight"].T).chunk(2, dim=-1)  # (B, L, ffn) each
        x = x + (silu(gate) * up) @ w["mlp.dense_4h_to_h.weight"].T
    normed = _rms(x, weights["transformer.encoder.final_layernorm.weight"], eps)
    return normed @ weights["transformer.output_layer.weight"].T


def chatglm_sentencepiece(folder: Path) -> sentencepiece.SentencePieceProcessor:
    """The sentencepiece model of a ChatGLM folder; control tokens follow its piece_size() ids, no shapes."""
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))


def write_qwen(
    folder: Path,
    *,
    layers: int = 2,
    hidden: int = 64,
    heads: int = 4,
    intermediate: int = 224,
    vocabulary: int | None = None,
    seed: int = 0,
    shards: int = 2,
    dtype: torch.dtype = torch.float32,
    safe: bool = True,
    sequence: int = 128,
) -> dict[str, Tensor]:
    """Write a random first-generation Qwen with its tokenizer, as the Qwen team publishes it.

    `intermediate` is twice the width F of the gated layer, as in the original config; attention is as usual up to
    `sequence` tokens. V, `vocabulary` and `shards` as in write_chatglm.

    Returns:
        The weights by original name: wte and lm_head (V, D), c_attn (3 D, D) and its bias (3 D,), attn.c_proj
        (D, D), w1 and w2 (F, D), mlp.c_proj (D, F), norms (D,).
    """
    folder.mkdir(parents=True, exist_ok=True)
    ranks = _trained_ranks()
    lines = [base64.b64encode(token) + b" %d\n" % rank for token, rank in ranks.items()]
    (folder / "qwen.tiktoken").write_bytes(b"".join(lines))
    rows = _rows(len(ranks) + len(QWEN_CONTROLS), vocabulary)
    shapes: dict[str, tuple[int, ...]] = {"transformer.wte.weight": (rows, hidden)}
    for layer in range(layers):
        at, width = f"transformer.h.{layer}", intermediate // 2
        shapes |= {f"{at}.ln_1.weight": (hidden,), f"{at}.ln_2.weight": (hidden,)}
        shapes |= {f"{at}.attn.c_attn.weight": (3 * hidden, hidden), f"{at}.attn.c_attn.bias": (3 * hidden,)}
        shapes |= {f"{at}.attn.c_proj.weight": (hidden, hidden), f"{at}.mlp.c_proj.weight": (hidden, width)}
        shapes |= {f"{at}.mlp.w1.weight": (width, hidden), f"{at}.mlp.w2.weight": (width, hidden)}
    shapes |= {"transformer.ln_f.weight": (hidden,), "lm_head.weight": (rows, hidden)}
    weights = _drawn(shapes, seed, dtype)
    _write_weights(folder, weights, shards, safe)

    config = json.loads(QWEN_FIXED) | {"max_position_embeddings": sequence, "seq_length": sequence, "vocab_size": rows}
    config |= {"num_hidden_layers": layers, "hidden_size": hidden, "intermediate_size": intermediate}
    config |= {"num_attention_heads": heads, "kv_channels": hidden // heads}
    _write_json(folder / "config.json", config)
    made_by = {"AutoTokenizer": ["tokenization_qwen.QWenTokenizer", None]}
    tokenizer = {"model_max_length": sequence, "tokenizer_class": "QWenTokenizer", "auto_map": made_by}
    _write_json(folder / "tokenizer_config.json", tokenizer)
    end = len(ranks)  # <|endoftext|>
    generation = {"chat_format": "raw", "eos_token_id": end, "pad_token_id": end, "stop_words_ids": [[end]]}
    generation |= {"do_sample": True, "max_new_tokens": 512, "top_k": 0, "top_p": 0.8}
    _write_json(folder / "generation_config.json", generation)
    return weights


def plain_qwen(config: dict[str, Any], weights: dict[str, Tensor], ids: Tensor) -> Tensor:
    """Logits of first-generation Qwen by its formulas, from config.json and weights of any floating dtype.

    ids (B, L), without padding -> (B, L, V), float32. ValueError over seq_length, where attention is rescaled.
    """
    if ids.shape[1] > config["seq_length"]:
        raise ValueError(f"{ids.shape[1]} tokens, but the formulas hold up to seq_length = {config['seq_length']}")
    weights = {name: weight.float() for name, weight in weights.items()}
    width, eps = config["kv_channels"], config["layer_norm_epsilon"]
    first, second = slice(0, width // 2), slice(width // 2, width)
    x = weights["transformer.wte.weight"][ids]  # (B, L, D)
    for layer in range(config["num_hidden_layers"]):
        w = _under(weights, f"transformer.h.{layer}.")
        mixed = _rms(x, w["ln_1.weight"], eps) @ w["attn.c_attn.weight"].T + w["attn.c_attn.bias"]
        q, k, v = (part.unflatten(-1, (-1, width)).transpose(1, 2) for part in mixed.chunk(3, dim=-1))  # (B, H, L, W)
        q, k = (_rotated(part, first, second, config["rotary_emb_base"]) for part in (q, k))
        x = x + _attended(q, k, v) @ w["attn.c_proj.weight"].T
        normed = _rms(x, w["ln_2.weight"], eps)
        x = x + (normed @ w["mlp.w1.weight"].T * silu(normed @ w["mlp.w2.weight"].T)) @ w["mlp.c_proj.weight"].T
    return _rms(x, weights["transformer.ln_f.weight"], eps) @ weights["lm_head.weight"].T


def qwen_tiktoken(folder: Path) -> tiktoken.Encoding:
    """The encoding of a Qwen folder, with control tokens after the ranks; text must be in NFC already, no shapes."""
    pairs = [line.split() for line in (folder / "qwen.tiktoken").read_bytes().splitlines()]
    ranks = {base64.b64decode(token): int(rank) for token, rank in pairs}
    controls = {name: len(ranks) + number for number, name in enumerate(QWEN_CONTROLS)}
    return tiktoken.Encoding("qwen", pat_str=QWEN_SPLIT, mergeable_ranks=ranks, special_tokens=controls)


def random_strings(n: int, seed: int) -> list[str]:
    """n texts to tokenize, no shapes: first the short edge cases, then mixtures of all kinds of characters.

    None holds a control token's name, not even within a word (see TRAPS), nor a lone surrogate.
    """
    rng = random.Random(seed)
    hanzi = sorted({character for line in CORPUS for character in line if "\u4e00" <= character <= "\u9fff"})
    words = sorted({word for line in CORPUS for word in regex.findall(r"[A-Za-z]+", line)})
    marks = list("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~。、《》…—·") + [chr(code) for code in FULL_WIDTH.values()]
    alphabets = [hanzi, words, list("0123456789"), EMOJI, ACCENTS, SPACES, RARE, SCRIPTS, CONTRACTIONS, marks]
    names = [*CHATGLM_CONTROLS[3], *QWEN_CONTROLS, "<s>", "</s>", "<unk>"]
    strings = EDGES[:n]
    while len(strings) < n:
        pieces = []
        for _ in range(rng.randint(1, 8)):
            alphabet = rng.choice([*alphabets, CONTROL_CHARACTERS, hanzi, words])  # natural text twice as often
            repeated, several = [rng.choice(alphabet)] * rng.randint(2, 20), rng.choices(alphabet, k=rng.randint(1, 6))
            pieces.append((" " if alphabet is words else "").join(repeated if rng.random() < 0.1 else several))
        text = rng.choice(["", " "]).join(pieces)
        if not any(name in text for name in names):
            strings.append(text)
    return strings


@cache
def _trained_sentencepiece(normalization: str) -> bytes:
    """A serialised BPE model of SENTENCEPIECES pieces: unk 0, bos 1, eos 2, 256 bytes, merges, characters."""
    options: dict[str, Any] = {"model_type": "bpe", "vocab_size": SENTENCEPIECES, "num_threads": 1, "minloglevel": 2}
    options |= {"normalization_rule_name": normalization, "remove_extra_whitespaces": False, "add_dummy_prefix": True}
    options |= {"allow_whitespace_only_pieces": True, "split_digits": True, "byte_fallback": True}
    options |= {"unk_id": 0, "bos_id": 1, "eos_id": 2, "pad_id": -1, "character_coverage": 0.99}
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(CORPUS), model_writer=model, **options)
    return model.getvalue()


@cache
def _trained_ranks() -> dict[bytes, int]:
    """Byte-level BPE over CORPUS: the 256 bytes, printable ones first as in GPT-2, then QWEN_MERGES merges."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    order = printable + [code for code in range(256) if code not in printable]
    ranks = {bytes([code]): rank for rank, code in enumerate(order)}
    pieces = Counter(piece.encode() for line in CORPUS for piece in regex.findall(QWEN_SPLIT, line))
    words = [([bytes([code]) for code in piece], count) for piece, count in sorted(pieces.items())]
    while len(ranks) < 256 + QWEN_MERGES:
        counts: Counter[bytes] = Counter()
        for parts, count in words:
            for left, right in pairwise(parts):
                counts[left + right] += count
        merged = min(counts, key=lambda token: (-counts[token], token))
        ranks.setdefault(merged, len(ranks))
        for parts, _ in words:
            at = 0
            while at + 1 < len(parts):
                if parts[at] + parts[at + 1] == merged:
                    parts[at : at + 2] = [merged]
                at += 1
    return ranks


def _rows(needed: int, wanted: int | None) -> int:
    """Rows of the embedding: those wanted, or those needed rounded up to a multiple of 16."""
    if wanted is not None and wanted < needed:
        raise ValueError(f"vocabulary {wanted} is too small: the tokenizer has {needed} ids")
    return wanted or 16 * math.ceil(needed / 16)


def _drawn(shapes: dict[str, tuple[int, ...]], seed: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """Normal values of standard deviation 0.1, around 1 for the norms; each tensor owns its memory."""
    random_state = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in shapes.items():
        mean = 1.0 if len(shape) == 1 and name.endswith(".weight") else 0.0
        weights[name] = (mean + 0.1 * torch.randn(shape, generator=random_state)).to(dtype)
    return weights


def _write_weights(folder: Path, weights: dict[str, Tensor], shards: int, safe: bool) -> None:
    """Write the weights in order to `shards` files of about equal bytes, with an index if there are several."""
    stem, suffix = ("model", "safetensors") if safe else ("pytorch_model", "bin")
    save = partial(save_file, metadata={"format": "pt"}) if safe else torch.save
    total, before, files = sum(weight.nbytes for weight in weights.values()), 0, {}
    for name, weight in weights.items():
        number = min(before * shards // total, shards - 1) + 1
        files[name] = f"{stem}-{number:05d}-of-{shards:05d}.{suffix}" if shards > 1 else f"{stem}.{suffix}"
        before += weight.nbytes
    for file in set(files.values()):
        part = {name: weights[name] for name in weights if files[name] == file}
        save(part, folder / file)
    if shards > 1:
        _write_json(folder / f"{stem}.{suffix}.index.json", {"metadata": {"total_size": total}, "weight_map": files})


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _under(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The weights whose names start so, without the prefix."""
    return {name.removeprefix(prefix): weight for name, weight in weights.items() if name.startswith(prefix)}


def _rms(x: Tensor, scale: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x²) + eps) * scale over the last axis: (B, L, D), (D,) -> (B, L, D)."""
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * scale


def _frequencies(pairs: int, theta: float = 10000.0) -> Tensor:
    """Radians a position for each rotated pair, theta^(-i / pairs): (pairs,)."""
    return theta ** (-torch.arange(pairs, dtype=torch.float32) / pairs)


def _rotated(x: Tensor, first: slice, second: slice, theta: float = 10000.0) -> Tensor:
    """Turn each pair (one of `first`, one of `second`) by position times frequency: (B, H, L, W) -> the same."""
    a, b = x[..., first], x[..., second]  # (B, H, L, pairs)
    angle = torch.arange(x.shape[2])[:, None] * _frequencies(a.shape[-1], theta)  # (L, pairs)
    turned = x.clone()
    turned[..., first] = a * angle.cos() - b * angle.sin()
    turned[..., second] = a * angle.sin() + b * angle.cos()
    return turned


def _attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal softmax attention, heads joined: three (B, H, L, W) -> (B, L, H W)."""
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])  # (B, H, L, L)
    future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return (scores.masked_fill(future, -torch.inf).softmax(-1) @ v).transpose(1, 2).flatten(2)
