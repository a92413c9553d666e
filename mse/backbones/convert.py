"""From a checkpoint as published to a native folder: safetensors that transformers knows, and a fast tokenizer.

Original ChatGLM2, ChatGLM3 and first-generation Qwen checkpoints are renamed and split tensor by tensor; a native
checkpoint in safetensors is linked, one in pickles is copied to safetensors. No code of a checkpoint is ever run.
"""

import json
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import mse
from mse.atomic import replacing_folder
from mse.backbones.chatglm import ChatGLM
from mse.backbones.checkpoint import Checkpoint, read_json
from mse.backbones.layout import Layout
from mse.backbones.qwen import Qwen
from mse.errors import UserError
from mse.progress import say, track

MARK = "native.json"  # written last: what the folder was made from
LAYOUTS: dict[str, type[Layout]] = {layout.model_type: layout for layout in (ChatGLM, Qwen)}
BESIDE_WEIGHTS = {".json", ".model", ".txt", ".tiktoken", ".jinja"}  # never code
DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}  # safetensors' names

Rename = Callable[[str, Tensor], Iterator[tuple[str, Tensor]]]


def convert(source: Path, out: Path) -> None:
    """Make a checkpoint ready to be loaded; memory stays below its largest file and 1 GB.

    Args:
        source: folder of the checkpoint as published.
        out: folder to make: config.json, safetensors, a fast tokenizer, and native.json with where they came from.

    Raises:
        UserError: a file is missing, damaged or does not fit the others, or the architecture is unknown.
    """
    checkpoint = Checkpoint(source)
    layout = layout_of(checkpoint)
    with replacing_folder(out) as partial:
        if layout:
            _convert(checkpoint, layout, partial)
        else:
            _adopt(checkpoint, partial)
        check(partial)
        fetched = source / "fetched.json"
        record = {
            "layout": layout.model_type if layout else "native",
            "fetched": read_json(fetched) if fetched.is_file() else None,
            "sha256": checkpoint.digests(),
            "mse": mse.__version__,
        }
        (partial / MARK).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def layout_of(checkpoint: Checkpoint) -> Layout | None:
    """The original layout of a checkpoint, or None where it is native.

    Raises:
        UserError: transformers does not know the architecture, or it is no causal language model.
    """
    import transformers

    config, source = checkpoint.config, checkpoint.folder / "config.json"
    kind = str(config.get("model_type"))
    if kind in LAYOUTS:
        return LAYOUTS[kind](config, str(source))
    known = transformers.CONFIG_MAPPING
    if kind in known and known[kind] in transformers.MODEL_FOR_CAUSAL_LM_MAPPING:
        return None
    if kind in known:
        raise UserError(f"{source}: model_type = {kind!r} is no causal language model; an LLM that writes is needed")
    code = sorted({str(value).split(".")[0] + ".py" for value in config.get("auto_map", {}).values()})
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


def _check_plan(checkpoint: Checkpoint, rename: Rename, native: Any) -> None:
    """Every native tensor comes from the checkpoint exactly once, in its shape; nothing is left over."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        native.architectures = [type(model := AutoModelForCausalLM.from_config(native)).__name__]
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found: dict[str, tuple[int, ...]] = {}
    for path in checkpoint.files:
        for source, tensor in checkpoint.read(path).items():
            for name, part in rename(source, tensor):
                if name not in wanted:
                    raise UserError(f"{path}: the tensor {source!r} has no place in {native.architectures[0]}")
                if name in found:
                    raise UserError(f"{path}: the tensor {source!r} stands in two files of the checkpoint")
                if tuple(part.shape) != wanted[name]:
                    raise UserError(
                        f"{path}: {source!r} gives {name} the shape {tuple(part.shape)}, but config.json says "
                        f"{wanted[name]}; weights and config.json are not of one model"
                    )
                if part.dtype not in DTYPES:
                    raise UserError(f"{path}: {source!r} holds {part.dtype}; a quantised checkpoint can't be converted")
                found[name] = tuple(part.shape)
                native.dtype = part.dtype
    missing = sorted(set(wanted) - set(found))
    if missing:
        raise UserError(
            f"{checkpoint.folder}: the weights lack {len(missing)} tensors that config.json calls for, "
            f"the first is for {missing[0]}; fetch the checkpoint again"
        )


def _adopt(checkpoint: Checkpoint, out: Path) -> None:
    """Link a native checkpoint; weights in pickles are copied to safetensors."""
    for path in checkpoint.folder.iterdir():
        weights_index = path.name.endswith(".index.json")
        if path.suffix in BESIDE_WEIGHTS and path.is_file() and not weights_index and path.name != "fetched.json":
            (out / path.name).symlink_to(path.resolve())
    if checkpoint.files[0].suffix == ".bin":
        write_shards(checkpoint, lambda name, tensor: iter([(name, tensor)]), out)
        return
    for path in [*checkpoint.files, *checkpoint.folder.glob("*.safetensors.index.json")]:
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
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            file.write(tensors[name].contiguous().view(torch.uint8).numpy().data)


@torch.inference_mode()
def check(folder: Path) -> None:
    """Read a native folder a layer at a time: nothing is missing, and a few tokens give finite numbers.

    Raises:
        UserError: it can't be loaded, lacks tensors, its tokenizer does not fit, or it computes NaN.
    """
    from mse.backbones.load import load_model, load_tokenizer

    tokenizer = load_tokenizer(folder)
    logging.getLogger("accelerate").setLevel(logging.ERROR)  # it would say that layers lie on disk, as they shall
    with tempfile.TemporaryDirectory() as unused:
        # In its own dtype, or transformers would convert, and so hold, all of it at once.
        model = load_model(folder, "auto", device_map={"": "disk"}, offload_folder=unused)
        rows = model.get_input_embeddings().weight.shape[0]
        if len(tokenizer) > rows:
            raise UserError(f"{folder}: the tokenizer has {len(tokenizer):,} tokens, the weights know {rows:,}")
        ids = tokenizer("1, 2, 3", return_tensors="pt")["input_ids"]
        logits = model(ids, logits_to_keep=1).logits
    if not torch.isfinite(logits).all():
        raise UserError(f"{folder}: the model computes NaN or infinity; its weights are damaged")
    count = sum(parameter.numel() for parameter in model.parameters())
    say(f"{type(model).__name__}, {count / 1e9:.2f} billion parameters, {len(tokenizer):,} tokens: reads and writes")
