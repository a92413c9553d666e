"""Output on terminals and in locales that lack characters: never a traceback, and nothing lost."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mse import media
from tests.conftest import tone

LIMITED = {
    "Latin-1": {"PYTHONIOENCODING": "iso-8859-1"},
    "Windows": {"PYTHONIOENCODING": "cp1252"},
    "ASCII": {"PYTHONIOENCODING": "ascii:strict"},
    "C locale": {"LC_ALL": "C"},
}
MSE = """
import json, sys
from mse.cli import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["mse", *words]
    try:
        main()
    except SystemExit as e:
        assert not e.code, words
"""
EVERY_HELP = """
import sys, typer
from mse import cli
def leaves(command, words):
    for name, child in command.commands.items():
        yield words + [name]
        if hasattr(child, "commands"):
            yield from leaves(child, words + [name])
cli.accept_all_characters()
for words in [[], *leaves(typer.main.get_command(cli.app), [])]:
    try:
        cli.app([*words, "--help"])
    except SystemExit as e:
        assert e.code == 0, words
"""
PREDICT = """
import pandas as pd
from mse import cli, config
from mse.cli.predict import _show
from mse.progress import say, track
cli.accept_all_characters()
row = {"recording": "Zoë 好.mp4", "start_s": 0.0, "end_s": 1.5, "prediction": 1.0, "low": 0.5, "high": 1.5}
row |= {"text": "好 \\U0001f600 [b] ä", "message": "面 — nichts", "speaking": 1.0}
_show(pd.DataFrame([row, {**row, "recording": "b.mp4"}]), config.Intensity())
say("fertig: 好 \\udce4")
print("\\U0001f600 \\udce4 █")
"""


def run(script: str, *arguments: str | Path, **environment: str) -> str:
    """What a script says on both streams; it must not end in a traceback."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONUTF8", "PYTHONIOENCODING")}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, env={**kept, **environment}, timeout=120)
    said = (done.stdout + done.stderr).decode("latin-1")
    assert "Traceback" not in said and "Error:" not in said, said
    assert done.returncode == 0, said
    return said


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A healthy corpus whose texts, names and classes no Latin-1 terminal has."""
    folder = tmp_path_factory.mktemp("corpora")
    sound = media.ffmpeg.input("pipe:", format="s16le", ar=16_000, ac=1)
    (folder / "语料").mkdir()
    process = sound.output(str(folder / "语料/好.wav")).overwrite_output()
    process.run(input=tone(1).tobytes(), cmd=media.ffmpeg_path(), quiet=True)
    rows = "\n".join(f"c{n}é,好.wav,太棒了😀 {n},高兴,{split}" for n, split in enumerate(("train", "valid", "test")))
    (folder / "语料/t.csv").write_text(f"id,file,text,mood ,split\n{rows}\n,,,,\n", encoding="utf-8")
    described = {
        "root": str(folder / "语料"),
        "tables": [{"file": "t.csv"}],
        "columns": {"clip_id": "id", "media": "file", "text": "text", "label": "mood"},
        "split": {"by": "split"},
        "task": {"classes": {"高兴": ["高兴"], "悲伤": ["悲伤"]}},
        "prompt": "情绪?",
        "modalities": ["acoustic", "text"],
        "language": "zh",
    }
    (folder / "datasets").mkdir()
    (folder / "datasets/home.yaml").write_text(yaml.safe_dump(described, allow_unicode=True), encoding="utf-8")
    (folder / "config.yaml").write_text(yaml.safe_dump({"config_path": [str(folder)]}))
    return folder


def mse(commands: list[list[str | Path]], **environment: str) -> str:
    return run(MSE, json.dumps([[str(word) for word in command] for command in commands]), **environment)


@pytest.mark.parametrize("terminal", [pytest.param("Latin-1", marks=pytest.mark.slow), "ASCII", "C locale"])
def test_corpora_are_shown(home: Path, tmp_path: Path, terminal: str) -> None:
    commands: list[list[str | Path]] = [
        ["corpus", "check", "home", "--config", home / "config.yaml"],
        ["corpus", "new", "mine", "--root", home, "-o", tmp_path / "ü.yaml"],
        ["manifest", home / "datasets/home.yaml", "-o", tmp_path / "m.csv"],
        ["provenance", tmp_path / "m.csv", "--full"],
    ]
    shown = mse(commands, **LIMITED[terminal])
    assert "a run can start" in shown and "empty rows are skipped: 1" in shown
    assert "all as recorded" in shown
    if terminal == "ASCII":
        assert "#" * 30 + " 100.0 %" in shown and "\\u9ad8\\u5174" in shown  # a bar, and the class as an escape
    assert "太棒了😀 0" in (tmp_path / "m.csv").read_text(encoding="utf-8")


def test_json_stays_json(home: Path, tmp_path: Path) -> None:
    mse([["manifest", home / "datasets/home.yaml", "-o", tmp_path / "m.csv"]])
    told = json.loads(mse([["provenance", tmp_path / "m.csv", "--json"]], PYTHONIOENCODING="ascii"))
    assert told["intact"] and any("语料" in file["path"] for file in told["files"])


@pytest.mark.parametrize(
    "terminal", ["ASCII", "C locale", *(pytest.param(name, marks=pytest.mark.slow) for name in ("Latin-1", "Windows"))]
)
def test_helps_tables_and_lines_are_shown(terminal: str) -> None:
    assert "Recognise a shard's words with Whisper" in run(EVERY_HELP, **LIMITED[terminal])
    shown = run(PREDICT, **LIMITED[terminal])
    assert "[b]" in shown and "\\udce4" in shown
    assert terminal == "C locale" or "\\u597d \\U0001f600 [b]" in shown


def test_names_that_are_no_characters_are_shown_on_every_terminal() -> None:
    assert "\\udce4" in run(PREDICT, PYTHONIOENCODING="utf-8")


def test_mistakes_are_shown(home: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "x.yaml"
    wrong.write_text("root: .\ntables: [{file: 好.csv}]\n语: 1\n", encoding="utf-8")
    command = [
        sys.executable,
        "-c",
        "from mse.cli import main; main()",
        "manifest",
        str(wrong),
        "-o",
        str(tmp_path / "m.csv"),
    ]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}, timeout=60)
    assert done.returncode == 1 and b"Traceback" not in done.stderr
    assert b"unknown key '\\u8bed'" in done.stderr
