"""Loading a native folder with transformers: nothing is fetched, run or made up.

A GPU computes in the weights' dtype. A CPU holds them in it and computes in float32: without matrix units for
bfloat16 it is several hundred times slower in that (backward, AVX2), and with them the numbers would differ.
"""

import re
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mse.backbones.checkpoint import read_json
from mse.config import Backbone
from mse.errors import UserError

CPU = torch.device("cpu")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
ATTENTION = {"full_attention", "sliding_attention", "chunked_attention"}  # layers that keep keys and values alone
# Masks and tables of positions, which old checkpoints hold beside the weights; they are computed.
BUFFERS = re.compile(
    r"(?:.*\.)?(?:(?:self_)?(?:attn|attention)\.(?:bias|masked_bias|causal_mask|embed_positions|scale_attn)"
    r"|(?:original_)?inv_freq|(?:cos|sin)(?:_cached)?|position_ids|attn_bias|embed_positions\.weights)"
)
NEVER_LINKED = {"adapter_config.json"}  # it may name another repository, from which the library would load


def load_config(folder: Path) -> Any:
    """The configuration of a folder's model.

    Args:
        folder: holds config.json.

    Raises:
        UserError: there is none, or transformers does not know its architecture.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

    path = folder / "config.json"
    if not path.is_file():
        raise UserError(f"{folder}: no model there (config.json is missing); `mse fetch` gets one by name")
    foreign = next((name for name in NEVER_LINKED if (folder / name).exists()), None)
    if foreign:
        raise UserError(
            f"{folder / foreign}: a model with parts from elsewhere is not loaded; merge them, or remove it"
        )
    named = read_json(path).get("model_type")
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as e:  # whatever a foreign file makes the library raise
        raise UserError(
            f"{path}: transformers does not know model_type = {named!r}, or what else it says; original ChatGLM and "
            f"Qwen checkpoints are converted first: mse backbone convert {folder} --out DIR"
        ) from e
    # Always set: config.json may name a repository here, whose code the library would fetch and run.
    kind = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    config._attn_implementation = "sdpa" if getattr(kind, "_supports_sdpa", False) else "eager"
    return config


def layer_configs(config: Any) -> list[Any]:
    """The configuration of each layer of the language model; some LLMs have layers of several kinds."""
    text = config.get_text_config()
    return list(getattr(text, "per_layer_config", None) or [text] * text.num_hidden_layers)


def require_attention(config: Any, source: str) -> None:
    """Refuse an LLM whose reading of the opening can't be kept for all clips.

    Args:
        config: of the model.
        source: where it lies, for the message.

    Raises:
        UserError: it keeps more than keys and values.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    try:
        text = config.get_text_config()
    except ValueError as e:  # several
        raise UserError(f"{source}: a model of several language models, of which none is the one; choose an LLM") from e
    kinds = set(getattr(text, "layer_types", None) or ()) - ATTENTION
    if kinds or getattr(MODEL_FOR_CAUSAL_LM_MAPPING[type(config)], "_is_stateful", False):
        raise UserError(
            f"{source}: an LLM with layers other than attention ({', '.join(sorted(kinds)) or 'a running state'}), "
            "whose reading of the opening can't be kept for all clips; choose another LLM"
        )


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder.

    Args:
        folder: holds tokenizer.json, or what transformers can make one of.

    Raises:
        UserError: the folder has none that transformers can read without code of its own.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as e:  # whatever a foreign file makes the library raise; its advice may be to run code
        raise UserError(
            f"{folder}: no tokenizer that transformers can load without code from the checkpoint; expected "
            f"tokenizer.json with tokenizer_config.json, or tokenizer.model ({type(e).__name__})"
        ) from e


