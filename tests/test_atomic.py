"""Files are whole or not there, and what a killed process leaves goes away."""

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mse.atomic import MADE, digests_of_folder, replacing, replacing_folder

WRITES = """
import sys, time
from pathlib import Path
from mse.atomic import MADE, digests_of_folder, replacing, replacing_folder
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


MAKES = """
import os, shutil, signal, sys
from pathlib import Path
from mse import atomic
steps = int(sys.argv[2])
def counted(call):
    def step(*arguments, **options):
        global steps
        steps -= 1
        if steps == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **options)
    return step
for owner, name in ((os, "fsync"), (os, "rename"), (os, "unlink"), (os, "rmdir"), (Path, "write_text")):
    setattr(owner, name, counted(getattr(owner, name)))
with atomic.replacing_folder(Path(sys.argv[1])) as partial:
    (partial / "a.bin").write_bytes(b"new")
    (partial / "b.bin").write_bytes(b"new")
"""


def test_folder_is_the_old_one_the_new_one_or_none_whenever_a_kill_comes(tmp_path: Path) -> None:
    """SIGKILL at each call that changes something, until none is left; the next run always succeeds."""
    target, seen = tmp_path / "model", set()
    for step in range(1, 40):
        with replacing_folder(target) as partial:
            (partial / "a.bin").write_bytes(b"old")
        assert names(tmp_path) == ["model"] and names(target) == [MADE, "a.bin"]
        killed = subprocess.run([sys.executable, "-c", MAKES, str(target), str(step)], check=False).returncode
        seen.add(tuple(names(target)) if target.exists() else None)
        if killed == 0:
            break
    assert killed == 0 and step > 6
    assert seen == {(MADE, "a.bin"), (MADE, "a.bin", "b.bin"), None}
    assert digests_of_folder(target) == dict.fromkeys(["a.bin", "b.bin"], hashlib.sha256(b"new").hexdigest())
