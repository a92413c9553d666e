"""Pickles are opened without running them: arrays and containers are read, all else is refused."""

import copyreg
import gc
import os
import pickle
import weakref
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mse.errors import UserError
from mse.unpickle import load
from tests.made import pickled


@pytest.mark.parametrize("protocol", range(6))
def test_containers_and_arrays_are_read(tmp_path: Path, protocol: int) -> None:
    arrays = [
        np.arange(24.0).reshape(2, 3, 4).transpose(1, 0, 2),
        np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        np.arange(3, dtype=">i2"),
        np.zeros((0, 5)),
        np.array(7.5),
        np.array(["a", "坏了"]),
        np.array([b"bytes"]),
        np.array(["text", None, 3], object),
    ]
    plain = OrderedDict(a=[1, 2.5, None, True, "ü"], b=(b"\xff\x00", b""), c={"x": {"y": 1}})
    scalars = [np.float32(2.4), np.int64(-3), np.bool_(True), np.str_("坏"), np.str_("")]
    got = load(pickled(tmp_path / "x.pkl", {"arrays": arrays, "plain": plain, "scalars": scalars}, protocol))
    for array, wanted in zip(got["arrays"], arrays, strict=True):
        assert array.dtype == wanted.dtype.newbyteorder(array.dtype.byteorder)
        np.testing.assert_array_equal(np.asarray(array), wanted)
    assert got["plain"] == plain
    assert got["scalars"] == scalars and [type(s) for s in got["scalars"]] == [type(s) for s in scalars]


def test_files_of_python_2_are_read(tmp_path: Path) -> None:
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02\x85cnumpy\ndtype\n"
    array += b"U\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x10"
    values = np.array([0.1, -2.0])
    path = pickled(
        tmp_path / "x.pkl", b"\x80\x02}(U\x05audio" + array + values.tobytes() + b"tbU\x02idX\x02\x00\x00\x00\xc3\xbcu."
    )
    got = load(path)
    np.testing.assert_array_equal(got["audio"], values)
    assert got["id"] == "ü"


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call[0], self.call[1:]


def named(module: str, name: str, argument: str) -> bytes:
    """A pickle that calls module.name, which may have dots in it."""
    texts = [b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name)]
    return (
        b"\x80\x04"
        + texts[0]
        + texts[1]
        + b"\x93X"
        + len(argument).to_bytes(4, "little")
        + argument.encode()
        + b"\x85R."
    )


