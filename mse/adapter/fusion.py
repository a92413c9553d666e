"""Multi-Scale-Fusion: from the mixed vector to pseudo tokens (paper, "MSF")."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class MultiScaleFusion(nn.Module):
    """Bottlenecks beside each other, a learned weighted sum, and a rank-one expansion to n tokens.

    Args:
        text_width: the LLM's hidden size (d).
        width: width of the mixed vector.
        tokens: pseudo tokens (n).
        scales: a bottleneck for each, text_width / scale wide (paper: 8, 32, 16); without any the vector is
            expanded as it is.
    """

    def __init__(self, text_width: int, width: int, tokens: int, scales: Sequence[int]) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            nn.Sequential(nn.Linear(width, text_width // s), nn.GELU(), nn.Linear(text_width // s, width))
            for s in scales
        )
        self.integrate = nn.Linear(len(scales), 1) if scales else None  # the paper's 1x3 convolution with one channel
        self.project = nn.Linear(width, text_width)
        self.expand = nn.Linear(1, tokens)

    def forward(self, mixed: Tensor) -> Tensor:
        """Fuse.

        Args:
            mixed: shape (B, width).

        Returns:
            shape (B, n, d).
        """
        if self.integrate is not None:
            scaled = torch.stack([scale(mixed) for scale in self.scales], dim=2)  # (B, width, scales)
            mixed = self.integrate(scaled)[:, :, 0]
        fused = self.project(mixed)  # (B, d)
        tokens: Tensor = self.expand(fused[:, :, None])  # (B, d, n)
        return tokens.transpose(1, 2)
