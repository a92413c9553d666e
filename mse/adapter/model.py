"""The whole adapter, and its folder on disk."""

from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mse.adapter.config import AdapterConfig
from mse.adapter.encoder import SequenceEncoder
from mse.adapter.fusion import MultiScaleFusion
from mse.adapter.mixer import Sum, TextGuideMixer
from mse.atomic import replacing
from mse.config import AdapterSettings, parse, read_yaml
from mse.errors import UserError

CONFIG_NAME, WEIGHTS_NAME = "config.json", "adapter.safetensors"


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
        mixed = self.mixer(self.acoustic(*acoustic), self.facial(*facial), *text)
        if self.gain is None:
            return self.fusion(mixed)
        # A product of small numbers is lost beside the biases that follow; and the LLM was trained on tokens of
        # one loudness.
        tokens: Tensor = self.fusion(nn.functional.rms_norm(mixed, mixed.shape[-1:]))
        return self.gain * nn.functional.rms_norm(tokens, tokens.shape[-1:])

    def save_pretrained(self, folder: Path) -> None:
        """Write config.json and adapter.safetensors; nothing of the LLM is in them."""
        weights = {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
        with replacing(folder / WEIGHTS_NAME) as partial:
            save_file(weights, partial)
        with replacing(folder / CONFIG_NAME) as partial:
            partial.write_text(self.config.model_dump_json(indent=2) + "\n")

    @classmethod
    def from_pretrained(cls, folder: Path | str) -> Self:
        """Read a folder that `save_pretrained` wrote.

        Raises:
            UserError: a file is missing, or the weights do not fit the configuration.
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
            weights = {name: value.float() for name, value in load_file(folder / WEIGHTS_NAME).items()}
            adapter.load_state_dict(weights, assign=True)
        except (OSError, RuntimeError, SafetensorError) as e:
            raise UserError(f"{folder / WEIGHTS_NAME}: no weights that fit {CONFIG_NAME}: {e}") from e
        return adapter
