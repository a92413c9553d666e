"""The terminal is for our own lines; what libraries say goes to the log file."""

import subprocess
import sys
from pathlib import Path

import pytest

# A command whose libraries speak in every way, in its own process and in one that it spawns.
NOISY = """
import logging, os, sys, warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from mse.cli import app, main
from mse.errors import UserError
from mse.progress import SharedTerminal, say, take_terminal, track

def noise(where):
    warnings.warn(f"{where}: a warning", FutureWarning)
    logging.getLogger("library").warning("%s: a logger", where)
    print(f"{where}: a print", file=sys.stderr)
    os.write(2, f"W0000 00:00:00.0 {where}: native\\n".encode())
    say(f"{where}: our own")

@app.command()
def noisy(end: str):
    noise("here")
    with ProcessPoolExecutor(1, get_context("spawn"), take_terminal, (SharedTerminal(),)) as pool:
        pool.submit(noise, "there").result()
    if end == "mistake":
        raise UserError("a mistake")
    if end == "bug":
        raise ZeroDivisionError("a bug")
    if end == "crash":
        os.abort()
    print("a result")

if __name__ == "__main__":
    main()
"""
OURS = ["here: our own", "there: our own"]


def noisy(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "noisy.py").write_text(NOISY)
    command = [sys.executable, "noisy.py", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


def test_libraries_speak_to_the_log_alone(tmp_path: Path) -> None:
    for _ in range(2):  # the log is of the last run
        done = noisy(tmp_path, "--log", "a.log", "noisy", "well")
        assert done.stderr.splitlines() == OURS and done.stdout == "a result\n" and done.returncode == 0
        log = (tmp_path / "a.log").read_text()
        for where in ("here", "there"):
            for what in ("a warning", "a logger", "a print", "native"):
                assert f"{where}: {what}" in log
        assert "our own" not in log and log.count(" here: native") == 1


@pytest.mark.parametrize(
    ("end", "code", "last"),
    [
        ("well", 0, OURS[-1]),
        ("mistake", 1, "error: a mistake"),
        ("bug", 1, "ZeroDivisionError: a bug"),
        ("crash", -6, "Fatal Python error: Aborted"),
    ],
)
def test_without_a_log_they_are_dropped_and_errors_are_not(tmp_path: Path, end: str, code: int, last: str) -> None:
    done = noisy(tmp_path, "noisy", end)
    assert done.returncode == code
    lines = done.stderr.splitlines()
    assert lines[:2] == OURS and last in lines
    assert not any(what in done.stderr for what in ("a warning", "a logger", "a print", ": native"))


def test_mistakes_on_the_command_line_are_told(tmp_path: Path) -> None:
    assert "No such option" in noisy(tmp_path, "noisy", "well", "--unknown").stderr
    assert "Missing argument" in noisy(tmp_path, "noisy").stderr
    assert "No such command" in noisy(tmp_path, "nosy").stderr
    done = noisy(tmp_path, "--log", "no/such/folder.log", "noisy", "well")
    assert done.returncode == 1 and "error: no/such/folder.log: can't be written" in done.stderr
