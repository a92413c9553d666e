"""Files that are either whole or not there."""

import glob
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from mse.errors import UserError

MADE = ".made-by-mse"  # in a folder that may be made anew


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write to a temporary name beside ``path``; rename it into place only if the block succeeds.

    Args:
        path: the file to make; its folder is made when missing.

    Yields:
        The temporary path to write to. It keeps the suffix, since some writers look at it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    mine = f".partial-{socket.gethostname()}-"
    _remove_abandoned(path, mine)
    partial = path.with_name(f"{mine}{os.getpid()}-{path.name}")
    try:
        yield partial
        with partial.open("rb") as written:  # or a power cut could leave the name without the bytes
            os.fsync(written.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _remove_abandoned(path: Path, mine: str) -> None:
    """Remove what processes of this machine that were killed left of a file; of other machines' nothing is known."""
    for left in path.parent.glob(f"{glob.escape(mine)}*-{glob.escape(path.name)}"):
        pid = left.name.removeprefix(mine).partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            left.unlink(missing_ok=True)


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
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".partial-{target.name}-") as temporary:
        partial = Path(temporary) / target.name
        partial.mkdir()
        yield partial
        (partial / MADE).touch()
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
