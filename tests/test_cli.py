"""The command line: helps that read well, messages without tracebacks."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from mse.cli import app
from tests.command_line import mse, mse_process

COMMANDS = [
    "fetch", "demo", "corpus", "manifest", "cut", "import", "export", "schema",
    "segment", "acoustic", "facial", "transcribe", "quality", "assemble", "show",
    "backbone", "adapter", "pretrain", "train", "answer", "predict", "linear", "bench",
    "score", "compare", "parts", "validation", "table", "plot", "browse", "provenance",
]  # fmt: skip


def test_help_lists_every_command_without_loading_torch() -> None:
    script = "import sys\nfrom mse.cli import app\nassert 'torch' not in sys.modules and 'pandas' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == 0
    shown = mse_process("--help").stdout
    assert all(f"│ {command} " in shown for command in COMMANDS)


def leaves(command: Any) -> Iterator[Any]:
    """All commands of a group, those of its groups too."""
    for child in command.commands.values():
        yield from leaves(child) if hasattr(child, "commands") else [child]


def test_every_command_and_option_is_explained() -> None:
    group: Any = typer.main.get_command(app)
    assert sorted(group.commands) == sorted(COMMANDS)
    for command in leaves(group):
        assert command.help, command.name
        unexplained = [p.name for p in command.params if not p.help]
        assert not unexplained, (command.name, unexplained)


def test_missing_system_libraries_are_named() -> None:
    script = (
        "from mse import cli\n"
        "def app(): raise ImportError('libGL.so.1: cannot open shared object file')\n"
        "cli.app = app\n"
        "cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert re.search(r"libGL\.so\.1: cannot open.*apt-get install libegl1 .*libgl1", done.stderr)


def test_helps_are_shown() -> None:
    assert "Recognise a shard's words with Whisper" in mse("transcribe", "--help").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plot", "quality", "gone.csv", "-o", "x.svg"], "error: gone.csv: missing or no table"),
        (["acoustic", "gone.h5", "-o", "x.h5"], "error: gone.h5: missing or no HDF5 file"),
        (["manifest", "gone.yaml", "-o", "x.csv"], "error: gone.yaml: no such file"),
        (
            ["manifest", '{"rot": "x"}', "-o", "x.csv"],
            "Dataset (JSON): unknown key 'rot'; did you mean 'root'?",
        ),
        (
            ["facial", "f.csv", "s.h5", "-o", "x", "--dataset", "d", "--model", "gone.task"],
            "error: gone.task: no such file",
        ),
    ],
)
def test_mistakes_are_one_message(arguments: list[str], message: str) -> None:
    done = mse(*arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert not Path("x.h5").exists()


def test_a_mistake_is_one_message_without_a_traceback() -> None:
    done = mse_process("acoustic", "gone.h5", "-o", "x.h5")
    assert done.returncode == 1 and done.stderr.startswith("error: gone.h5: missing or no HDF5 file")
    assert "Traceback" not in done.stderr
