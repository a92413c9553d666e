"""Original checkpoints against plain implementations of their architectures, and what is wrong with a checkpoint."""

import json
import os
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mse.backbones.convert import convert, write_safetensors
from mse.backbones.load import load_model, load_tokenizer
from mse.errors import UserError
from tests import originals
from tests.originals import TRAPS, random_strings
from tests.test_adopt import cut, edit

KINDS = ["chatglm", "qwen"]
WRITE: dict[str, Callable[..., dict[str, torch.Tensor]]] = {
    "chatglm": originals.write_chatglm,
    "qwen": originals.write_qwen,
}
PLAIN = {"chatglm": originals.plain_chatglm, "qwen": originals.plain_qwen}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Path, Path, dict[str, torch.Tensor]]]:
    """Write and convert a tiny checkpoint once; returns both folders and the weights."""
    cache: dict[str, tuple[Path, Path, dict[str, torch.Tensor]]] = {}

    def once(kind: str, **how: Any) -> tuple[Path, Path, dict[str, torch.Tensor]]:
        key = f"{kind}{sorted(how.items())}"
        if key not in cache:
            folder = tmp_path_factory.mktemp(f"{kind} original")
            weights = WRITE[kind](folder, **how)
            convert(folder, folder / "native")
            cache[key] = folder, folder / "native", weights
        return cache[key]

    return once


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("chatglm", {}),
        ("chatglm", {"safe": True, "shards": 1}),
        ("chatglm", {"version": 2, "groups": 1, "shards": 5, "layers": 3}),
        ("chatglm", {"groups": 4, "head_width": 32, "shards": 1}),
        ("qwen", {}),
        ("qwen", {"safe": False, "shards": 1}),
        ("qwen", {"layers": 3, "heads": 2, "vocabulary": 1000, "shards": 5}),
    ],
)
def test_logits_equal_the_original_architecture(made: Any, kind: str, how: dict[str, Any]) -> None:
    folder, native, weights = made(kind, **how)
    config = json.loads((folder / "config.json").read_text())
    model = load_model(native, torch.float32)
    ids = torch.randint(0, 900, (3, 40), generator=torch.Generator().manual_seed(1)) % model.config.vocab_size
    with torch.inference_mode():
        found, expected = model(ids).logits, PLAIN[kind](config, weights, ids)
    assert (found - expected).abs().max() < 1e-5
    assert (expected[:, 1:] - expected[:, :-1]).abs().mean() > 0.1  # they do say something


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_no_bit_of_a_weight_changes(made: Any, kind: str, dtype: torch.dtype) -> None:
    _, native, weights = made(kind, dtype=dtype)
    converted = {name: value for path in native.glob("*.safetensors") for name, value in load_file(path).items()}
    renamed = {"chatglm": ("self_attention.query_key_value", "encoder.layers"), "qwen": ("attn.c_attn", "h")}[kind]
    for layer in range(2):
        fused = weights[f"transformer.{renamed[1]}.{layer}.{renamed[0]}.weight"]
        parts = [converted[f"model.layers.{layer}.self_attn.{part}_proj.weight"] for part in "qkv"]
        assert torch.equal(torch.cat(parts), fused) and fused.dtype == dtype
    ignored = sum(value.numel() for name, value in weights.items() if name.endswith("inv_freq"))
    assert sum(v.numel() for v in converted.values()) == sum(v.numel() for v in weights.values()) - ignored


@pytest.mark.parametrize("kind", KINDS)
def test_same_input_same_bytes(made: Any, kind: str, tmp_path: Path) -> None:
    folder, native, _ = made(kind)
    convert(folder, tmp_path / "again")
    assert sorted(p.name for p in native.iterdir()) == sorted(p.name for p in (tmp_path / "again").iterdir())
    for path in native.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name
    record = json.loads((native / "native.json").read_text())
    assert record["layout"] == kind and all(len(digest) == 64 for digest in record["sha256"].values())
    assert len(record["sha256"]) == 3  # config.json and two files of weights


