"""Hidden states of pretrained speech models: wav2vec 2.0, HuBERT, WavLM and data2vec.

Such a model has a convolutional encoder, which turns samples into frames, and a transformer over these frames. The
first takes most of the memory, so it runs over blocks of a clip; the second sees the whole clip at once. The values are
those of one plain pass, to the rounding of float32.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mse.backbones.checkpoint import Checkpoint, read_json
from mse.config import SpeechModelSettings
from mse.errors import UserError
from mse.features.acoustic import average_down
from mse.media import SAMPLE_RATE_HZ

MODEL_TYPES = ("wav2vec2", "hubert", "wavlm", "data2vec-audio")
BLOCK_FRAMES = 100  # of the convolutional encoder at a time: 2 s
BATCH_S = 64.0  # sound in a batch of the transformer, padding included
HOW_TO_GET = "`mse fetch OWNER/NAME@REVISION` gets one from a model hub"
NEVER_USED = {"masked_spec_embed"}  # what training puts in place of masked frames

Features = tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]


class SpeechModelExtractor:
    """The average of chosen layers of a speech model, averaged down to `rate_hz`.

    A layer k >= 0 is what transformers calls `hidden_states[k]`, and -1 its `last_hidden_state` (without an adapter
    behind the transformer). With L layers, L is the same as -1, unless the model normalises behind its last layer: -1
    is after that, L before.

    Frame t of a model with the usual strides (320 samples, 50 Hz) sees the 25 ms of sound from t / 50 s on, and through
    the transformer the whole clip. A longer frame is the mean over the model's frames that begin within it: frame t
    stands for the sound from t / rate_hz to (t + 1) / rate_hz seconds after the clip's start. The sound behind the
    last whole 25 ms has no frame.

    Args:
        settings: layers, their weights, rate, precision.
        folder: config.json with safetensors or a pytorch_model.bin that holds tensors alone.
        device: auto (a GPU where there is one), cpu or cuda.
        threads: CPU threads, for the whole process; None leaves them as they are.

    Attributes:
        rate_hz: frames a second.
        feature_names: one a component of the hidden state, such as wav2vec2_000.

    Raises:
        UserError: no such model there, weights are missing, it wants another sampling rate, lacks a layer, or there
            is no GPU.
    """

    def __init__(
        self, settings: SpeechModelSettings, folder: Path, device: str = "auto", threads: int | None = None
    ) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise UserError("device = 'cuda', but torch sees no GPU here; device: auto, or a torch built for CUDA")
        if threads:
            torch.set_num_threads(threads)
        self._device = torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
        self._half = settings.half and self._device.type == "cuda"
        self._model = _load(folder)
        self._normalised = _wants_normalised(folder)
        self.weights_digest = _weights_digest(folder)  # features of other weights are not to be mixed with these
        config = self._model.config
        self._hop, self._seen = 1, 1  # samples from frame to frame, and that a frame depends on
        for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
            self._seen += (kernel - 1) * self._hop
            self._hop *= stride
        # Where the layers normalise their input, one more normalisation stands behind the last of them.
        self._norm_is_last = bool(getattr(config, "do_stable_layer_norm", False))
        self._shares = _shares(settings, config.num_hidden_layers, self._norm_is_last, folder)
        self._model.encoder.layers = self._model.encoder.layers[: max(self._shares)]  # those above are not needed
        if config.model_type == "wavlm":
            for layer in self._model.encoder.layers:
                layer.attention.torch_multi_head_self_attention = partial(_biased_attention, layer.attention)
        self._model.to(self._device)
        self._model_hz = SAMPLE_RATE_HZ / self._hop
        self.rate_hz = min(settings.rate_hz, self._model_hz)
        self.feature_names = [f"{config.model_type}_{i:03d}" for i in range(config.hidden_size)]

    def __call__(self, samples: npt.NDArray[np.int16]) -> Features:
        """Describe a clip's sound.

        Args:
            samples: shape (N,), mono, 16 kHz, int16.

        Returns:
            values (T, D) float32 and valid (T,); T is 0 for a clip shorter than what one frame sees (25 ms).
        """
        return self.many([samples])[0]

    @torch.inference_mode()
    def many(self, clips: Sequence[npt.NDArray[np.int16]]) -> list[Features]:
        """Describe clips side by side, as `__call__` does one by one.

        Args:
            clips: each of shape (N,), mono, 16 kHz, int16; better some minutes of sound than all of a corpus.

        Returns:
            values (T, D) float32 and valid (T,) of each, in the same order.
        """
        none = np.zeros((0, len(self.feature_names)), np.float32), np.zeros(0, bool)
        found: list[Features] = [none] * len(clips)
        counts = [max(0, (len(clip) - self._seen) // self._hop + 1) for clip in clips]
        # No TF32, and deterministic: all else that is computed here is both by default.
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            for batch in _batches(counts, BATCH_S * self._model_hz):
                opened = [self._open(clips[i], counts[i]) for i in batch]
                states = self._transform(opened).cpu().numpy()
                for i, values in zip(batch, states, strict=True):
                    found[i] = average_down(values[: counts[i]], self._model_hz, self.rate_hz)
        return found

    def _open(self, samples: npt.NDArray[np.int16], count: int) -> Tensor:
        """The input (T, D) of the first layer, for one clip.

        The convolution that tells positions is part of it: beside padding, some models would compute other values.
        """
        encoder = self._model.encoder
        frames = self._convolve(self._signal(samples), count)
        hidden = _first(self._model.feature_projection(frames[None]))
        hidden = hidden + encoder.pos_conv_embed(hidden)
        return (hidden if self._norm_is_last else encoder.layer_norm(hidden))[0]

    def _signal(self, samples: npt.NDArray[np.int16]) -> Tensor:
        signal = samples.astype(np.float64) / 32768
        if self._normalised:
            signal = (signal - signal.mean()) / np.sqrt(signal.var() + 1e-7)  # transformers' epsilon
        return torch.from_numpy(signal.astype(np.float32)).to(self._device)

    def _convolve(self, signal: Tensor, count: int) -> Tensor:
        """The frames (T, C) of a signal (N,), in blocks that overlap by what neighbouring frames both see."""
        first, *rest = self._model.feature_extractor.conv_layers
        if isinstance(getattr(first, "layer_norm", None), nn.GroupNorm):
            first = _normalising(first, signal)
        blocks = []
        for start in range(0, count, BLOCK_FRAMES):
            last = min(start + BLOCK_FRAMES, count) - 1
            hidden = signal[None, None, start * self._hop : last * self._hop + self._seen]
            for layer in (first, *rest):
                hidden = layer(hidden)
            blocks.append(hidden[0].T)
        return torch.cat(blocks)

    def _transform(self, opened: list[Tensor]) -> Tensor:
        """The weighted hidden states (B, T, D), for inputs (T, D) of the first layer; behind a clip's end anything."""
        hidden = nn.utils.rnn.pad_sequence(opened, batch_first=True)
        told: dict[str, Any] = {"attention_mask": self._mask(opened, hidden)}
        mixed = self._shares.get(0, 0.0) * hidden
        with torch.autocast(self._device.type, torch.float16, enabled=self._half):  # sums and norms stay float32
            for place, layer in enumerate(self._model.encoder.layers, 1):
                output = layer(hidden, **told)
                hidden = _first(output)
                if self._model.config.model_type == "wavlm":
                    told["position_bias"] = output[1]  # the first layer's, which all others use
                if place in self._shares:
                    mixed += self._shares[place] * hidden
        behind = self._model.config.num_hidden_layers + 1
        if behind in self._shares:
            mixed += self._shares[behind] * self._model.encoder.layer_norm(hidden)
        return mixed

    def _mask(self, opened: list[Tensor], hidden: Tensor) -> Tensor | None:
        """True where a frame (of B, T) may be looked at, in the shape that the layers take; None: everywhere."""
        counts = torch.tensor([len(clip) for clip in opened])
        if int(counts.min()) == hidden.shape[1]:
            return None
        mask = (torch.arange(hidden.shape[1]) < counts[:, None]).to(self._device)
        return mask if self._model.config.model_type == "wavlm" else mask[:, None, None, :]


