"""HDF5 files with a seal: before the file proper stands the SHA-256 of all its bytes, and none is read without it.

HDF5 checks some of what it stores; of the rest, one turned bit is taken for what was written, or makes the library
search for ever. So whether a file is whole is settled before HDF5 sees it: that takes a second for about a gigabyte.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path

import h5py

from mse.atomic import replacing
from mse.errors import UserError

SEAL_BYTES = 512  # the smallest block that HDF5 leaves free for others at a file's beginning
ANEW = "delete it and run again to make it anew"


@contextmanager
def writing(path: Path) -> Iterator[h5py.File]:
    """Give a new HDF5 file; it is sealed and gets its name when the block ends without an error."""
    with replacing(path) as partial:
        with h5py.File(partial, "w", libver="latest", userblock_size=SEAL_BYTES) as file:
            yield file
        seal(partial)


def seal(path: Path) -> None:
    """Vouch for the bytes that a file now has after its first block."""
    with path.open("r+b") as file:
        block = _block(_digest(file))
        file.seek(0)
        file.write(block)


def open_sealed(path: Path) -> tuple[h5py.File, str]:
    """Open a file that `writing` made, for reading.

    Returns:
        the file, and its digest, by which it is known from any other.

    Raises:
        UserError: the file is missing, foreign, truncated or changed.
    """
    try:
        if not os.path.isfile(path):  # an index may name a device, which never ends
            raise OSError("no regular file")
        with path.open("rb") as file:
            digest = _digest(file)
            file.seek(0)
            found = file.read(SEAL_BYTES)
        if found != _block(digest):
            sealed = found.startswith(_block("")[:8])
            what = "damaged: not the bytes that were written" if sealed else "not a file of this version of mse"
            raise UserError(f"{path}: {what}; {ANEW}")
        return h5py.File(path, "r"), digest
    except OSError as e:
        raise UserError(f"{path}: missing or no HDF5 file ({e}); {ANEW}") from e


def _digest(file: BufferedIOBase) -> str:
    file.seek(SEAL_BYTES)
    return hashlib.file_digest(file, "sha256").hexdigest()


def _block(digest: str) -> bytes:
    return f"mse sealed SHA-256 {digest}\n".encode().ljust(SEAL_BYTES, b"\0")