GOOD = np.ones((2, 3))
ATTACKS: dict[str, tuple[Callable[[str], Any], str]] = {
    "system": (lambda m: Calls(os.system, f"touch {m}"), "posix.system"),
    "eval": (lambda m: Calls(eval, f"open({m!r}, 'w').close()"), "builtins.eval"),
    "nested": (
        lambda m: {"train": {"audio": GOOD, "id": ["a", GOOD, [Calls(os.system, f"touch {m}")]]}, "test": GOOD},
        "posix.system",
    ),
    "in an array": (lambda m: np.array(["a", Calls(os.system, f"touch {m}")], object), "posix.system"),
    "dotted name": (lambda m: named("numpy", "_pytesttester.os.system", f"touch {m}"), "numpy._pytesttester.os.system"),
    "instance": (lambda m: f"(S'touch {m}'\nios\nsystem\n.".encode(), "os.system"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_pickle_that_runs_code_is_refused(tmp_path: Path, attack: str) -> None:
    make, name = ATTACKS[attack]
    marker = tmp_path / "ran"
    path = pickled(tmp_path / "x.pkl", make(str(marker)))
    pickle.loads(path.read_bytes())
    assert marker.exists()  # it does run where it is not refused
    marker.unlink()
    with pytest.raises(UserError, match=rf"x\.pkl: asks for {name}; .* can run code when it is opened.*save it again"):
        load(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("numpy", "load"),
        ("numpy", "memmap"),
        ("numpy", "fromfile"),
        ("numpy", "ndarray.tofile"),
        ("numpy.core.multiarray", "_reconstruct.__self__"),
        ("_codecs", "encode.__self__.lookup"),
        ("builtins", "getattr"),
        ("collections", "OrderedDict.fromkeys"),
        ("torch._utils", "_rebuild_tensor_v2"),
        ("pandas.core.frame", "DataFrame"),
    ],
)
def test_every_other_name_is_refused(tmp_path: Path, module: str, name: str) -> None:
    with pytest.raises(UserError, match="plain containers and NumPy arrays") as error:
        load(pickled(tmp_path / "x.pkl", named(module, name, "x")))
    assert f"asks for {module}.{name};" in str(error.value)
    assert (".numpy()" in str(error.value)) == (module == "torch._utils")


def test_extension_codes_and_outside_references_are_refused(tmp_path: Path) -> None:
    marker, code = tmp_path / "ran", 0xF1
    call = b"\x80\x02\x82" + bytes([code]) + b"X" + len(f"touch {marker}").to_bytes(4, "little")
    call += f"touch {marker}".encode() + b"\x85R."
    with pytest.raises(UserError, match="unregistered extension code"):
        load(pickled(tmp_path / "x.pkl", call))
    copyreg.add_extension("os", "system", code)
    try:
        pickle.loads(call)  # and from now on it is remembered
        marker.unlink()
        with pytest.raises(UserError, match=r"asks for os\.system"):
            load(tmp_path / "x.pkl")
    finally:
        copyreg.remove_extension("os", "system", code)
    assert not marker.exists()
    with pytest.raises(UserError, match="a reference to something outside"):
        load(pickled(tmp_path / "x.pkl", b"Pwhere\n."))


class Liar:
    """Pickles as an array whose state says something else than what it holds."""

    def __init__(self, *state: Any, again: Any = None) -> None:
        self.state = state

    def __reduce__(self) -> Any:
        made = np.arange(1).__reduce__()
        return made[0], made[1], self.state


class LyingType:
    """Pickles as an array's type with a state of its own."""

    def __init__(self, text: str, *state: Any) -> None:
        self.text, self.state = text, state

    def __reduce__(self) -> Any:
        return np.dtype, (self.text, False, True), self.state


BYTE = np.dtype("u1")
HIDDEN_POINTER = LyingType("V8", 3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Liar(1, (1,), HIDDEN_POINTER, False, b"A" * 8), r"an array of the type 'V8'; only arrays of numbers"),
        (Liar(1, (4,), LyingType("U1", 3, "<", None, None, None, 4096, 4, 8), False, b"A" * 4096 * 4), "does not fill"),
        (
            Liar(1, (1 << 40,), BYTE, False, b"abc"),
            r"does not fill an array of uint8 with the shape \(1099511627776,\)",
        ),
        (Liar(1, (1 << 32, 1 << 32), BYTE, False, b""), "does not fill"),
        (Liar(1, (-1, -3), BYTE, False, b"abc"), "is no shape"),
        (Liar(1, (2,), np.dtype("O"), False, b"A" * 16), "does not fill"),
        (Liar(1, (2,), np.dtype("f8"), False, [1, 2]), "does not fill"),
        (Liar(1, (2,), "f8", False, b"A" * 16), "'str' object has no attribute 'dtype'"),
        (np.zeros(2, [("a", "f4")]), "an array of the type 'V4'"),
        (Calls(np.ndarray, (4,)), "'str' object is not callable"),
    ],
)
def test_lies_about_memory_are_refused(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(pickled(tmp_path / "x.pkl", content))


def test_an_array_is_filled_once(tmp_path: Path) -> None:
    data = pickle.dumps(np.arange(3, dtype=np.uint8), 2)
    state = data[data.index(b"(K\x01") : -1]  # what fills it, ending in b"b"
    with pytest.raises(UserError, match="an array is filled twice"):
        load(pickled(tmp_path / "x.pkl", data[:-1] + state + b"."))


def test_what_was_read_is_let_go_at_once(tmp_path: Path) -> None:
    content = load(pickled(tmp_path / "x.pkl", {"audio": np.ones((2, 3))}, 2))
    array = weakref.ref(content["audio"])
    gc.disable()  # so that no cycle may hold it
    try:
        del content
        assert array() is None
    finally:
        gc.enable()


def test_what_is_no_whole_pickle_is_named(tmp_path: Path) -> None:
    whole = pickle.dumps({"audio": np.ones((50, 40))})
    for content in (whole[:-1000], whole[:20], b"", b"PK\x03\x04 a zip file", b"version https://git-lfs.github.com"):
        with pytest.raises(UserError, match=r"x\.pkl: no pickle, or a damaged one .*; compare its size and checksum"):
            load(pickled(tmp_path / "x.pkl", content))
    with pytest.raises(UserError, match=r"gone\.pkl: can't be read \(No such file"):
        load(tmp_path / "gone.pkl")
