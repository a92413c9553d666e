"""Adapters that go elsewhere: the card says what they are, and a hub gets them whole."""

import base64
import json
import re
import shutil
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pytest
import yaml
from huggingface_hub import constants
from typer.testing import CliRunner

from mse.cli import app
from mse.config import AdapterSettings, Backbone, Classes, Columns, Dataset, Extraction, Table, Task, TrainSettings
from mse.errors import UserError
from mse.pipeline import read_pipeline, write_pipeline
from mse.predictions import answer_split
from mse.score import score
from mse.share import adapter_folder, write_card
from mse.train import train
from tests.command_line import Done, mse
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
    assert "a sentiment from -3 to 3" in text and "| seed | 1 |" in text and "On the 10 test clips" in text
    assert "- sound, None" not in text and "Limits" in text


def test_card_of_classes(tmp_path: Path, tiny_llm: Path) -> None:
    task = Classes(classes={"calm": ["calm"], "angry": ["angry"]})
    text = card(tmp_path, trained(tmp_path, tiny_llm, task))
    assert "one of calm, angry" in text and "emotion-recognition" in text
    assert re.search(r"\| this adapter \| \d+\.\d \| \d+\.\d \| \d+\.\d \|", text)


@pytest.mark.parametrize(
    ("backbone", "recordings", "lines"),
    [
        (
            {"model": "smollm2"},
            True,
            ["mse fetch smollm2 face_landmarker whisper-tiny.en", "mse predict talk.mp4 --adapter ADAPTER"],
        ),
        (
            {"hub": "ana/large", "revision": "c" * 40},
            True,
            [
                "mse fetch tiny face_landmarker whisper-tiny.en",
                "mse backbone convert resources/checkpoints/tiny --out resources/models/tiny",
                "mse predict talk.mp4 --adapter ADAPTER",
            ],
        ),
        ({"folder": "tiny"}, False, ["mse predict --text TEXT --adapter ADAPTER --llm LLM"]),
    ],
)
def test_card_s_commands_work_elsewhere(
    backbone: dict[str, Any], recordings: bool, lines: list[str], tmp_path: Path, tiny_llm: Path
) -> None:
    adapter = trained(tmp_path, tiny_llm)
    pipeline = read_pipeline(adapter)
    llm = MARKS.model_copy(update={"folder": None} | backbone)
    extraction = Extraction() if recordings else None
    write_pipeline(pipeline.model_copy(update={"backbone": llm, "extraction": extraction}), adapter)
    text = card(tmp_path, adapter)
    used = text.partition("## How to use it")[2].partition("or in Python")[0]
    assert "In a clone of `mse`" in used and re.findall(r"^    (.+)$", used, re.MULTILINE) == lines
    needed = f"`config/backbones/tiny.yaml` must name ana/large at revision {'c' * 40}."
    assert (needed in used) == ("hub" in backbone)
    assert ('Predictor("ADAPTER", llm="LLM").texts(["TEXT"])' in text) == ("folder" in backbone)


def test_card_shows_names_of_others_as_text(tmp_path: Path, tiny_llm: Path) -> None:
    adapter = trained(tmp_path, tiny_llm, Classes(classes={"<b>calm": ["calm"], "a|b & ![x](y)": ["angry"]}))
    columns = Columns(text="text", label="label")
    corpus = Dataset(
        root=tmp_path,
        tables=[Table(file="t.csv")],
        columns=columns,
        prompt="?",
        source="ask\n# Ana | <script>",
        license="a & b",
    )
    write_card(adapter, None, None, corpus, None)
    text = (adapter / "README.md").read_text()
    assert "one of &lt;b&gt;calm, a&#124;b &amp; !&#91;x](y) (MSE" in text
    assert "| its source | ask # Ana &#124; &lt;script&gt; |\n" in text and "| its licence | a &amp; b |" in text