@pytest.mark.parametrize("version", [2, 3])
def test_chatglm_tokenizer_has_sentencepiece_s_ids(made: Any, version: int) -> None:
    folder, native, _ = made("chatglm", version=version)
    original, rebuilt = originals.chatglm_sentencepiece(folder), load_tokenizer(native)
    for text in [*random_strings(1000, 0), *TRAPS, "[gMASK] sop <|user|> </s> <unk>"]:
        ids = original.encode(text)
        assert rebuilt(text, add_special_tokens=False)["input_ids"] == ids, ascii(text)
        assert rebuilt.decode(ids) == original.decode(ids), ascii(text)
    first = original.get_piece_size()
    assert rebuilt("好")["input_ids"] == [first + 1, first + 3, *original.encode("好")]  # [gMASK] sop
    names = ["[MASK]", "[gMASK]", "[sMASK]", "sop", "eop", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"]
    assert rebuilt.convert_tokens_to_ids(names) == list(range(first, first + 9))
    assert (rebuilt.eos_token_id, rebuilt.bos_token_id, rebuilt.pad_token_id) == (2, 1, 0)


def test_qwen_tokenizer_has_tiktoken_s_ids(made: Any) -> None:
    folder, native, _ = made("qwen")
    original, rebuilt = originals.qwen_tiktoken(folder), load_tokenizer(native)
    for text in [*random_strings(1000, 0), *TRAPS, "a<|im_start|>b"]:
        composed = unicodedata.normalize("NFC", text)
        ids = original.encode(composed, disallowed_special=())
        assert rebuilt(text, add_special_tokens=False, split_special_tokens=True)["input_ids"] == ids, ascii(text)
        assert rebuilt.decode(ids) == composed, ascii(text)
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|extra_0|>", "<|extra_204|>"]
    assert rebuilt.convert_tokens_to_ids(names) == [original.encode_single_token(name) for name in names]
    assert rebuilt.eos_token_id == original.encode_single_token("<|endoftext|>")


def test_tensors_are_written_as_the_library_reads_them(tmp_path: Path) -> None:
    tensors = {
        "odd": torch.arange(3, dtype=torch.bfloat16),
        "view": torch.arange(12.0).reshape(3, 4)[1:].half(),
        "transposed": torch.arange(6.0).reshape(2, 3).T,
    }
    write_safetensors(tmp_path / "x.safetensors", tensors)
    back = load_file(tmp_path / "x.safetensors")
    assert all(torch.equal(back[name], value) and back[name].dtype == value.dtype for name, value in tensors.items())


def redo_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Change the tensors of the last of two .bin files."""
    path = folder / "pytorch_model-00002-of-00002.bin"
    tensors = torch.load(path, weights_only=True)
    change(tensors)
    torch.save(tensors, path)


class Evil:
    """Unpickling it would make a folder."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("unpickled",))


SECOND = "pytorch_model-00002-of-00002.bin"
DENSE = "transformer.encoder.layers.1.self_attention.dense.weight"
MISTAKES: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (lambda f: cut(f / SECOND, 0.5), rf"{SECOND}: damaged or cut off \([\d,]+ bytes\): .*fetch it again"),
    "empty": (lambda f: (f / SECOND).write_bytes(b""), f"{SECOND}: damaged or cut off"),
    "missing shard": (lambda f: (f / SECOND).unlink(), f"2 files of weights, and 1 of them are not there: {SECOND}"),
    "missing shard, no index": (
        lambda f: ((f / "pytorch_model.bin.index.json").unlink(), (f / SECOND).unlink()),
        f"is one of 2 files of weights, and 1 of them are not there: {SECOND}",
    ),
    "no weights": (lambda f: [p.unlink() for p in f.glob("pytorch_model*")], "no weights; expected model.safetensors"),
    "pointer": (
        lambda f: (f / SECOND).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
        f"{SECOND}: Git LFS's pointer to the weights, not the weights; run `git lfs pull`",
    ),
    "evil pickle": (lambda f: torch.save({"a": Evil()}, f / SECOND), f"{SECOND}: holds something else than tensors"),
    "no tensors": (lambda f: torch.save([1], f / SECOND), f"{SECOND}: no weights; expected tensors by name"),
    "broken index": (lambda f: (f / "pytorch_model.bin.index.json").write_text("{"), "index.json: not valid JSON"),
    "missing tensor": (
        lambda f: redo_weights(f, lambda t: t.pop(DENSE)),
        f"{SECOND}: the index promises '{DENSE}', which is not in it",
    ),
    "missing tensor, no index": (
        lambda f: ((f / "pytorch_model.bin.index.json").unlink(), redo_weights(f, lambda t: t.pop(DENSE))),
        r"the weights lack 1 tensors .* the first is for model\.layers\.1\.self_attn\.o_proj\.weight",
    ),
    "foreign tensor": (
        lambda f: redo_weights(f, lambda t: t.update({"lora.weight": torch.zeros(1)})),
        f"{SECOND}: the tensor 'lora.weight' has no place in GlmForCausalLM",
    ),
    "other shape": (
        lambda f: redo_weights(f, lambda t: t.update({DENSE: torch.zeros(64, 32)})),
        rf"'{DENSE}' gives .* the shape \(64, 32\), but config.json says \(64, 64\)",
    ),
    "integers": (
        lambda f: redo_weights(f, lambda t: t.update({DENSE: torch.zeros(64, 64, dtype=torch.int8)})),
        r"holds torch.int8; a quantised checkpoint can't be converted",
    ),
    "NaN": (
        lambda f: redo_weights(f, lambda t: t[DENSE].fill_(float("nan"))),
        "the model computes NaN or infinity; its weights are damaged",
    ),
    "heads": (lambda f: edit(f, multi_query_group_num=4), r"has 128 rows, but config.json's heads say 64 \+ 64 \+ 64"),
    "wrong vocabulary size": (
        lambda f: edit(f, padded_vocab_size=1024),
        r"word_embeddings.weight' gives .* the shape \(912, 64\), but config.json says \(1024, 64\)",
    ),
    "vocabulary below the tokenizer's": (
        lambda f: edit(f, padded_vocab_size=900),
        "tokenizer.model and its control tokens are 909 tokens, but config.json says a vocabulary of 900",
    ),
    "no config": (lambda f: (f / "config.json").unlink(), "config.json: no such file; a checkpoint needs it"),
    "key missing": (lambda f: edit(f, num_layers=None), "config.json: key 'num_layers' is missing"),
    "other architecture": (lambda f: edit(f, rmsnorm=False), "config.json: rmsnorm = False: Input should be True"),
    "long-text variant": (
        lambda f: edit(f, rope_ratio=50),
        "config.json: rope_ratio = 50: this is a variant for long texts",
    ),
    "int4 variant": (lambda f: edit(f, quantization_bit=4), "config.json: quantization_bit = 4: Input should be 0"),
    "no tokenizer": (lambda f: (f / "tokenizer.model").unlink(), "tokenizer.model: no SentencePiece model: .*needs it"),
    "broken tokenizer": (lambda f: cut(f / "tokenizer.model", 0.3), "tokenizer.model: no SentencePiece model"),
    "unknown architecture": (
        lambda f: edit(f, model_type="unheard_of", auto_map=None),
        r"model_type = 'unheard_of' is unknown to transformers [\d.]+\. Original layouts .* converted: chatglm,",
    ),
    "remote code": (
        lambda f: edit(f, model_type="baichuan"),
        r"unknown to transformers .*Its own code \(configuration_chatglm.py, modeling_chatglm.py\) is never run",
    ),
    "no language model": (lambda f: edit(f, model_type="vit"), "model_type = 'vit' is no causal language model"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_one_message_and_leaves_nothing(made: Any, tmp_path: Path, mistake: str) -> None:
    spoil, message = MISTAKES[mistake]
    folder = tmp_path / "checkpoint"
    shutil.copytree(made("chatglm")[0], folder, ignore=shutil.ignore_patterns("native"))
    spoil(folder)
    with pytest.raises(UserError, match=message):
        convert(folder, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
    assert not Path("unpickled").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"YQ== 0\nnot base64! 1\n", "qwen.tiktoken: b'not base64! 1': expected a token in base64"),
        (b"YQ== 0\nYg== 2\n", "qwen.tiktoken: ranks must go up from 0 without gaps"),
    ],
)
def test_broken_tiktoken_file(made: Any, tmp_path: Path, text: bytes, message: str) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(made("qwen")[0], folder, ignore=shutil.ignore_patterns("native"))
    (folder / "qwen.tiktoken").write_bytes(text)
    with pytest.raises(UserError, match=message):
        convert(folder, tmp_path / "out")


