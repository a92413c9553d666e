"""A published checkpoint: its config.json and its weights in one file or many, read a file at a time."""

import hashlib
import json
import os
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from mse.errors import UserError

SINGLES = ("model.safetensors", "pytorch_model.bin")  # the first that is there counts, as a whole or in shards
SHARD = re.compile(r"(?P<stem>model|pytorch_model)-(?P<number>\d+)-of-(?P<count>\d+)\.(?P<kind>safetensors|bin)")
MOST_SHARDS = 10_000
POINTER = b"version https://git-lfs"  # how a file begins that Git LFS has not fetched


class Checkpoint:
    """The files of a checkpoint; nothing in it is ever run.

    Args:
        folder: holds config.json and the weights.

    Attributes:
        config: content of config.json.
        files: the files of weights, in order.

    Raises:
        UserError: config.json or a file of weights is missing, or is no such file.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise UserError(
                f"{folder}: no such folder; a checkpoint on a model hub is fetched first (`mse fetch NAME`)"
            )
        self.folder = folder
        self.config = read_json(folder / "config.json")
        self._index: Mapping[str, str] = {}
        self.files = self._find()

    def _find(self) -> list[Path]:
        for single in SINGLES:
            index = self.folder / f"{single}.index.json"
            if index.is_file() and not (self.folder / single).is_file():
                self._index = self._read_index(index)
                return self._all_there(sorted(set(self._index.values())), f"{index.name} names")
            if (self.folder / single).is_file():
                return [self.folder / single]
            shards = [found for path in sorted(self.folder.iterdir()) if (found := SHARD.fullmatch(path.name))]
            shards = [shard for shard in shards if single == f"{shard['stem']}.{shard['kind']}"]
            if shards:
                first = shards[0]
                width, count = len(first["count"]), int(first["count"])
                if count > MOST_SHARDS:
                    raise UserError(
                        f"{self.folder / first.group()}: one of {count} files? expected at most {MOST_SHARDS}"
                    )
                names = [
                    f"{first['stem']}-{number:0{width}}-of-{count:0{width}}.{first['kind']}"
                    for number in range(1, count + 1)
                ]
                return self._all_there(names, f"{first.group()} is one of")
        raise UserError(
            f"{self.folder}: no weights; expected {SINGLES[0]}, {SINGLES[1]}, or shards of one of them with their index"
        )

    def _read_index(self, path: Path) -> dict[str, str]:
        names = read_json(path).get("weight_map")
        if not isinstance(names, dict) or not all(isinstance(n, str) and Path(n).name == n for n in names.values()):
            raise UserError(f"{path}: expected weight_map: the name of a file beside it for each tensor")
        return names

    def _all_there(self, names: list[str], who: str) -> list[Path]:
        missing = [name for name in names if not os.path.isfile(self.folder / name)]  # bears names that are too long
        if missing or not names:
            raise UserError(
                f"{self.folder}: {who} {len(names)} files of weights, and {len(missing)} of them "
                f"are not there: {', '.join(missing)}; copy or fetch them again"
            )
        return [self.folder / name for name in names]

    def read(self, path: Path) -> dict[str, Any]:
        """The tensors of one of `files` by name, mapped from disk and not yet read.

        Args:
            path: one of `files`.

        Raises:
            UserError: the file is damaged or cut off, or lacks a tensor that the index promises.
        """
        tensors = read_weights(path)
        absent = [name for name, file in self._index.items() if file == path.name and name not in tensors]
        if absent:
            raise UserError(f"{path}: the index promises {absent[0]!r}, which is not in it; fetch the file again")
        return tensors

    def digests(self) -> dict[str, str]:
        """SHA-256 of each file of weights and of config.json, by name."""
        digests = {}
        for path in [self.folder / "config.json", *self.files]:
            with path.open("rb") as file:
                digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
        return digests


def read_weights(path: Path) -> dict[str, Any]:
    """The tensors of one file of weights, by name; a pickle may hold tensors alone.

    Raises:
        UserError: damaged, cut off, or something else than weights.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    # What is no pickle of tensors ends in errors of many kinds, of which the library turns only some into its own.
    pickled = (
        struct.error,
        EOFError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        AssertionError,
        ImportError,
        MemoryError,
    )
    try:
        with path.open("rb") as file:
            start = file.read(len(POINTER))
    except OSError as e:
        raise UserError(f"{path}: can't be read: {e}") from e
    if start == POINTER:
        raise UserError(f"{path}: Git LFS's pointer to the weights, not the weights; run `git lfs pull` there")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        try:
            tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError as e:
            if "mmap can only be used" not in str(e):
                raise
            tensors = torch.load(path, map_location="cpu", weights_only=True)  # saved before torch 1.6
    except (SafetensorError, RuntimeError, OSError, RecursionError, *pickled) as e:
        size, said = path.stat().st_size, (str(e) or type(e).__name__).splitlines()[0]
        raise UserError(f"{path}: damaged or cut off ({size:,} bytes): {said}; fetch it again") from e
    except UnpicklingError as e:  # the library's own advice is to run what is in there
        raise UserError(
            f"{path}: holds something else than tensors, which is never loaded; fetch it again from its publisher"
        ) from e
    named = isinstance(tensors, dict) and all(isinstance(name, str) for name in tensors)
    if not named or not all(isinstance(value, torch.Tensor) for value in tensors.values()):
        raise UserError(f"{path}: no weights; expected tensors by name")
    size = path.stat().st_size
    for name, tensor in tensors.items():
        plain = tensor.layout == torch.strided and not tensor.is_quantized and tensor.device.type == "cpu"
        if not plain or tensor.numel() * tensor.element_size() > size:
            raise UserError(f"{path}: {name!r} is no tensor that fills its shape; fetch the file again")
    return tensors


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        UserError: missing, or no JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as e:
        raise UserError(f"{path}: no such file; a checkpoint needs it") from e
    except (ValueError, RecursionError, OSError) as e:
        raise UserError(f"{path}: not valid JSON: {e}") from e
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value
