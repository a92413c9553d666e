"""Native checkpoints: linked, checked, and refused where something is wrong with them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mse.backbones.convert import convert
from mse.backbones.load import load_model
from mse.errors import UserError


def edit(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def cut(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def native_llama(folder: Path, tiny_llm: Path, pickled: bool = False) -> Path:
    """A copy of the tiny Llama, with its weights as a pickle where asked for."""
    shutil.copytree(tiny_llm, folder)
    (folder / "modeling_evil.py").write_text("raise SystemExit('run')")
    if pickled:
        torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    return folder


@pytest.mark.parametrize("pickled", [False, True])
def test_native_checkpoint_is_linked_and_never_run(tmp_path: Path, tiny_llm: Path, pickled: bool) -> None:
    source = native_llama(tmp_path / "llama", tiny_llm, pickled)
    convert(source, tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert "modeling_evil.py" not in names and "pytorch_model.bin" not in names
    assert (tmp_path / "out/config.json").is_symlink() and json.loads((tmp_path / "out/native.json").read_text())
    ids = torch.arange(5)[None]
    found, expected = (load_model(folder, torch.float32)(ids).logits for folder in (tmp_path / "out", tiny_llm))
    assert torch.equal(found, expected)


def edit_native(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def own_tokenizer(folder: Path) -> None:
    """A tokenizer that wants code of its own."""
    (folder / "tokenizer.json").unlink()
    own = {"tokenizer_class": "EvilTokenizer", "auto_map": {"AutoTokenizer": ["modeling_evil.EvilTokenizer", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(own))


NORM = "model.norm.weight"
NATIVE_MISTAKES: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (lambda f: cut(f / "model.safetensors", 0.5), r"llama/model\.safetensors: damaged or cut off"),
    "missing tensor": (lambda f: edit_native(f, lambda t: t.pop(NORM)), rf"1 weights are missing, the first is {NORM}"),
    "layers left over": (lambda f: edit(f, num_hidden_layers=1), r"have no place .* the first is model\.layers\.1\."),
    "wrong vocabulary size": (
        lambda f: edit(f, vocab_size=1000),
        r"llama/model\.safetensors: .* the shape \(258, 64\), but config.json says \(1000, 64\)",
    ),
    "integers": (
        lambda f: edit_native(f, lambda t: t.update({NORM: torch.zeros(64, dtype=torch.int8)})),
        rf"'{NORM}' holds torch.int8; take the plain checkpoint",
    ),
    "quantised": (
        lambda f: edit(f, quantization_config={"quant_method": "gptq"}),
        "config.json: a quantised checkpoint; take the plain one, and `quantise`",
    ),
    "NaN": (lambda f: edit_native(f, lambda t: t[NORM].fill_(float("nan"))), "llama: the model computes NaN"),
    "code of its own": (
        own_tokenizer,
        r"llama: no tokenizer that transformers can load without code from the checkpoint",
    ),
    "parts from elsewhere": (
        lambda f: (f / "adapter_config.json").write_text('{"base_model_name_or_path": "evil/model"}'),
        r"adapter_config\.json: a model with parts from elsewhere is not loaded",
    ),
    "index with a path": (
        lambda f: (
            (f / "model.safetensors").rename(f.parent / "outside.safetensors"),
            (f / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../outside.safetensors"}}'),
        ),
        r"model\.safetensors\.index\.json: expected weight_map: the name of a file beside it for each tensor",
    ),
    "index without names": (
        lambda f: (
            (f / "model.safetensors").unlink(),
            (f / "model.safetensors.index.json").write_text('{"weight_map": null}'),
        ),
        r"index\.json: expected weight_map",
    ),
    "running state": (lambda f: edit(f, model_type="mamba"), "layers other than attention .*choose another LLM"),
}


@pytest.mark.parametrize("mistake", NATIVE_MISTAKES)
def test_mistake_in_a_native_checkpoint(tmp_path: Path, tiny_llm: Path, mistake: str) -> None:
    source = native_llama(tmp_path / "llama", tiny_llm)
    spoil, message = NATIVE_MISTAKES[mistake]
    spoil(source)
    with pytest.raises(UserError, match=message) as caught:
        convert(source, tmp_path / "out")
    assert "trust_remote_code" not in str(caught.value) and ".partial" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("named", ["evil/kernel", "flash_attention_2", "kernels-community/flash-attn3"])
def test_config_that_names_attention_code_fetches_none(tmp_path: Path, tiny_llm: Path, named: str) -> None:
    source = native_llama(tmp_path / "llama", tiny_llm)
    edit(source, _attn_implementation=named, attn_implementation=named)
    model = load_model(source, torch.float32)
    assert model.config._attn_implementation == "sdpa"
    ids = torch.arange(5)[None]
    assert torch.equal(model(ids).logits, load_model(tiny_llm, torch.float32)(ids).logits)


def test_architecture_that_can_t_be_padded_is_refused(tmp_path: Path, tiny_llm: Path) -> None:
    """MPT counts places, padding among them, and BERT sees what comes later: answers in a batch would differ."""
    from transformers import BertConfig, BertLMHeadModel, MptConfig, MptForCausalLM

    torch.manual_seed(0)
    config = MptConfig(d_model=64, n_heads=4, n_layers=2, vocab_size=258, max_seq_len=64, initializer_range=0.2)
    MptForCausalLM(config).save_pretrained(tmp_path / "mpt")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_llm / name, tmp_path / "mpt")
    bert = BertConfig(hidden_size=64, num_attention_heads=4, num_hidden_layers=2, intermediate_size=64, vocab_size=258)
    bert.initializer_range = 0.2
    BertLMHeadModel(bert).save_pretrained(tmp_path / "bert")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_llm / name, tmp_path / "bert")
    with pytest.raises(
        UserError, match=r"bert: BertLMHeadModel reads a padded text otherwise .* or sees what comes later"
    ):
        convert(tmp_path / "bert", tmp_path / "out")
    with pytest.raises(UserError, match="mpt: MptForCausalLM takes no positions of tokens, so that padding would"):
        convert(tmp_path / "mpt", tmp_path / "out")


# --- masks and tables beside the weights ---

TRIANGLE = torch.ones(32, 32).tril()[None, None]
OLD: dict[str, tuple[dict[str, Any], dict[str, torch.Tensor]]] = {
    "gpt_neox": (
        {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96},
        {
            "gpt_neox.layers.{i}.attention.bias": TRIANGLE.to(torch.uint8),
            "gpt_neox.layers.{i}.attention.masked_bias": torch.tensor(-1e9),
            "gpt_neox.layers.{i}.attention.rotary_emb.inv_freq": torch.ones(2),
        },
    ),
    "gptj": (
        {"n_embd": 64, "n_layer": 2, "n_head": 4, "rotary_dim": 8, "n_positions": 32},
        {
            "transformer.h.{i}.attn.bias": TRIANGLE.to(torch.uint8),
            "transformer.h.{i}.attn.masked_bias": torch.tensor(-1e9, dtype=torch.float16),
        },
    ),
    "gpt_neo": (
        {"hidden_size": 64, "num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]]},
        {
            "transformer.h.{i}.attn.attention.bias": TRIANGLE.to(torch.uint8),
            "transformer.h.{i}.attn.attention.masked_bias": torch.tensor(-1e9),
        },
    ),
    "codegen": (
        {"n_embd": 64, "n_layer": 2, "n_head": 4, "rotary_dim": 8, "n_positions": 32, "n_ctx": 32},
        {"transformer.h.{i}.attn.causal_mask": TRIANGLE.bool()},
    ),
    "gpt2": ({"n_embd": 64, "n_layer": 2, "n_head": 4}, {"h.{i}.attn.bias": TRIANGLE.to(torch.int8)}),
    "llama": (
        {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96},
        {"model.layers.{i}.self_attn.rotary_emb.inv_freq": torch.ones(8, dtype=torch.float64)},
    ),
    "opt": (
        {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 96, "word_embed_proj_dim": 64},
        {"model.decoder.position_ids": torch.arange(32)[None]},
    ),
}


def old_checkpoint(folder: Path, tiny_llm: Path, kind: str) -> dict[str, torch.Tensor]:
    """Save a tiny LLM in the way of years ago; returns its tensors, masks and tables among them."""
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    sizes, buffers = OLD[kind]
    torch.manual_seed(0)
    config = CONFIG_MAPPING[kind](vocab_size=258, initializer_range=0.2, bos_token_id=0, eos_token_id=1, **sizes)
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_llm / name, folder)
    tensors = load_file(folder / "model.safetensors")
    if kind == "gpt2":  # as it was published
        tensors = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    return tensors | {name.format(i=i): value.clone() for i in range(2) for name, value in buffers.items()}


def save_as(folder: Path, tensors: dict[str, torch.Tensor], form: str) -> None:
    (folder / "model.safetensors").unlink()
    if form == "safetensors":
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    elif form == "pickle":
        torch.save(tensors, folder / "pytorch_model.bin")
    elif form == "old pickle":
        torch.save(tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    else:
        names = sorted(tensors)
        shards = {f"pytorch_model-0000{n}-of-00003.bin": names[n - 1 :: 3] for n in (1, 2, 3)}
        for file, part in shards.items():
            torch.save({name: tensors[name] for name in part}, folder / file)
        index = {"weight_map": {name: file for file, part in shards.items() for name in part}}
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        *((kind, "safetensors") for kind in OLD),
        *((kind, "pickle") for kind in ("gpt_neox", "gptj", "gpt_neo", "gpt2")),
        ("gptj", "old pickle"),
        ("gpt_neox", "shards"),
    ],
)
def test_masks_beside_the_weights_are_passed_over(tmp_path: Path, tiny_llm: Path, kind: str, form: str) -> None:
    tensors = old_checkpoint(tmp_path / "plain", tiny_llm, kind)
    shutil.copytree(tmp_path / "plain", tmp_path / "old")
    save_as(tmp_path / "old", tensors, form)
    convert(tmp_path / "old", tmp_path / "out")
    ids = torch.arange(5, 12)[None]
    found, expected = (load_model(tmp_path / name, torch.float32)(ids).logits for name in ("out", "plain"))
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("kind", "name", "dtype"),
    [
        ("gpt_neox", "gpt_neox.layers.1.attention.query_key_value.bias", torch.int8),
        ("gpt_neox", "gpt_neox.layers.0.attention.dense.weight", torch.uint8),
        ("gpt2", "h.1.attn.c_attn.bias", torch.uint8),
        ("gpt2", "h.1.attn.c_attn.weight", torch.float8_e4m3fn),
        ("llama", "model.layers.0.self_attn.q_proj.qweight", torch.int32),
        ("llama", "model.layers.0.mlp.up_proj.weight.absmax", torch.uint8),
    ],
)
@pytest.mark.parametrize("form", ["pickle", "safetensors"])
def test_quantised_weights_are_refused(
    tmp_path: Path, tiny_llm: Path, kind: str, name: str, dtype: torch.dtype, form: str
) -> None:
    tensors = old_checkpoint(tmp_path / "old", tiny_llm, kind)
    tensors[name] = torch.zeros_like(tensors.get(name, torch.zeros(4, 4))).to(dtype)
    save_as(tmp_path / "old", tensors, form)
    with pytest.raises(UserError, match=f"'{name}' holds {dtype}; take the plain checkpoint, not a quantised one"):
        convert(tmp_path / "old", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_no_mask_is_left_over(tmp_path: Path, tiny_llm: Path) -> None:
    tensors = old_checkpoint(tmp_path / "old", tiny_llm, "gpt_neox")
    save_as(tmp_path / "old", tensors | {"lora.attention.weight": torch.zeros(2)}, "pickle")
    with pytest.raises(UserError, match=r"1 weights have no place .* the first is lora\.attention\.weight"):
        convert(tmp_path / "old", tmp_path / "out")
