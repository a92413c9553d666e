"""Files are whole or not there, and what a killed process leaves goes away."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mse.atomic import replacing

WRITES = """
import sys, time
from pathlib import Path
from mse.atomic import replacing
with replacing(Path(sys.argv[1])) as partial:
    partial.write_text("half")
    print("written", flush=True)
    time.sleep(600)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_failed_block_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "a.txt") as partial:
        partial.write_text("new")
        _ = 1 / 0
    assert names(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_text() == "old"


def test_leftovers_of_killed_processes_alone_are_removed(tmp_path: Path) -> None:
    target = tmp_path / "a[1].txt"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITES, str(target)], stdout=subprocess.PIPE, text=True) for _ in "ab"
    ]
    for writer in writers:
        assert writer.stdout is not None and writer.stdout.readline() == "written\n"
    (tmp_path / ".partial-elsewhere-1-a[1].txt").touch()  # of another machine: it may still run
    assert len(names(tmp_path)) == 3
    os.kill(writers[0].pid, signal.SIGKILL)
    writers[0].wait()
    with replacing(target) as partial:
        partial.write_text("whole")
    assert target.read_text() == "whole"
    left = names(tmp_path)
    assert len(left) == 3 and any(f"-{writers[1].pid}-" in name for name in left) and left[-1] == "a[1].txt"
    writers[1].kill()
    writers[1].wait()
