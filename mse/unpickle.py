"""Open pickles that hold plain containers and NumPy arrays, and nothing else.

A pickle is a program: it may name any function and call it. Here it can name what an array is made of, and even
that is not NumPy's own, because `numpy.dtype` believes what a file says about memory, and so reads and writes where
the file likes. Types and arrays are put together here, from parts that were checked.
"""

import copyreg
import math
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mse.errors import UserError

NDARRAY = "numpy.ndarray"  # what a file gets in place of the class: a text, which can't be called
ELEMENT = re.compile(r"[<>|=]?([biuf][1248]|O[48]?|[SU]\d*)")  # truth values, numbers, objects, texts
HINTS = {
    "torch": "; turn tensors into arrays with .numpy()",
    "pandas": "; turn tables into dicts with .to_dict('list')",
}


def load(path: Path) -> Any:
    """Read a pickle of any protocol, those of Python 2 too.

    Args:
        path: the file.

    Returns:
        Dicts, lists, tuples, sets, texts, bytes, numbers, and NumPy arrays whose elements are numbers, texts or these.

    Raises:
        UserError: the file is missing, damaged or no pickle, or names anything that could run code.
    """
    copyreg.clear_extension_cache()  # what it holds would be handed out without asking find_class
    try:
        with path.open("rb") as file:
            return _Unpickler(file, encoding="latin1").load()  # NumPy's files from Python 2 need this encoding
    except _Refused as e:
        raise UserError(f"{path}: {e}") from None
    except OSError as e:
        raise UserError(f"{path}: can't be read ({e.strerror}); check that it is there and may be opened") from e
    except MemoryError as e:
        raise UserError(f"{path}: needs more memory than there is, or is damaged") from e
    except Exception as e:  # what is wrong in a file ends in errors of any kind
        raise UserError(
            f"{path}: no pickle, or a damaged one ({type(e).__name__}: {e}); compare its size and checksum with what "
            "its maker states, and fetch it again"
        ) from e


class _Refused(Exception):
    """What a file asks for and does not get; the message still lacks the file's name."""


class _DType:
    """The type of an array's elements, from a text such as f4 and the order of bytes."""

    def __init__(self, text: str) -> None:
        self.dtype = np.dtype(text)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Take the order of bytes and leave the rest, in which NumPy's own would believe sizes and flags."""
        self.dtype = self.dtype.newbyteorder(state[1])

    def checked(self, raw: Any, shape: tuple[int, ...]) -> Any:
        """Memory, or for objects a list, that holds exactly as many elements as the shape says."""
        if any(type(length) is not int or length < 0 for length in shape):
            raise ValueError(f"{shape} is no shape")
        raw = raw.encode("latin1") if isinstance(raw, str) else raw  # Python 2 kept bytes in its texts
        kinds, size = ((list,), 1) if self.dtype.hasobject else ((bytes, bytearray), self.dtype.itemsize)
        if type(raw) not in kinds or len(raw) != math.prod(shape) * size:
            raise ValueError(f"what is stored does not fill an array of {self.dtype} with the shape {shape}")
        return raw


class _Array(np.ndarray[Any, Any]):
    """An array that is filled once, with what fits its shape and type."""

    _filled = False

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, raw = state
        if self._filled:
            raise ValueError("an array is filled twice")
        state = (1, shape, kind.dtype, bool(fortran), kind.checked(raw, shape))
        super().__setstate__(state)  # type: ignore[arg-type]  # NumPy's stubs ask for numpy.bool, NumPy for bool
        self._filled = True


class _Makers:
    """What a file can call.

    A file may set attributes of what it is given; nothing reads those of a method. Their object knows nothing, so
    that what was read is let go of at once.
    """

    def dtype(self, text: str, align: bool = False, copy: bool = False) -> _DType:
        if not ELEMENT.fullmatch(text):
            raise _Refused(
                f"holds an array of the type {text!r}; only arrays of numbers, texts and objects are read. "
                "Save it again with one of these"
            )
        return _DType(text)

    def encode(self, text: str, encoding: str) -> bytes:
        if encoding not in ("latin1", "latin-1"):
            raise ValueError(f"bytes are written in {encoding}, expected latin1")
        return text.encode("latin1")

    def no_bytes(self) -> bytes:
        return b""

    def reconstruct(self, kind: Any, shape: Any, dtype: Any) -> npt.NDArray[Any]:
        if kind != NDARRAY:
            raise ValueError(f"an array of the class {kind}")
        return np.ndarray.__new__(_Array, (0,), np.int8)  # what the file says follows in __setstate__

    def scalar(self, kind: _DType, raw: Any = b"") -> Any:
        return self.frombuffer(kind.checked(raw, ()), kind, (1,))[0] if kind.dtype.itemsize else kind.dtype.type()

    def frombuffer(
        self, raw: Any, kind: _DType, shape: tuple[int, ...], order: Any = "C", axes: Any = None
    ) -> npt.NDArray[Any]:
        array = np.frombuffer(kind.checked(raw, shape), kind.dtype)
        if order == "K" and axes is not None:  # since NumPy 2.3: stored along these axes
            return array.reshape(shape).transpose(axes)
        return array.reshape(shape, order=order)


MAKE = _Makers()
KNOWN: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): NDARRAY,
    ("numpy", "dtype"): MAKE.dtype,
    ("numpy.core.multiarray", "_reconstruct"): MAKE.reconstruct,  # numpy.core before NumPy 2, numpy._core since
    ("numpy._core.multiarray", "_reconstruct"): MAKE.reconstruct,
    ("numpy.core.multiarray", "scalar"): MAKE.scalar,
    ("numpy._core.multiarray", "scalar"): MAKE.scalar,
    ("numpy.core.numeric", "_frombuffer"): MAKE.frombuffer,
    ("numpy._core.numeric", "_frombuffer"): MAKE.frombuffer,
    ("collections", "OrderedDict"): dict,  # dicts keep their order
    ("_codecs", "encode"): MAKE.encode,  # bytes in protocols before 3
    ("__builtin__", "bytes"): MAKE.no_bytes,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str, /) -> Any:
        """What stands for a name of the file; nothing is ever imported."""
        if (module, name) in KNOWN:
            return KNOWN[module, name]
        raise _refused(f"{module}.{name}", HINTS.get(module.split(".")[0], ""))

    def persistent_load(self, pid: Any, /) -> Any:
        """Refuse a reference to what lies outside the file."""
        raise _refused("a reference to something outside of it")


def _refused(what: str, hint: str = "") -> _Refused:
    return _Refused(
        f"asks for {what}; a file that asks for more than plain containers and NumPy arrays can run code when it is "
        "opened, so it was not opened further. Ask its maker for one that holds just these, or, if you trust it, save "
        f"it again so{hint}"
    )
