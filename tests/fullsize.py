"""A paper's LLM in its full size, with random weights: written as published, converted, trained for one step, removed.

    python -m tests.fullsize chatglm3|qwen|llama2 [--folder DIR] [--batch 8] [--set gradient_checkpointing=true ...]
        [--adapter placement=before_text ...]

Not a test that pytest runs: it takes minutes, up to 26 GB of disk and up to 20 GB of memory. Prints for each stage the
seconds of wall time and the peak resident memory of its process.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import yaml

from tests.conftest import ROOT
from tests.made import make_dataset

TEXT = "It was not what we had hoped for, and yet nobody who saw it that evening would have missed it for anything. "


def write(name: str, folder: Path) -> None:
    """Random weights in the published layout, dtype and number of files."""
    from tests.originals import write_chatglm, write_qwen

    if name == "chatglm3":
        sizes = {"layers": 28, "hidden": 4096, "heads": 32, "groups": 2, "head_width": 128, "ffn": 13696}
        write_chatglm(folder, **sizes, vocabulary=65024, shards=7, dtype=torch.float16)
    elif name == "qwen":
        sizes = {"layers": 24, "hidden": 2048, "heads": 16, "intermediate": 11008, "sequence": 8192}
        write_qwen(folder, **sizes, vocabulary=151936, shards=2, dtype=torch.bfloat16)
    else:
        write_llama(folder)


def write_llama(folder: Path) -> None:
    """LLaMA2-7B is native: random weights, with the tokenizer of ChatGLM's stand-in, which is of the same kind."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from mse.backbones.chatglm import ChatGLM
    from tests.originals import write_chatglm

    write_chatglm(folder / "tokenizer")
    original = json.loads((folder / "tokenizer/config.json").read_text())
    ChatGLM(original, "config.json").tokenizer(folder / "tokenizer").save_pretrained(folder)
    torch.set_default_dtype(torch.float16)
    LlamaForCausalLM(LlamaConfig(max_position_embeddings=4096)).save_pretrained(folder, max_shard_size="10GB")


def measured(stage: str, command: list[str]) -> None:
    """Run a command; print what it says, its wall time and its peak memory.

    Resident memory counts pages of mapped files, which the system takes back when it needs them; the other number does
    not.
    """
    start = time.monotonic()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, cwd=ROOT)
        peaks = {"VmHWM": 0.0, "RssAnon": 0.0}
        while process.poll() is None:
            text = Path(f"/proc/{process.pid}/status").read_text()
            now = {
                key: float(value.split()[0]) * 1024 / 1e9
                for key, value in re.findall(r"(\w+):\s+(.+)", text)
                if key in peaks
            }
            peaks = {key: max(peak, now.get(key, 0)) for key, peak in peaks.items()}
            time.sleep(0.1)
        said.seek(0)
        print("".join(f"    {line}" for line in said))
    seconds = time.monotonic() - start
    print(f"{stage}: {seconds:.0f} s, {peaks['VmHWM']:.2f} GB at its peak, {peaks['RssAnon']:.2f} GB without files")
    if process.returncode:
        sys.exit(f"{stage} failed")


def said(pairs: list[str]) -> dict[str, object]:
    """KEY=VALUE pairs as settings."""
    return dict(yaml.safe_load(pair.replace("=", ": ", 1)).popitem() for pair in pairs)


def main() -> None:
    """Write, convert, train; remove everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=["chatglm3", "qwen", "llama2"])
    parser.add_argument("--folder", type=Path, default=Path("/tmp/mse-fullsize"))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--set", nargs="*", default=[], help="settings of train, KEY=VALUE")
    parser.add_argument("--adapter", nargs="*", default=[], help="settings of the adapter, KEY=VALUE")
    parser.add_argument("--write", action="store_true", help="only write the checkpoint")
    given = parser.parse_args()
    source, out = given.folder / "published", given.folder / "native"
    if given.write:
        return write(given.name, source)
    mse = [sys.executable, "-c", "from mse.cli import main; main()"]
    try:
        measured(
            "write", [sys.executable, "-m", "tests.fullsize", given.name, "--folder", str(given.folder), "--write"]
        )
        largest = max(path.stat().st_size for path in source.iterdir() if path.suffix in (".bin", ".safetensors"))
        print(f"    the largest file has {largest / 1e9:.2f} GB")
        measured("convert", [*mse, "backbone", "convert", str(source), "--out", str(out)])
        dataset = make_dataset(given.folder, clips=2 * given.batch, text=TEXT)  # half of them train: one step
        settings = {
            "batch_size": given.batch,
            "pretrain_epochs": 0,
            "schedule_epochs": 1,
            "learning_rate": 5e-5,
        } | said(given.set)
        backbone = str(ROOT / f"config/backbones/{given.name}.yaml")
        arguments = [str(dataset), "--llm", str(out), "--backbone", backbone, "--seed", "1111"]
        arguments += ["--settings", json.dumps(settings), "--adapter", json.dumps(said(given.adapter))]
        files = ["--out", str(given.folder / "adapter"), "--history", str(given.folder / "history.csv")]
        measured("train one step, then validate", [*mse, "train", *arguments, *files])
    finally:
        shutil.rmtree(given.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
