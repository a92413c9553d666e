"""How much memory an LLM will take, told before it is loaded."""

import contextlib
import ctypes
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import nn

from mse.backbones.load import DTYPES, computing_on, layer_configs, load_config
from mse.backbones.reader import Reader
from mse.config import Backbone
from mse.errors import UserError
from mse.progress import say

GB = 1e9
RUNTIME = 0.8 * GB  # of the libraries; on a GPU, of CUDA's context
MARGIN = 1.1  # allocators round up, and keep what was freed
QUANTISED = {"8bit": 1.0, "4bit": 0.5625}  # bytes for each weight of a linear layer, scales included
CPU = torch.device("cpu")
M_MMAP_THRESHOLD = -3  # mallopt's name for it
CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Estimate:
    """Memory in bytes.

    Attributes:
        weights: of the LLM.
        work: what a step keeps until its gradient is known, or an answer until its next token; None where an
            architecture can't be run without content.
    """

    weights: float
    work: float | None

    @property
    def total(self) -> float:
        """All of it, with the libraries and a margin."""
        return RUNTIME + MARGIN * (self.weights + (self.work or 0))


def estimate(
    folder: Path,
    backbone: Backbone,
    batch: int,
    tokens: int,
    training: bool,
    recompute: bool = False,
    device: torch.device = CPU,
    logits: int = 1,
) -> Estimate:
    """Memory that an LLM will take, found by running its architecture on tensors without content.

    Args:
        folder: the native folder.
        backbone: dtype and quantisation.
        batch: sequences at a time.
        tokens: of the longest sequence.
        training: whether gradients are computed.
        recompute: whether layers are computed anew for them.
        device: where it computes.
        logits: positions of a sequence at which the whole vocabulary is told.
    """
    from transformers import AutoModelForCausalLM

    dtype = DTYPES[backbone.dtype]
    config = load_config(folder)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype).eval().requires_grad_(False)
        weights = _weights(model, backbone)
        model = computing_on(device, model)
        reader = Reader(model)
        read = reader.inputs(torch.zeros(batch, tokens, dtype=torch.long)).requires_grad_()
        try:
            kept = _kept(reader, read)
        except RuntimeError:  # what it computes depends on content, as with experts
            return Estimate(weights, None)
    layers = config.get_text_config().num_hidden_layers
    if not training:
        kept = kept / layers
    elif recompute:
        kept = kept / layers + layers * read.nbytes
    kept += 2 * batch * logits * config.get_text_config().vocab_size * torch.float32.itemsize  # and their logarithms
    if device.type == "cpu" and dtype != torch.float32:
        kept += 4 * max(part.weight.numel() for part in model.modules() if isinstance(part, nn.Linear))
    return Estimate(weights, kept)


def _weights(model: Any, backbone: Backbone) -> float:
    size = sum(parameter.nbytes for parameter in model.parameters())
    if backbone.quantise is None:
        return size
    head = model.get_output_embeddings()
    linear = [part.weight for part in model.modules() if isinstance(part, nn.Linear) and part is not head]
    return size - sum(weight.nbytes - weight.numel() * QUANTISED[backbone.quantise] for weight in linear)


def _kept(reader: Reader, read: torch.Tensor) -> float:
    """Bytes of all tensors that a forward pass keeps for its gradient, the weights apart."""
    weights = {id(parameter.untyped_storage()) for parameter in reader.model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[id(storage)] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        reader.model(**reader.arguments(read), use_cache=True, logits_to_keep=1)
    return float(sum(storage.nbytes() for key, storage in kept.items() if key not in weights))


def require(estimated: Estimate, device: torch.device, kept: float = 0.0) -> None:
    """Say what an LLM takes, and stop before one is loaded that does not fit.

    Args:
        estimated: what it takes.
        device: where it goes.
        kept: bytes that what was read of texts may take beside that.

    Raises:
        UserError: less memory is free.
    """
    free = available(device)
    work = "an unknown amount" if estimated.work is None else f"{estimated.work / GB:.1f}"
    texts = f", {kept / GB:.1f} for texts read beforehand" if kept else ""
    needs = (
        f"the LLM needs about {(estimated.total + kept) / GB:.1f} GB ({estimated.weights / GB:.1f} for its weights, "
        f"{work} to work{texts}); {free / GB:.1f} GB of {'GPU ' * (device.type == 'cuda')}memory are free"
    )
    if estimated.total + kept > free:
        raise UserError(
            f"{needs}. A smaller train.batch_size and train.gradient_checkpointing: true lower what it takes to work, "
            "a smaller train.text_cache_gb what texts take; "
            "dtype: bfloat16 and quantise: 8bit or 4bit in the backbone's YAML lower its weights"
        )
    say(needs)


def of_read_tokens(folder: Path, backbone: Backbone, device: torch.device, tokens: int) -> float:
    """Bytes of the keys and values that an LLM keeps of tokens that it has read.

    Args:
        folder: the native folder.
        backbone: dtype of what a GPU computes; a CPU computes in float32.
        device: where it computes.
        tokens: how many.
    """
    columns = 0
    for layer in layer_configs(load_config(folder)):
        heads = getattr(layer, "num_key_value_heads", None) or layer.num_attention_heads
        columns += heads * (getattr(layer, "head_dim", None) or layer.hidden_size // layer.num_attention_heads)
    size = DTYPES[backbone.dtype].itemsize if device.type == "cuda" else torch.float32.itemsize
    return float(2 * columns * size * tokens)


def return_freed_memory() -> None:
    """Let the C library give freed tensors back at once, where it is glibc.

    Else it keeps blocks below a size that grows to 32 MB, in which the tensors of a large LLM's layers lie: measured,
    1.7 times the memory that they need.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 4 << 20)


def available(device: torch.device) -> float:
    """Bytes of memory that are free on a device; the limit of a control group (version 2: SLURM, containers) counts.

    Args:
        device: a GPU, or the CPU for the machine's memory.
    """
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    free = float(psutil.virtual_memory().available)
    own = Path("/proc/self/cgroup")
    group = CGROUP / own.read_text().strip().rpartition("::/")[2] if own.is_file() else CGROUP
    for folder in [group, *group.parents]:
        if not folder.is_relative_to(CGROUP):
            break
        limit, used = folder / "memory.max", folder / "memory.current"
        if limit.is_file() and (text := limit.read_text().strip()) != "max":
            free = min(free, float(text) - float(used.read_text()) + _file_cache(folder))
    return free


def _file_cache(folder: Path) -> float:
    """Bytes of files that a control group holds in memory and can let go."""
    lines = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    return float(lines.get("inactive_file", 0)) + float(lines.get("active_file", 0))
