"""Files and folders that are either whole or not there."""

import glob
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from mse.errors import UserError

MADE = ".made-by-mse"  # in a folder that may be made anew: the SHA-256 of each file in it


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write to a temporary name beside ``path``; rename it into place only if the block succeeds.

    Args:
        path: the file to make; its folder is made when missing.

    Yields:
        The temporary path to write to. It keeps the suffix, since some writers look at it.
    """
    partial = _partial(path)
    try:
        yield partial
        _flush(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def require_place(path: Path) -> None:
    """Make sure that a file can be made, before hours are spent on what it will hold; its folder is made.

    Raises:
        UserError: it can't.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = _partial(path)
        partial.touch()
        partial.unlink()
    except OSError as e:
        raise UserError(f"{path}: can't be written ({e.strerror}); name another place") from e
    if path.is_dir():
        raise UserError(f"{path}: is a folder; expected the name of a file")


@contextmanager
def replacing_folder(target: Path) -> Iterator[Path]:
    """Give a folder beside `target`; it takes target's place when the block ends without an error.

    Args:
        target: not there, empty, or made by this function before; nothing else is ever replaced.

    Yields:
        The folder to fill.

    Raises:
        UserError: something else lies at target.
    """
    if target.exists() and not (target.is_dir() and ((target / MADE).is_file() or not any(target.iterdir()))):
        raise UserError(f"{target}: holds other things, which would be lost; name another folder, or empty this one")
    partial = _partial(target)
    old = partial.with_name(f"{partial.name}-{target.name}")  # also what `remove_abandoned` looks for
    partial.mkdir()
    try:
        yield partial
        files = sorted(path for path in partial.rglob("*") if path.is_file())
        digests = {str(path.relative_to(partial)): _digest(path) for path in files}
        (partial / MADE).write_text(json.dumps(digests, indent=1) + "\n", encoding="utf-8")
        for path in [*files, partial / MADE, partial]:
            _flush(path)
        if target.exists():  # moved away whole: killed here, there is the old folder, none, or the new one
            target.rename(old)
        partial.rename(target)
    finally:
        for left in (partial, old):
            shutil.rmtree(left, ignore_errors=True)


def digests_of_folder(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file that `replacing_folder` left in a folder; empty for a folder of another maker."""
    try:
        said = json.loads((folder / MADE).read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(name): str(digest) for name, digest in said.items()} if isinstance(said, dict) else {}


def remove_abandoned(path: Path) -> None:
    """Remove what processes of this machine that were killed left of a file or folder; others' may be at work."""
    for left in path.parent.glob(f"{glob.escape(_mine())}*-{glob.escape(path.name)}"):
        pid = left.name.removeprefix(_mine()).partition("-")[0]
        if not pid.isdigit() or psutil.pid_exists(int(pid)):
            continue
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _mine() -> str:
    return f".partial-{socket.gethostname()}-"


def _partial(path: Path) -> Path:
    """A name beside `path` that no other process has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path)
    return path.with_name(f"{_mine()}{os.getpid()}-{path.name}")


def _flush(path: Path) -> None:
    """Have the bytes on the disk: a power cut could otherwise leave the name without them."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
