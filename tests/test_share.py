"""Adapters that go elsewhere: the card says what they are, and a hub gets them whole."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from mse.cli import app
from mse.config import AdapterSettings, Backbone, Classes, Task, TrainSettings
from mse.errors import UserError
from mse.predictions import answer_split
from mse.score import score
from mse.share import adapter_folder
from mse.train import train
from tests.made import LEARNED, make_dataset
from tests.served import Replies, served

MARKS = Backbone(
    folder=Path("tiny"), license="none", dtype="float32", open_mark="[", close_mark="]", explicit_plus=True
)
SETTINGS = TrainSettings(pretrain_epochs=1, schedule_epochs=1, batch_size=7, threads=1)
SHAPE = AdapterSettings(acoustic_hidden=8, facial_hidden=8, fusion_width=16)


def trained(folder: Path, llm: Path, task: Task = LEARNED) -> Path:
    """An adapter that was scored; metrics.csv and intervals.csv lie in the folder."""
    data = make_dataset(folder, task=task)
    run = folder / "made" / "seed-1"
    train(data, llm, "tiny", MARKS, SHAPE, SETTINGS, 1, run / "adapter", run / "history.csv")
    answer_split(data, llm, MARKS, run / "adapter", SETTINGS, run / "predictions.csv")
    score(data, [run / "predictions.csv"], folder / "metrics.csv", folder / "intervals.csv", samples=50)
    return run / "adapter"


def card(folder: Path, adapter: Path) -> str:
    scores = ["--metrics", str(folder / "metrics.csv"), "--intervals", str(folder / "intervals.csv")]
    done = CliRunner().invoke(app, ["adapter", "card", str(adapter), *scores])
    assert done.exit_code == 0, done.exception
    return (adapter / "README.md").read_text()


def test_card_tells_what_the_adapter_is(tmp_path: Path, tiny_llm: Path) -> None:
    text = card(tmp_path, trained(tmp_path, tiny_llm))
    front = yaml.safe_load(text.split("---\n")[1])
    assert front == {"library_name": "mse", "language": "en", "tags": ["multimodal-sentiment-analysis", "mse-adapter"]}
    table = pd.read_csv(tmp_path / "metrics.csv")
    own = table[(table["model"] == "made") & (table["run"] == "seed-1") & (table["decoding"] == "expected")].iloc[0]
    assert f"| this adapter | {own['mae']:.3f} | {own['corr']:.3f} |" in text
    between = pd.read_csv(tmp_path / "intervals.csv")
    mae = between[between["reference"] & (between["metric"] == "mae")].iloc[0]
    assert f"MAE {mae['value']:.3f} ({mae['low']:.3f} to {mae['high']:.3f})" in text
    assert "mse fetch tiny face_landmarker whisper-tiny.en\n" in text
    assert "a sentiment from -3 to 3" in text and "| seed | 1 |" in text and "On the 10 test clips" in text
    assert "- sound, None" not in text and "Limits" in text


def test_card_of_classes(tmp_path: Path, tiny_llm: Path) -> None:
    task = Classes(classes={"calm": ["calm"], "angry": ["angry"]})
    text = card(tmp_path, trained(tmp_path, tiny_llm, task))
    assert "one of calm, angry" in text and "emotion-recognition" in text
    assert re.search(r"\| this adapter \| \d+\.\d \| \d+\.\d \| \d+\.\d \|", text)


class Hub(Replies):
    """As much of a hub as takes a commit of small files."""

    asked: ClassVar[list[tuple[str, Any]]] = []

    def do_GET(self) -> None:
        self.reply(404, "application/json", b"{}", {})

    def do_POST(self) -> None:
        said = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        lines = [json.loads(line) for line in said.splitlines() if line.strip()] if said else []
        self.asked.append((self.path, lines))
        answer: dict[str, Any] = {"errors": [], "warnings": []}
        if self.path == "/api/repos/create":
            answer = {"url": f"http://{self.headers['Host']}/ana/mine", "name": "ana/mine"}
        elif "/preupload/" in self.path:
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in lines[0]["files"]
            ]
            answer = {"files": files}
        elif "/commit/" in self.path:
            answer = {
                "commitUrl": f"http://{self.headers['Host']}/ana/mine/commit/1",
                "commitOid": "1" * 40,
                "hookOutput": "",
            }
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def push(adapter: Path, hub: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from mse.cli import main; main()", "adapter", "push", str(adapter), "ana/mine"]
    environment = os.environ | {"HF_ENDPOINT": hub, "HF_TOKEN": "hf_x", "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def test_push_sends_the_whole_adapter(tmp_path: Path, tiny_llm: Path) -> None:
    adapter = trained(tmp_path, tiny_llm)
    (adapter / "private.txt").write_text("mine")
    with served(Hub) as hub:
        without = push(adapter, hub)
        assert without.returncode != 0 and "no README.md; `mse adapter card` writes one" in without.stderr
        assert Hub.asked == []
        card(tmp_path, adapter)
        done = push(adapter, hub)
    assert done.returncode == 0, done.stderr
    assert f"{hub}/ana/mine/commit/1" in done.stdout
    (commit,) = [lines for path, lines in Hub.asked if "/commit/" in path]
    files = {
        line["value"]["path"]: base64.b64decode(line["value"]["content"]) for line in commit if line["key"] == "file"
    }
    assert set(files) >= {"config.json", "adapter.safetensors", "pipeline.json", "README.md"}
    assert "private.txt" not in files and not any(name.startswith(".") for name in files)
    assert all(data == (adapter / name).read_bytes() for name, data in files.items())


def test_hub_that_is_out_of_reach_is_told(tmp_path: Path, tiny_llm: Path) -> None:
    adapter = trained(tmp_path, tiny_llm)
    card(tmp_path, adapter)
    done = push(adapter, "http://127.0.0.1:9")
    assert done.returncode != 0 and "ana/mine: can't be pushed" in done.stderr and "Traceback" not in done.stderr


def test_adapters_by_name(tmp_path: Path) -> None:
    (tmp_path / "models/ana--mine").mkdir(parents=True)
    (tmp_path / "models/ana--mine/config.json").write_text("{}")
    assert adapter_folder("ana/mine", tmp_path / "models") == tmp_path / "models/ana--mine"
    with pytest.raises(UserError, match=r"`mse fetch ana/other` gets it"):
        adapter_folder("ana/other", tmp_path / "models")
    shutil.copytree(tmp_path / "models/ana--mine", tmp_path / "here")
    assert adapter_folder(tmp_path / "here") == tmp_path / "here"