def test_qwen_whose_heads_do_not_fill_the_width(made: Any, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(made("qwen")[0], folder, ignore=shutil.ignore_patterns("native"))
    edit(folder, kv_channels=8)
    with pytest.raises(UserError, match=r"hidden_size = 64, num_attention_heads = 4, kv_channels = 8.*: expected"):
        convert(folder, tmp_path / "out")


def test_sentencepiece_model_that_rewrites_text_is_refused(tmp_path: Path) -> None:
    originals.write_chatglm(tmp_path / "checkpoint", normalization="nmt_nfkc")
    with pytest.raises(UserError, match=r"tokenizer\.model: precompiled_charsmap = True, expected False"):
        convert(tmp_path / "checkpoint", tmp_path / "out")


def test_first_generation_chatglm_is_named(made: Any, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(made("chatglm")[0], folder, ignore=shutil.ignore_patterns("native"))
    edit(folder, inner_hidden_size=16384, position_encoding_2d=True)
    with pytest.raises(UserError, match=r"config\.json: this is first-generation ChatGLM, another architecture"):
        convert(folder, tmp_path / "out")


def test_nothing_but_our_own_folders_is_replaced(made: Any, tmp_path: Path) -> None:
    source = tmp_path / "parent" / "glm"
    originals.write_chatglm(source)
    before = sorted(path.name for path in source.iterdir())
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/thesis.txt").write_text("years")
    for out, message in (
        (source, "the checkpoint .* lies there, and would be lost"),
        (source.parent, "the checkpoint .* lies there, and would be lost"),
        (tmp_path / "thesis", "holds other things, which would be lost"),
        (tmp_path / "thesis/thesis.txt", "holds other things, which would be lost"),
    ):
        with pytest.raises(UserError, match=message):
            convert(source, out)
    assert sorted(path.name for path in source.iterdir()) == before
    assert (tmp_path / "thesis/thesis.txt").read_text() == "years"
    for _ in range(2):
        convert(source, tmp_path / "out")  # its own folder it may make anew


GROWTH = """
import sys
from pathlib import Path
from mse.backbones.convert import convert
def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
folder = Path(sys.argv[1])
convert(folder / "small", folder / "small-native")
before = peak()
convert(folder / "large", folder / "large-native")
print(peak() - before)
"""


@pytest.mark.slow
def test_memory_grows_by_one_file_at_most(tmp_path: Path) -> None:
    """Files of 60 MB, 8 of them: the peak rises by one, and by its largest matrix in float32 in the check."""
    originals.write_chatglm(tmp_path / "small", dtype=torch.float16)
    sizes = {"layers": 8, "hidden": 1024, "heads": 8, "groups": 2, "head_width": 128, "ffn": 8192, "shards": 8}
    originals.write_chatglm(tmp_path / "large", dtype=torch.float16, **sizes)
    largest = max(path.stat().st_size for path in (tmp_path / "large").glob("*.bin"))
    assert 50e6 < largest < 80e6
    grown = int(subprocess.check_output([sys.executable, "-c", GROWTH, tmp_path], text=True))
    assert grown < 1.3 * largest + 2 * 8192 * 1024 * 4  # gate and up projection are one
