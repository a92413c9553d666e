"""Files that are either whole or not there."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write to a temporary name beside ``path``; rename it into place only if the block succeeds.

    Args:
        path: the file to make; its folder is made when missing.

    Yields:
        The temporary path to write to. It keeps the suffix, since some writers look at it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def replacing_folder(target: Path) -> Iterator[Path]:
    """Give a folder beside `target`; it takes target's place when the block ends without an error."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".partial-{target.name}-") as temporary:
        partial = Path(temporary) / target.name
        partial.mkdir()
        yield partial
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
