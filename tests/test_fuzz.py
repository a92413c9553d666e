"""Whatever users bring is read or refused by a UserError: nothing crashes, hangs, eats memory or runs.

MSE_FUZZ=1500 tries as many mutations of each kind of file, in place of a few; a case that fails is run again by
`python -m tests.fuzzing GROUP 1 FOLDER READER CASE`.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mse.errors import UserError
from tests.conftest import ROOT
from tests.fuzzed import GROUPS
from tests.fuzzing import Guard, Reader, attempt

CASES = int(os.environ.get("MSE_FUZZ", "25"))


@pytest.mark.parametrize("group", GROUPS)
def test_readers_return_or_refuse(group: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzzing", group, str(CASES), str(tmp_path)]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600 + 4 * CASES)
    running = tmp_path / "running"
    at = running.read_text() if running.is_file() else "the seeds"
    died = f"ended by {signal.Signals(-done.returncode).name}" if done.returncode < 0 else f"code {done.returncode}"
    assert done.returncode == 0, f"{died} at {at}: {done.stderr[-2000:]}"
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    wrong = [line for line in said if "wrong" in line]
    assert not wrong, "\n".join(map(str, wrong))
    finished = {line["reader"]: line["cases"] for line in said}
    assert finished == dict.fromkeys(GROUPS[group](tmp_path / "seeds"), CASES)
    assert not list(tmp_path.rglob("*pwned*"))


@pytest.mark.slow
def test_the_guard_notices(tmp_path: Path) -> None:
    """Each thing that no reader may do, done."""
    (tmp_path / "case").mkdir()
    guard = Guard(tmp_path / "case")

    def tried(read: object) -> str:
        return attempt(Reader({}, read, ()), tmp_path / "case", guard)[0]  # type: ignore[arg-type]

    def refuses(folder: Path) -> None:
        raise UserError("no")

    assert tried(refuses) == "" and tried(lambda folder: (folder / "x").write_text("x")) == ""
    assert "did os.system" in tried(lambda folder: os.system("true"))
    assert "did subprocess.Popen" in tried(lambda folder: subprocess.run(["true"], check=False))
    assert f"did open {tmp_path / 'x'}" in tried(lambda folder: (folder / "../x").write_text("x"))
    assert "did os.rename" in tried(lambda folder: (folder / "x").rename(tmp_path / "y"))
    assert "KeyError" in tried(lambda folder: {}["x"])
    assert "characters" in tried(lambda folder: (_ for _ in ()).throw(UserError("x" * 200_000)))
    assert " MB" in tried(lambda folder: bytearray(os.urandom(1 << 20) * (3 << 10)))