def _batches(counts: Sequence[int], most: float) -> list[list[int]]:
    """Clips with frames, by number, longest first, together while clips times the longest's frames are within most."""
    batches: list[list[int]] = []
    for i in sorted((i for i, count in enumerate(counts) if count), key=lambda i: -counts[i]):
        if batches and (len(batches[-1]) + 1) * counts[batches[-1][0]] <= most:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches


def _biased_attention(attention: Any, hidden: Tensor, mask: Tensor | None, bias: Tensor) -> tuple[Tensor, None]:
    """WavLM's attention without weights for output, which take twice the time and a gigabyte more at 60 s.

    Args:
        attention: the layer's part with the projections.
        hidden: shape (B, T, D).
        mask: shape (B, T), True where a frame may be looked at.
        bias: of the relative positions, shape (B x heads, T, T).
    """
    shape = (*hidden.shape[:2], attention.num_heads, attention.head_dim)
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    query, key, value = (project(hidden).view(shape).transpose(1, 2) for project in projections)
    bias = bias.view(*query.shape[:3], -1)
    if mask is not None:
        bias = bias.masked_fill(~mask[:, None, None], -math.inf)
    found = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)  # (B, heads, T, D / heads)
    return attention.out_proj(found.transpose(1, 2).flatten(2)), None


