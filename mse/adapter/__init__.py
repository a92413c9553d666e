"""The MSE-Adapter (Yang, Dong, Qiang; AAAI 2025; arXiv 2502.12478)."""

from mse.adapter.config import AdapterConfig
from mse.adapter.model import MSEAdapter

__all__ = ["AdapterConfig", "MSEAdapter"]