def test_card_takes_no_scores_of_others(tmp_path: Path, tiny_llm: Path) -> None:
    adapter = trained(tmp_path, tiny_llm)
    metrics, intervals, other = tmp_path / "metrics.csv", tmp_path / "intervals.csv", tmp_path / "other.csv"
    table, between = (pd.read_csv(path) for path in (metrics, intervals))

    def refused(scores: pd.DataFrame, ends: pd.DataFrame, message: str) -> None:
        scores.to_csv(metrics, index=False)
        ends.to_csv(other, index=False)
        with pytest.raises(UserError, match=message):
            write_card(adapter, metrics, other, None, None)

    of_corpus = "holds seed-1, mean, sd of the corpus else; expected seed-1 of the corpus made"
    refused(table.assign(corpus="else"), between, rf"metrics\.csv: {of_corpus}")
    of_seed = "holds seed-2, mean, sd of the corpus made; expected seed-1 of the corpus made"
    refused(table.replace({"run": {"seed-1": "seed-2"}}), between, rf"metrics\.csv: {of_seed}")
    refused(table.drop(columns="corpus"), between, r"metrics\.csv: .* the column 'corpus' is missing")
    shifted = between.assign(value=between["value"] + 1)
    refused(table, shifted, r"other\.csv: holds mae [\d.]+ of made expected; expected [\d.]+, as in .*metrics\.csv")
    refused(table, between.assign(model="larger"), r"other\.csv: holds mae [\d.]+ of larger expected; expected None")
    assert not (adapter / "README.md").exists()


class Hub(Replies):
    """As much of a hub as takes a commit of small files into a repository that is public."""

    asked: ClassVar[list[tuple[str, Any]]] = []

    def do_GET(self) -> None:
        known = self.path == "/api/models/ana/mine"
        said = {"id": "ana/mine", "private": False} if known else {}
        self.reply(200 if known else 404, "application/json", json.dumps(said).encode(), {})

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


class PrivateHub(Hub):
    """The same, where the repository is private."""

    asked: ClassVar[list[tuple[str, Any]]] = []

    def do_GET(self) -> None:
        self.reply(200, "application/json", json.dumps({"id": "ana/mine", "private": True}).encode(), {})


def push(adapter: Path, hub: str, *options: str) -> Done:
    """The library has read its environment when it was imported, so address and way of sending are set in it."""
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(constants, "ENDPOINT", hub)
        changed.setattr(constants, "HF_HUB_DISABLE_XET", True)
        changed.setenv("HF_TOKEN", "hf_x")
        return mse("adapter", "push", adapter, "ana/mine", *options)


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


def test_push_keeps_what_is_private_out_of_a_public_repository(tmp_path: Path, tiny_llm: Path) -> None:
    adapter = trained(tmp_path, tiny_llm)
    card(tmp_path, adapter)
    asked = len(Hub.asked)
    with served(Hub) as hub:
        refused = push(adapter, hub, "--private")
    assert refused.returncode == 1
    assert "ana/mine: is there already, and public, against --private; nothing was uploaded" in refused.stderr
    assert [path for path, _ in Hub.asked[asked:]] == ["/api/repos/create"]
    with served(PrivateHub) as hub:
        done = push(adapter, hub, "--private")
    assert done.returncode == 0, done.stderr
    assert any("/commit/" in path for path, _ in PrivateHub.asked)


def test_hub_that_is_out_of_reach_is_told(tmp_path: Path, tiny_llm: Path) -> None:
    adapter = trained(tmp_path, tiny_llm)
    card(tmp_path, adapter)
    done = push(adapter, "http://127.0.0.1:9")
    assert done.returncode != 0 and "ana/mine: can't be pushed" in done.stderr


def test_adapters_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models/ana--mine").mkdir(parents=True)
    (tmp_path / "models/ana--mine/adapter.safetensors").write_text("")
    assert adapter_folder("ana/mine", tmp_path / "models") == tmp_path / "models/ana--mine"
    with pytest.raises(UserError, match=r"`mse fetch ana/other` gets it"):
        adapter_folder("ana/other", tmp_path / "models")
    shutil.copytree(tmp_path / "models/ana--mine", tmp_path / "here")
    assert adapter_folder(tmp_path / "here") == tmp_path / "here"
    (tmp_path / "models/smollm2").mkdir()
    with pytest.raises(
        UserError, match=r"models/smollm2: no adapter: it holds no adapter\.safetensors; trained adapters here "
    ):
        adapter_folder(tmp_path / "models/smollm2")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^smollm2: no such folder; trained adapters here are: none \(results/\*/"):
        adapter_folder("smollm2", tmp_path / "models")
    for seed in range(1, 8):
        Path(f"results/demo/smollm2/seed-{seed}/adapter").mkdir(parents=True)
    named = ", ".join(f"results/demo/smollm2/seed-{seed}/adapter" for seed in range(1, 6))
    with pytest.raises(UserError, match=rf"are: {named} \(.*\), or `mse fetch OWNER/NAME` gets one of a hub$"):
        adapter_folder("results/demo/smollm2/seed-9/adapter")