def _normalising(layer: Any, signal: Tensor) -> Callable[[Tensor], Tensor]:
    """A first layer whose GroupNorm has the whole clip's statistics, for any block of the signal (N,).

    A channel's output is weight . window, so its mean is weight . E[window] and its variance weight' Cov[window]
    weight: a 10 x 10 covariance in float64 tells those of all channels, without their outputs.
    """
    conv, norm = layer.conv, layer.layer_norm
    (kernel,), (stride,) = conv.kernel_size, conv.stride
    windows = signal.unfold(0, kernel, stride)  # (windows, kernel), a view
    total = torch.zeros(kernel, dtype=torch.float64, device=signal.device)
    squares = torch.zeros(kernel, kernel, dtype=torch.float64, device=signal.device)
    for some in windows.split(100_000):
        wide = some.double()
        total += wide.sum(0)
        squares += wide.T @ wide
    mean = total / len(windows)
    covariance = squares / len(windows) - torch.outer(mean, mean)
    weight = conv.weight[:, 0].double()  # (C, kernel)
    variance = ((weight @ covariance) * weight).sum(1).clamp(min=0)
    scale = norm.weight / torch.sqrt(variance + norm.eps)
    scaled = (scale[:, None] * weight).float()[:, None]
    shift = (norm.bias - scale * (weight @ mean)).float()  # a bias of the convolution would cancel out
    return lambda block: layer.activation(nn.functional.conv1d(block, scaled, shift, stride))


def _first(output: Any) -> Tensor:
    """Some layers give more than their values."""
    return output[0] if isinstance(output, tuple) else output


