"""The whole adapter, and its folder on disk."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mse.adapter.config import AdapterConfig
from mse.adapter.encoder import SequenceEncoder
from mse.adapter.fusion import MultiScaleFusion
from mse.adapter.mixer import Sum, TextGuideMixer
from mse.atomic import replacing
from mse.config import AdapterSettings, parse, read_yaml
from mse.errors import UserError

CONFIG_NAME, WEIGHTS_NAME = "config.json", "adapter.safetensors"
SEAL = "mse_sha256"  # in the metadata of the weights, over both files


class MSEAdapter(nn.Module):
    """Pseudo tokens for a frozen LLM out of a clip's sound, picture and text (paper, section Method).

    Args:
        config: widths and settings.
    """

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__()
        self.config = config
        s = config.settings
        self.acoustic = SequenceEncoder(
            config.acoustic_width, s.acoustic_hidden, s.fusion_width, s.pooling, s.bidirectional, s.learned_absence
        )
        self.facial = SequenceEncoder(
            config.facial_width, s.facial_hidden, s.fusion_width, s.pooling, s.bidirectional, s.learned_absence
        )
        self.mixer = (
            Sum()
            if s.mixer == "sum"
            else TextGuideMixer(config.text_width, s.fusion_width, s.learned_absence, s.mixer == "residual")
        )
        self.fusion = MultiScaleFusion(config.text_width, s.fusion_width, s.pseudo_tokens, s.scales)
        self.gain = nn.Parameter(torch.tensor(config.embedding_rms)) if s.match_embedding_rms else None

    def forward(
        self, acoustic: tuple[Tensor, Tensor], facial: tuple[Tensor, Tensor], text: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Make pseudo tokens.

        Args:
            acoustic: values (B, T, D) and lengths (B,).
            facial: values (B, T', D') and lengths (B,).
            text: token embeddings (B, L, d) and mask (B, L), True for real tokens.

        Returns:
            shape (B, n, d).
        """
        return self.fuse(self.mix(acoustic, facial, text))

    def mix(
        self, acoustic: tuple[Tensor, Tensor], facial: tuple[Tensor, Tensor], text: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Make what enters the fusion, shape (B, fusion width); arguments are those of `forward`."""
        mixed: Tensor = self.mixer(self.acoustic(*acoustic), self.facial(*facial), *text)
        # A product of small numbers would be lost beside the biases that follow.
        return mixed if self.gain is None else nn.functional.rms_norm(mixed, mixed.shape[-1:])

    def fuse(self, mixed: Tensor) -> Tensor:
        """Make pseudo tokens (B, n, d) of what enters the fusion (B, fusion width)."""
        tokens: Tensor = self.fusion(mixed)
        # The LLM was trained on tokens of one loudness.
        return tokens if self.gain is None else self.gain * nn.functional.rms_norm(tokens, tokens.shape[-1:])

    def save_pretrained(self, folder: Path) -> None:
        """Write config.json and adapter.safetensors; nothing of the LLM is in them."""
        weights = {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
        with replacing(folder / WEIGHTS_NAME) as partial:
            save_file(weights, partial, metadata={SEAL: _digest(self.config, weights)})
        with replacing(folder / CONFIG_NAME) as partial:
            partial.write_text(self.config.model_dump_json(indent=2) + "\n")

    @classmethod
    def from_pretrained(cls, folder: Path | str) -> Self:
        """Read a folder that `save_pretrained` wrote.

        Raises:
            UserError: a file is missing or damaged, or the weights do not fit the configuration.
        """
        folder = Path(folder)
        said = read_yaml(folder / CONFIG_NAME)
        config = parse(AdapterConfig, said, str(folder / CONFIG_NAME))
        unsaid = sorted(set(AdapterSettings.model_fields) - set(said.get("settings", {})))
        if unsaid:  # today's default need not be what it was trained with
            raise UserError(
                f"{folder / CONFIG_NAME}: settings lacks {', '.join(unsaid)}; the adapter is of another "
                "version of mse: train it anew, or import it again"
            )
        try:
            with torch.device("meta"):  # widths may be absurd: no memory before the weights are known to fit
                adapter = cls(config)
        except (RuntimeError, OverflowError, TypeError) as e:  # sizes beyond 64 bits
            raise UserError(f"{folder / CONFIG_NAME}: no adapter can be so wide: {str(e).splitlines()[0]}") from e
        try:
            with safe_open(folder / WEIGHTS_NAME, "pt") as file:
                seal = (file.metadata() or {}).get(SEAL)
                weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it can't be iterated)
            adapter.load_state_dict({name: value.float() for name, value in weights.items()}, assign=True)
        except (OSError, RuntimeError, SafetensorError) as e:
            raise UserError(f"{folder / WEIGHTS_NAME}: no weights that fit {CONFIG_NAME}: {e}") from e
        if seal != _digest(config, weights):
            raise UserError(
                f"{folder}: {WEIGHTS_NAME} and {CONFIG_NAME} are not what was saved together: damaged, or changed; "
                "copy both again, train anew, or import again"
            )
        return adapter


def _digest(config: AdapterConfig, weights: Mapping[str, Tensor]) -> str:
    """SHA-256 of what an adapter is: nothing else tells of one turned bit."""
    digest = hashlib.sha256(config.model_dump_json().encode())
    for name, value in sorted(weights.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
