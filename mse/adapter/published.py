"""Adapters trained with the paper's published code, read into ours."""

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mse.adapter.config import AdapterConfig
from mse.adapter.model import MSEAdapter
from mse.backbones.checkpoint import read_weights
from mse.config import parse
from mse.errors import UserError

PUBLISHED: dict[str, Any] = {  # the published adapter, whatever our defaults are
    "mixer": "text_guided",
    "scales": [8, 32, 16],
    "placement": "before_text",
    "pooling": "last",
    "bidirectional": False,
    "match_embedding_rms": False,
    "learned_absence": False,
}
PREFIX = "Model."
FROZEN = re.compile(r"(.*\.)?(LLM|llm|language_model|transformer|lm_head|model)\..*")  # the LLM, where it was saved too
MODALITIES = {"audio_LSTM": "acoustic", "video_LSTM": "facial"}
# The published fusion's parts, in our names; its first part is one bottleneck a scale.
PARTS = {
    "text_guide_mixer.text_mlp": "mixer.text",
    "mutli_scale_fusion.integrating.Integrating_layer.0": "fusion.integrate",
    "mutli_scale_fusion.multi_scale_projector": "fusion.project",
    "mutli_scale_fusion.projector": "fusion.expand",
} | {
    f"mutli_scale_fusion.scale{number}.{layer}": f"fusion.scales.{number - 1}.{layer}"
    for number in (1, 2, 3)
    for layer in (0, 2)
}


def our_name(name: str) -> str | None:
    """The name of a published tensor in our adapter, or None where it has none.

    Args:
        name: such as Model.audio_LSTM.rnn.weight_ih_l0.
    """
    stem, _, kind = name.removeprefix(PREFIX).rpartition(".")
    for theirs, ours in MODALITIES.items():
        if stem == f"{theirs}.rnn":
            return f"{ours}.lstm.{kind}"
        if stem == f"{theirs}.linear":
            return f"{ours}.linear.{kind}"
    return f"{PARTS[stem]}.{kind}" if stem in PARTS else None


def import_published(checkpoint: Path, out: Path, backbone: str = "", dataset: str = "") -> MSEAdapter:
    """Write an adapter's folder from a checkpoint of the published code; all widths are inferred.

    Args:
        checkpoint: a state dict saved by torch; tensors alone are ever loaded, those of the LLM are passed over.
        out: folder of the adapter: config.json and adapter.safetensors.
        backbone: the LLM it was trained with, for the record.
        dataset: the corpus it was trained on, for the record.

    Returns:
        The adapter, with the paper's settings (last LSTM state, no normalisation, no learned absence).

    Raises:
        UserError: the file is none, lacks a part, has one more, or its shapes do not fit each other.
    """
    weights: dict[str, Tensor] = {}
    for name, tensor in read_weights(checkpoint).items():
        ours = our_name(name)
        if ours:
            # The published sum over scales is a convolution with a window of 1 x 3: (1, 1, 1, 3).
            weights[ours] = tensor.float().reshape(1, -1) if ours == "fusion.integrate.weight" else tensor.float()
        elif not FROZEN.fullmatch(name.removeprefix(PREFIX)):
            raise UserError(f"{checkpoint}: {name!r} is no part of the published adapter; is this another model's?")
    try:
        with torch.device("meta"):  # no memory before the tensors are known to fit each other
            adapter = MSEAdapter(_inferred(checkpoint, weights, backbone, dataset))
    except (RuntimeError, OverflowError) as e:
        raise UserError(f"{checkpoint}: its tensors are of impossible sizes: {e}") from e
    wanted = adapter.state_dict()
    missing = sorted(set(wanted) - set(weights))
    if missing:
        raise UserError(
            f"{checkpoint}: lacks {len(missing)} tensors of the adapter, the first is {missing[0]} (our name)"
        )
    more = sorted(set(weights) - set(wanted))
    if more:
        raise UserError(
            f"{checkpoint}: has {len(more)} tensors more than the published adapter, the first is {more[0]} (our "
            "name); another number of layers or directions can't be read"
        )
    for name, tensor in weights.items():
        if tensor.shape != wanted[name].shape:
            raise UserError(
                f"{checkpoint}: {name} (our name) has the shape {tuple(tensor.shape)}, but the other tensors call for "
                f"{tuple(wanted[name].shape)}"
            )
    adapter.load_state_dict(weights, assign=True)
    adapter.save_pretrained(out)
    return adapter.eval()


def _inferred(checkpoint: Path, weights: dict[str, Tensor], backbone: str, dataset: str) -> AdapterConfig:
    """Widths from the shapes of the tensors that carry them."""
    try:
        sizes = {ours: weights[f"{ours}.lstm.weight_ih_l0"].shape for ours in MODALITIES.values()}  # (4 h, D)
        fusion_width, text_width = weights["mixer.text.weight"].shape
        tokens = len(weights["fusion.expand.weight"])
        (acoustic_gates, acoustic_width), (facial_gates, facial_width) = sizes["acoustic"], sizes["facial"]
    except (KeyError, ValueError, TypeError) as e:
        raise UserError(f"{checkpoint}: no adapter of the published code: {e} is missing or of another form") from e
    settings = {
        "acoustic_hidden": acoustic_gates // 4,
        "facial_hidden": facial_gates // 4,
        "fusion_width": fusion_width,
        "pseudo_tokens": tokens,
        **PUBLISHED,
    }
    told = {
        "acoustic_width": acoustic_width,
        "facial_width": facial_width,
        "text_width": text_width,
        "backbone": backbone,
        "dataset": dataset,
        "standardised": False,
        "settings": settings,
    }
    return parse(AdapterConfig, told, f"{checkpoint}: by the shapes of its tensors")
