"""One-time conversion of a GGUF checkpoint to a plain safetensors folder."""

from pathlib import Path


def convert(gguf: Path, out: Path) -> None:
    """Unpack a quantised Llama checkpoint and its tokenizer.

    transformers needs half a minute to read GGUF and refuses to save what it read, so the weights are
    copied into a plain model once. float16 holds 4-bit values to 0.05 % in half of float32's space.

    Args:
        gguf: the checkpoint.
        out: an existing folder; gets config.json, model.safetensors and the tokenizer's files.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder, name = str(gguf.parent), gguf.name
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    quantised = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
    config = type(quantised.config).from_dict(
        {key: value for key, value in quantised.config.to_dict().items() if key != "quantization_config"}
    )
    plain = type(quantised)(config)
    plain.load_state_dict(quantised.state_dict())
    plain.half()
    plain.save_pretrained(out)
    tokenizer.save_pretrained(out)
