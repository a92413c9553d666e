"""Frozen language models: loading, and conversion to native safetensors folders."""
