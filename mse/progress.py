"""What a command says while it works: a bar on a terminal, now and then a plain line in a log.

The terminal is for our own lines. What libraries write to standard error, from Python or from native code, goes to a
log file in a command's process and in those that it starts.
"""

import faulthandler
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any, TextIO, TypeVar

from tqdm.auto import tqdm

from mse.errors import UserError

T = TypeVar("T")
LOG_EVERY_S = 10.0
STDERR = 2  # the file descriptor that native code writes to
bars = True  # on a terminal; not where several processes share one
_terminal: TextIO | None = None  # where our own lines go, once it is apart from standard error


def terminal() -> TextIO:
    """Where our own lines go."""
    return _terminal or sys.stderr


def track(items: Iterable[T], what: str, total: int, unit: str = "clips") -> Iterator[T]:
    """Pass items through and show how far they are.

    Args:
        items: what to loop over.
        what: a few words, such as "acoustic 0003".
        total: how many items there will be.
        unit: what the items are.
    """
    if bars and terminal().isatty():
        yield from tqdm(items, desc=what, total=total, unit=f" {unit}", leave=True, file=terminal())
        return
    said = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        if time.monotonic() - said > LOG_EVERY_S:
            said = time.monotonic()
            say(f"{what}: {done} of {total} {unit}")


def say(line: str) -> None:
    """One plain line on the terminal, at once."""
    print(line, file=terminal(), flush=True)


class DownloadBar(tqdm):  # type: ignore[type-arg]
    """A bar for the library that fetches from a hub."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.pop("name", None)
        super().__init__(*args, **kwargs | {"file": terminal(), "disable": not terminal().isatty()})


def claim_terminal() -> None:
    """Keep the terminal for our own lines; a command then sends what libraries say elsewhere."""
    global _terminal
    _terminal = sys.stderr = _opened(os.dup(STDERR))
    faulthandler.enable(_terminal)  # a native crash would else end a command without a word


@contextmanager
def libraries_apart(log: Path | None) -> Iterator[None]:
    """Send what libraries write to standard error to a log, where the terminal was claimed.

    Native code may speak until the process ends, so its way is not turned back; Python's is, for a traceback.

    Args:
        log: file to write; None: it is dropped.

    Raises:
        UserError: the log can't be written.
    """
    if _terminal is None:
        yield
        return
    try:
        handle = os.open(log or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)
    except OSError as e:
        raise UserError(f"{log}: can't be written: {e}") from e
    os.dup2(handle, STDERR)
    os.close(handle)
    sys.stderr = _opened(STDERR)
    try:
        yield
    finally:
        sys.stderr = _terminal


class SharedTerminal:
    """The way to the terminal, to be given to a spawned process, where `take_terminal` opens it."""

    def __init__(self, handle: Any = None) -> None:
        self.handle = handle

    def __reduce__(self) -> tuple[Any, ...]:
        return SharedTerminal, (DupFd(_terminal.fileno()) if _terminal else None,)


def take_terminal(shared: SharedTerminal) -> None:
    """Let the own lines of a spawned process go to the terminal of the one that spawned it."""
    global _terminal
    if shared.handle:
        _terminal = _opened(shared.handle.detach())


def _opened(handle: int) -> TextIO:
    """Text of a file descriptor, line by line."""
    return open(handle, "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace", closefd=False)
