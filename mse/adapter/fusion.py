"""Multi-Scale-Fusion: from the mixed vector to pseudo tokens (paper, "MSF")."""

import torch
from torch import Tensor, nn

SCALES = (8, 32, 16)  # the bottlenecks are text_width / SCALE wide


class MultiScaleFusion(nn.Module):
    """Three bottlenecks beside each other, a learned weighted sum, and a rank-one expansion to n tokens.

    Args:
        text_width: the LLM's hidden size (d).
        width: width of the mixed vector.
        tokens: pseudo tokens (n).
    """

    def __init__(self, text_width: int, width: int, tokens: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            nn.Sequential(nn.Linear(width, text_width // s), nn.GELU(), nn.Linear(text_width // s, width))
            for s in SCALES
        )
        self.integrate = nn.Linear(len(SCALES), 1)  # the paper's 1x3 convolution with one channel
        self.project = nn.Linear(width, text_width)
        self.expand = nn.Linear(1, tokens)

    def forward(self, mixed: Tensor) -> Tensor:
        """Fuse.

        Args:
            mixed: shape (B, width).

        Returns:
            shape (B, n, d).
        """
        scaled = torch.stack([scale(mixed) for scale in self.scales], dim=2)  # (B, width, 3)
        fused = self.project(self.integrate(scaled)[:, :, 0])  # (B, d)
        tokens: Tensor = self.expand(fused[:, :, None])  # (B, d, n)
        return tokens.transpose(1, 2)