def _shares(settings: SpeechModelSettings, layers: int, norm_is_last: bool, folder: Path) -> dict[int, float]:
    """The share of each hidden state that is averaged: 0 the first layer's input, k the output of layer k.

    One more stands for what the normalisation behind the last layer gives, where there is one.

    Raises:
        UserError: the model lacks a layer, or two numbers mean the same one.
    """
    shares: dict[int, float] = {}
    weights = settings.weights or [1.0] * len(settings.layers)
    for layer, weight in zip(settings.layers, weights, strict=True):
        if not -layers - 1 <= layer <= layers:
            raise UserError(
                f"layers = {settings.layers}: {folder} has {layers} layers; expected 0 (the input of the first) to "
                f"{layers}, or -1 (the output of the last) to {-layers - 1}"
            )
        place = layer if layer >= 0 else layers + 1 + layer + (norm_is_last and layer == -1)
        if place in shares:
            raise UserError(f"layers = {settings.layers}: {layer} is there twice, as {folder} has {layers} layers")
        shares[place] = weight / sum(weights)
    return shares


def _wants_normalised(folder: Path) -> bool:
    """Whether a model wants clips of zero mean and unit variance; they all do unless they say otherwise.

    Raises:
        UserError: it was trained with sound of another sampling rate.
    """
    processor, preprocessor = folder / "processor_config.json", folder / "preprocessor_config.json"
    wanted = read_json(processor).get("feature_extractor") if processor.is_file() else None
    if wanted is None:
        wanted = read_json(preprocessor) if preprocessor.is_file() else {}
    rate = wanted.get("sampling_rate", SAMPLE_RATE_HZ)
    if rate != SAMPLE_RATE_HZ:
        raise UserError(
            f"{folder}: a model for sampling_rate = {rate!r}; clips have {SAMPLE_RATE_HZ} Hz, choose a model for that"
        )
    return bool(wanted.get("do_normalize", True))


def _weights_digest(folder: Path) -> str:
    """Short SHA-256 of the files of weights, so that a model that was moved is the same, and a changed one is not."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.suffix in (".safetensors", ".bin")):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def _load(folder: Path) -> Any:
    """The model of a folder in float32, frozen; nothing is fetched, run or made up.

    Raises:
        UserError: no model of a known type there, or weights are missing (transformers would draw them at random).
    """
    from transformers import AutoModel
    from transformers.utils import logging

    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: no speech model there (config.json is missing); {HOW_TO_GET}")
    kind = read_json(folder / "config.json").get("model_type")
    if kind not in MODEL_TYPES:
        raise UserError(
            f"{folder / 'config.json'}: model_type = {kind!r} is no speech model that is known here; "
            f"expected {', '.join(MODEL_TYPES)}"
        )
    if (folder / "adapter_config.json").exists():  # it may name another repository, from which it would be loaded
        raise UserError(f"{folder / 'adapter_config.json'}: a model with parts from elsewhere; merge or remove them")
    try:
        checkpoint = Checkpoint(folder)
    except UserError as e:
        raise UserError(f"{e}; {HOW_TO_GET}") from e
    logging.disable_progress_bar()
    shown = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        loaded: Any = AutoModel.from_pretrained(
            folder,
            dtype=torch.float32,
            attn_implementation="eager" if kind == "wavlm" else "sdpa",  # all that transformers has for WavLM
            local_files_only=True,
            trust_remote_code=False,
            weights_only=True,
            ignore_mismatched_sizes=True,  # they are named below
            output_loading_info=True,
        )
    except Exception as e:  # whatever a foreign file makes the library raise
        for path in checkpoint.files:
            checkpoint.read(path)  # tells better what is wrong with a file of weights
        said = (str(e) or type(e).__name__).splitlines()[0]
        raise UserError(f"{folder}: transformers can't load this model: {said}") from e
    finally:
        logging.set_verbosity(shown)
    model, report = loaded
    missing = set(map(str, report["missing_keys"])) - NEVER_USED
    misfits = {str(key[0]) for key in report["mismatched_keys"]}
    for wrong, what in ((missing - misfits, "are missing"), (misfits, "have another shape than config.json says")):
        if wrong:
            more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
            raise UserError(f"{folder}: weights {what}: {', '.join(sorted(wrong)[:5])}{more}; fetch the model again")
    return model.eval().requires_grad_(False)
