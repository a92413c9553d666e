"""Text-Guide-Mixer: the text decides what of sound and picture counts (paper, "TGM")."""

import torch
from torch import Tensor, nn


class Sum(nn.Module):
    """Sound and picture added, whatever the text says: what the mixer is compared with (paper, ablation)."""

    def forward(self, acoustic: Tensor, facial: Tensor, embeddings: Tensor, mask: Tensor) -> Tensor:
        """Add sound and picture, (B, width) each; text embeddings (B, L, d) and mask (B, L) are passed over."""
        return acoustic + facial


class TextGuideMixer(nn.Module):
    """Hadamard products of sound and picture with a projection of the text.

    Args:
        text_width: the LLM's hidden size (d).
        width: width of the fused vector.
        learned_absence: stand in a learned vector for clips without any word, else the projection's bias alone.
        residual: add sound, picture and text to the products (paper: no). What each tells for itself is then learned
            as such, where the products alone call for every combination.
    """

    def __init__(self, text_width: int, width: int, learned_absence: bool, residual: bool) -> None:
        super().__init__()
        self.residual = residual
        self.text = nn.Linear(text_width, width)
        self.absent = nn.Parameter(0.1 * torch.randn(width)) if learned_absence else None

    def forward(self, acoustic: Tensor, facial: Tensor, embeddings: Tensor, mask: Tensor) -> Tensor:
        """Mix.

        Args:
            acoustic: shape (B, width).
            facial: shape (B, width).
            embeddings: the text's token embeddings, shape (B, L, d).
            mask: True for real tokens, shape (B, L); a text may be empty.

        Returns:
            shape (B, width).
        """
        embeddings = embeddings.to(self.text.weight.dtype)  # an LLM may hold half as many bits
        real = mask.to(embeddings.dtype)[:, :, None]
        mean = (embeddings * real).sum(dim=1) / real.sum(dim=1).clamp(min=1)  # (B, d)
        text: Tensor = self.text(mean)
        if self.absent is not None:
            text = torch.where(mask.any(dim=1)[:, None], text, self.absent)
        mixed = acoustic * text + facial * text
        return mixed + acoustic + facial + text if self.residual else mixed