def load_model(folder: Path, dtype: torch.dtype | Literal["auto"], **how: Any) -> Any:
    """The model of a folder, frozen.

    Args:
        folder: config.json and safetensors.
        dtype: of the weights in memory; auto: as they are on disk.
        how: more for transformers' `from_pretrained`: device, quantisation.

    Raises:
        UserError: transformers can't load it, or weights are missing (transformers would draw them at random) or left
            over.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    config = load_config(folder)
    logging.disable_progress_bar()
    shown = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            attn_implementation=config._attn_implementation,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            **how,
        )
    except Exception as e:  # whatever a foreign file makes the library raise
        said = (str(e) or type(e).__name__).splitlines()[0]
        raise UserError(f"{folder}: transformers can't load this model: {said}") from e
    finally:
        logging.set_verbosity(shown)
    model, report = loaded
    report["unexpected_keys"] = [name for name in report["unexpected_keys"] if not BUFFERS.fullmatch(str(name))]
    for keys, what in (
        ("missing_keys", "are missing"),
        ("mismatched_keys", "have another shape than config.json says"),
        ("unexpected_keys", "have no place in the model that config.json describes"),
    ):
        wrong = sorted(map(str, report[keys]))
        if wrong:
            raise UserError(
                f"{folder}: {len(wrong)} weights {what}, the first is {wrong[0]}; fetch or convert the model again"
            )
    return model.eval().requires_grad_(False)


def load_layer_by_layer(folder: Path, unused: str) -> Any:
    """The model of a folder, whose weights stay on disk: each layer's are in memory only while it computes.

    Args:
        folder: config.json and safetensors.
        unused: an empty folder, for weights that transformers stores in another form than they are published in.

    Raises:
        UserError: as `load_model`.
    """
    from accelerate.hooks import attach_align_device_hook, remove_hook_from_module, remove_hook_from_submodules
    from transformers.modeling_layers import GradientCheckpointingLayer

    # In its own dtype, or transformers would convert, and so hold, all of it at once.
    model = load_model(folder, "auto", device_map={"": "disk"}, offload_folder=unused)
    # What transformers asks for loads each part of a layer by itself, and knows nothing of a layer that computes with
    # its parts' weights.
    hooks = [hook for part in model.modules() if (hook := getattr(part, "_hf_hook", None))]
    loaders = [each.weights_map for hook in hooks for each in getattr(hook, "hooks", [hook])]
    weights = next(loader.dataset for loader in loaders if loader is not None)
    remove_hook_from_submodules(model)
    model = computing_on(CPU, model) if _can_widen(model) else model.float()  # the latter when a layer is loaded
    whole = {type(part).__name__ for part in model.modules() if isinstance(part, GradientCheckpointingLayer)}
    attach_align_device_hook(model, CPU, offload=True, weights_map=weights, preload_module_classes=sorted(whole))
    table = model.get_input_embeddings()  # stays: some models ask it where it lies
    table._hf_hook.pre_forward(table)
    remove_hook_from_module(table)
    return model


def load_backbone(folder: Path, backbone: Backbone, device: torch.device) -> Any:
    """The model of a folder in the dtype and quantisation that its configuration asks for, on a device.

    Args:
        folder: config.json and safetensors.
        backbone: dtype and quantisation.
        device: where it computes.

    Raises:
        UserError: it can't be loaded, or bitsandbytes is not installed.
    """
    dtype = DTYPES[backbone.dtype]
    if backbone.quantise is None:
        return computing_on(device, load_model(folder, dtype, device_map={"": device}))
    if find_spec("bitsandbytes") is None:
        raise UserError(
            f"quantise = {backbone.quantise!r} needs the package bitsandbytes: pip install -e '.[quantised]'"
        )
    from transformers import BitsAndBytesConfig

    how = (
        {"load_in_8bit": True} if backbone.quantise == "8bit" else {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
    )
    config = BitsAndBytesConfig(**how, bnb_4bit_compute_dtype=dtype)
    model = load_model(folder, dtype, device_map={"": device}, quantization_config=config)
    for layer in model.modules():
        # On a CPU with AVX512-BF16 bitsandbytes packs 4-bit weights for a product that has no gradient: pseudo tokens
        # would be given zeros, and adapters learn nothing.
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False
    return computing_on(device, model)


def computing_on(device: torch.device, model: Any) -> Any:
    """The model, made to compute in float32 where it lies on a CPU; its large weights stay as they are.

    Each linear layer widens its weights for the moment of its product. A model with large weights elsewhere, such as
    those of experts, is left to compute in its own dtype.

    Args:
        device: where it lies.
        model: frozen; changed in place.
    """
    narrow = any(parameter.dtype in (torch.bfloat16, torch.float16) for parameter in model.parameters())
    if device.type == "cuda" or not narrow or not _can_widen(model):
        return model
    for part in model.modules():
        if type(part) is nn.Linear:
            part.forward = partial(_widened, part)  # type: ignore[method-assign]
        elif isinstance(part, nn.Embedding):
            part.register_forward_hook(lambda _, __, embedded: embedded.float())
    for parameter in model.parameters():
        if parameter.ndim == 1 and parameter.is_floating_point():
            parameter.data = parameter.data.float()
    return model


def _can_widen(model: Any) -> bool:
    """Whether all large weights are those of linear layers and embeddings."""
    large = {id(parameter) for parameter in model.parameters() if parameter.ndim > 1 and parameter.is_floating_point()}
    known = [part for part in model.modules() if type(part) is nn.Linear or isinstance(part, nn.Embedding)]
    return not large - {id(part.weight) for part in known}


def _widened(layer: nn.Linear, values: Tensor) -> Tensor:
    product: Tensor = _WideProduct.apply(values, layer.weight)
    return product if layer.bias is None else product + layer.bias


class _WideProduct(torch.autograd.Function):
    """values @ weight.T in float32, for a frozen weight of which only the narrow form is kept."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.dtype = values.dtype
        return nn.functional.linear(values.float(), weight.float())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (weight,) = ctx.saved_tensors
        return (gradients[0].float() @ weight.float()).to(ctx.dtype), None
