"""Processes that do stage after stage of an extraction, and keep the libraries and models that they have loaded."""

import atexit
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Self, TypeVar

from mse import progress
from mse.errors import UserError

T = TypeVar("T")
PROCESSES = 2
LAST_LINES = 5  # of a log


class Workers:
    """Two processes for jobs; they live until `close`, or until one of them is ended from outside.

    A context manager. Spawned, not forked: MediaPipe's and torch's threads do not survive a fork.
    """

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    def start(self) -> None:
        """Start the processes, which import what they will need, while this one goes on."""
        if self._pool is not None:
            return
        before = os.environ.get("OMP_NUM_THREADS")
        os.environ["OMP_NUM_THREADS"] = "1"  # as Snakemake has it for these stages
        try:
            self._pool = ProcessPoolExecutor(PROCESSES, get_context("spawn"), _set_up, (progress.SharedTerminal(),))
            for _ in range(PROCESSES):
                self._pool.submit(_import_libraries)
        finally:
            os.environ.pop("OMP_NUM_THREADS") if before is None else os.environ.update(OMP_NUM_THREADS=before)

    @contextmanager
    def jobs(self, log: Path) -> Iterator[Callable[..., "Future[Any]"]]:
        """Give what starts a job: a function of a module, and its arguments; jobs left at the end are dropped.

        Args:
            log: file for what libraries say.

        Raises:
            UserError: a process was ended from outside; the next jobs get new ones.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        self.start()
        assert self._pool is not None
        pool, started = self._pool, []

        def run(job: Callable[..., Any], *arguments: Any) -> "Future[Any]":
            started.append(pool.submit(_run, log.absolute(), job, arguments))
            return started[-1]

        try:
            yield run
        except BrokenProcessPool as e:
            self.close()
            said = log.read_text(errors="replace").splitlines()[-LAST_LINES:] if log.is_file() else []
            told = "a process that extracts was ended from outside, perhaps for want of memory; try fewer recordings"
            raise UserError("\n".join([told, *said])) from e
        finally:
            for job in started:
                job.cancel()
            wait(started)

    def close(self) -> None:
        """End the processes, once they have done what they are at."""
        pool, self._pool = self._pool, None
        if pool:
            pool.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# --- within a process ---

_kept: dict[str, tuple[object, Any, ExitStack]] = {}  # by kind: what it was made from, it, and how to close it


def keep(kind: str, made_from: object, make: Callable[[], T]) -> T:
    """Give what an earlier job of this process has loaded, or load it and note that in the log.

    Args:
        kind: such as "face landmarker"; of each kind one is kept.
        made_from: settings and paths; where they differ, what was kept is closed and another loaded.
        make: loads it; what can be closed is closed at the end of the process.
    """
    if kind not in _kept or _kept[kind][0] != made_from:
        if kind in _kept:
            _kept.pop(kind)[2].close()
        os.write(progress.STDERR, f"process {os.getpid()} loads: {kind}\n".encode())
        stack, made = ExitStack(), make()
        if hasattr(made, "close"):
            stack.callback(made.close)
        _kept[kind] = made_from, made, stack
    kept: T = _kept[kind][1]
    return kept


def _close_all() -> None:
    for _, _, stack in _kept.values():
        stack.close()


def _set_up(terminal: progress.SharedTerminal) -> None:
    """Progress goes to the terminal; libraries say nothing until a job has a log."""
    progress.take_terminal(terminal)
    progress.bars = False
    _send_errors(Path(os.devnull))
    atexit.register(_close_all)


def _send_errors(log: Path) -> None:
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(handle, progress.STDERR)
    os.close(handle)


def _import_libraries() -> None:
    import faster_whisper  # noqa: F401
    import mediapipe  # noqa: F401

    import mse.extract
    import mse.transcribe
    import mse.utterances  # noqa: F401


def _run(log: Path, job: Callable[..., T], arguments: tuple[Any, ...]) -> T:
    _send_errors(log)
    return job(*arguments)
