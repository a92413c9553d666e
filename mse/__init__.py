"""Multimodal sentiment and emotion from talking-face videos: features, the MSE-Adapter, metrics."""

__version__ = "0.1.0"
