"""The command line: within this process, or in one of its own where starting it is what a test is about."""

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from typer.testing import CliRunner

from mse.cli import app
from mse.errors import UserError

MAIN = "from mse.cli import main; main()"
ONE_AFTER_THE_OTHER = """
import json, sys
from mse.cli import app
for arguments in json.loads(sys.argv[1]):
    app(arguments, standalone_mode=False)
"""


class Done(NamedTuple):
    """What a command has said, and how it ended."""

    returncode: int
    stdout: str
    stderr: str


def mse(*arguments: str | Path) -> Done:
    """Run a subcommand within this process; a UserError is told as `mse` does, any other error is raised."""
    result = CliRunner().invoke(app, [*map(str, arguments)])
    if isinstance(result.exception, UserError):
        return Done(1, result.stdout, f"{result.stderr}error: {result.exception}\n")
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Done(result.exit_code, result.stdout, result.stderr)


def mse_process(
    *arguments: str | Path, folder: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `mse` as a shell does, in a folder."""
    command = [sys.executable, "-c", MAIN, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False)


def run_commands(folder: Path, commands: Iterable[list[str]]) -> None:
    """Run subcommands in a folder, one after the other in one new process: libraries are loaded once."""
    command = [sys.executable, "-c", ONE_AFTER_THE_OTHER, json.dumps([*commands])]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
