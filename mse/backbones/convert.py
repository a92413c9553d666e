"""From a checkpoint as published to a native folder: safetensors that transformers knows, and a fast tokenizer.

Original ChatGLM2, ChatGLM3 and first-generation Qwen checkpoints are renamed and split tensor by tensor; a native
checkpoint in safetensors is linked, one in pickles is copied to safetensors. No code of a checkpoint is ever run.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import mse
from mse.atomic import replacing_folder
from mse.backbones.chatglm import ChatGLM
from mse.backbones.check import check
from mse.backbones.checkpoint import SINGLES, Checkpoint, read_json
from mse.backbones.layout import Layout
from mse.backbones.load import BUFFERS, NEVER_LINKED, load_config, require_attention
from mse.backbones.places import BESIDE_WEIGHTS, FETCHED, NATIVE
from mse.backbones.qwen import Qwen
from mse.errors import UserError
from mse.progress import track

LAYOUTS: dict[str, type[Layout]] = {layout.model_type: layout for layout in (ChatGLM, Qwen)}
FLOATS = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}  # safetensors' names

Rename = Callable[[str, Tensor], Iterator[tuple[str, Tensor]]]


def convert(source: Path, out: Path) -> None:
    """Make a checkpoint ready to be loaded; memory stays below its largest file and 1 GB.

    Args:
        source: folder of the checkpoint as published.
        out: folder to make: config.json, safetensors, a fast tokenizer, and native.json with where they came from.

    Raises:
        UserError: a file is missing, damaged or does not fit the others, the architecture is unknown, or `out` holds
            other things or the checkpoint itself.
    """
    if source.resolve().is_relative_to(out.resolve()):
        raise UserError(f"{out}: the checkpoint {source} lies there, and would be lost; name another folder")
    checkpoint = Checkpoint(source)
    layout = layout_of(checkpoint)
    try:
        with replacing_folder(out) as partial:
            try:
                if layout:
                    _convert(checkpoint, layout, partial)
                else:
                    _adopt(checkpoint, partial)
                check(partial)
            except UserError as e:  # the temporary name says nothing to the user
                raise UserError(str(e).replace(str(partial), str(source))) from e
            fetched = source / FETCHED
            record = {
                "layout": layout.model_type if layout else "native",
                "fetched": read_json(fetched) if fetched.is_file() else None,
                "sha256": checkpoint.digests(),
                "mse": mse.__version__,
            }
            (partial / NATIVE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    except OSError as e:
        raise UserError(f"{out}: can't be written: {e}") from e


def layout_of(checkpoint: Checkpoint) -> Layout | None:
    """The original layout of a checkpoint, or None where it is native.

    Args:
        checkpoint: its config.json decides.

    Raises:
        UserError: transformers does not know the architecture, or it is no causal language model that pseudo tokens
            can be put into, or it is quantised.
    """
    import transformers

    config, source = checkpoint.config, checkpoint.folder / "config.json"
    kind = str(config.get("model_type"))
    if kind in LAYOUTS:
        return LAYOUTS[kind](config, str(source))
    if config.get("quantization_config"):
        raise UserError(f"{source}: a quantised checkpoint; take the plain one, and `quantise` in the backbone's YAML")
    known = transformers.CONFIG_MAPPING
    if kind in known and known[kind] in transformers.MODEL_FOR_CAUSAL_LM_MAPPING:
        require_attention(load_config(checkpoint.folder), str(source))
        return None
    if kind in known:
        raise UserError(f"{source}: model_type = {kind!r} is no causal language model; an LLM that writes is needed")
    own = config.get("auto_map") or {}
    code = sorted({f"{str(value).split('.')[0]}.py" for value in (own.values() if isinstance(own, dict) else [own])})
    wants = f" Its own code ({', '.join(code)}) is never run." if code else ""
    raise UserError(
        f"{source}: model_type = {kind!r} is unknown to transformers {transformers.__version__}.{wants} "
        f"Original layouts that can be converted: {', '.join(LAYOUTS)}; of other models look for a conversion to "
        "transformers' own layout, often published as NAME-hf, or a newer transformers"
    )


def _convert(checkpoint: Checkpoint, layout: Layout, out: Path) -> None:
    native = layout.native_config()
    tokenizer = layout.tokenizer(checkpoint.folder)
    if len(tokenizer) > native.vocab_size:
        raise UserError(
            f"{checkpoint.folder}: {layout.tokenizer_file} and its control tokens are {len(tokenizer):,} tokens, but "
            f"config.json says a vocabulary of {native.vocab_size:,}; they are not of one model"
        )
    rename = renaming(layout)
    _check_plan(checkpoint, rename, native)
    write_shards(checkpoint, rename, out)
    native.save_pretrained(out)
    tokenizer.save_pretrained(out)


def renaming(layout: Layout) -> Rename:
    """What becomes of a tensor of a layout; a name that it does not know stays, to be told as unexpected."""

    def rename(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
        for move in layout.moves:
            targets = move.matched(name)
            if targets is not None:
                if move.rows and sum(move.rows) != tensor.shape[0]:
                    heads = " + ".join(map(str, move.rows))
                    raise UserError(f"{name} has {tensor.shape[0]} rows, but config.json's heads say {heads}")
                yield from zip(targets, move.parts(tensor), strict=bool(targets))
                return
        yield name, tensor

    return rename


def shapes_of(config: Any) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor that a model of this configuration has; its class is noted in the configuration."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    config.architectures = [type(model).__name__]
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def _check_plan(checkpoint: Checkpoint, rename: Rename, native: Any) -> None:
    """Every native tensor comes from the checkpoint exactly once, in its shape; nothing is left over."""
    wanted = shapes_of(native)
    found: set[str] = set()
    for path in checkpoint.files:
        for source, tensor in checkpoint.read(path).items():
            for name, part in rename(source, tensor):
                if name not in wanted:
                    raise UserError(f"{path}: the tensor {source!r} has no place in {native.architectures[0]}")
                if name in found:
                    raise UserError(f"{path}: the tensor {source!r} stands in two files of the checkpoint")
                if part.dtype not in FLOATS:
                    raise UserError(f"{path}: {source!r} holds {part.dtype}; a quantised checkpoint can't be converted")
                _require_shape(path, source, part, name, wanted)
                found.add(name)
                native.dtype = part.dtype
    missing = sorted(set(wanted) - found)
    if missing:
        raise UserError(
            f"{checkpoint.folder}: the weights lack {len(missing)} tensors that config.json calls for, "
            f"the first is for {missing[0]}; fetch the checkpoint again"
        )


def _require_shape(path: Path, source: str, part: Tensor, name: str, wanted: dict[str, tuple[int, ...]]) -> None:
    if tuple(part.shape) != wanted[name]:
        raise UserError(
            f"{path}: {source!r} gives {name} the shape {tuple(part.shape)}, but config.json says "
            f"{wanted[name]}; weights and config.json are not of one model"
        )


def _adopt(checkpoint: Checkpoint, out: Path) -> None:
    """Link a native checkpoint; weights in pickles are copied to safetensors.

    transformers knows many spellings of names, so only those that it has today are held against config.json here;
    what is missing or left over shows when the whole is loaded. Masks and tables that old checkpoints hold beside the
    weights are of any kind, and never read.
    """
    wanted = shapes_of(load_config(checkpoint.folder))

    def keep(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
        if name in wanted or not BUFFERS.fullmatch(name):
            yield name, tensor

    for path in checkpoint.files:
        for name, tensor in (kept for pair in checkpoint.read(path).items() for kept in keep(*pair)):
            if tensor.dtype not in FLOATS:
                raise UserError(
                    f"{path}: {name!r} holds {tensor.dtype}; take the plain checkpoint, not a quantised one"
                )
            if name in wanted:
                _require_shape(path, name, tensor, name, wanted)
    indexes = {f"{single}.index.json" for single in SINGLES}
    for path in checkpoint.folder.iterdir():
        if path.suffix in BESIDE_WEIGHTS and path.is_file() and path.name not in {FETCHED, *indexes, *NEVER_LINKED}:
            (out / path.name).symlink_to(path.resolve())
    if checkpoint.files[0].suffix == ".bin":
        write_shards(checkpoint, keep, out)
        return
    index = checkpoint.folder / f"{SINGLES[0]}.index.json"
    for path in [*checkpoint.files, *([index] if len(checkpoint.files) > 1 and index.is_file() else [])]:
        (out / path.name).symlink_to(path.resolve())


def write_shards(checkpoint: Checkpoint, rename: Rename, out: Path) -> None:
    """Write a safetensors file for each file of the checkpoint, and their index."""
    count = len(checkpoint.files)
    where: dict[str, str] = {}
    size = 0
    for number, path in enumerate(track(checkpoint.files, "converting", count, "files"), start=1):
        name = f"model-{number:05d}-of-{count:05d}.safetensors"
        tensors = checkpoint.read(path)
        renamed = dict(pair for source, tensor in tensors.items() for pair in rename(source, tensor))
        write_safetensors(out / name, renamed)
        where |= dict.fromkeys(renamed, name)
        size += sum(tensor.nbytes for tensor in renamed.values())
        del tensors, renamed  # before the next file is mapped
    index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(where.items()))}
    (out / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def write_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors one by one; the library would first copy all of them.

    Form: length of the header (8 bytes), header (JSON: dtype, shape and place of each tensor), bytes of the tensors.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    names = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))  # so that each lies aligned
    end = 0
    for name in names:
        tensor = tensors[name]
        start, end = end, end + tensor.nbytes
        header[name] = {"dtype": FLOATS[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            file.write(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().data)
