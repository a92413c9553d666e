"""Where an LLM's checkpoint lies: fetched from a hub (served on this machine), put there by hand, or not there."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from mse.backbones import places
from mse.config import AdapterSettings, Backbone, Config, TrainSettings, load_backbone
from mse.errors import UserError
from mse.fetch import fetch_checkpoint, load_registry
from mse.missing import missing_for
from tests.conftest import ROOT
from tests.served import Replies, served

COMMIT = "a" * 40
FILES = {"config.json": b"{}", "model.safetensors": b"weights" * 1000, "modeling_x.py": b"evil"}
TINY = {"hub": "owner/tiny", "license": "MIT", "size_gb": 1.5, "open_mark": "", "close_mark": ""}


class Hub(Replies):
    """As much of a model hub as fetching a repository needs; `owner/gated` wants an agreement."""

    def do_GET(self) -> None:
        kind, headers, body = "application/json", {}, b""
        if self.path.startswith("/api/models/owner/gated"):
            headers, status = {"X-Error-Code": "GatedRepo"}, 403
        elif self.path.startswith(
            ("/api/models/owner/tiny/revision/main", f"/api/models/owner/tiny/revision/{COMMIT}")
        ):
            status, body = 200, json.dumps({"id": "owner/tiny", "sha": COMMIT, "siblings": []}).encode()
        elif self.path.startswith("/api/models/owner/tiny/tree/"):
            tree = [{"type": "file", "path": name, "size": len(data), "oid": "0" * 40} for name, data in FILES.items()]
            status, body = 200, json.dumps(tree).encode()
        elif self.path.startswith(f"/owner/tiny/resolve/{COMMIT}/"):
            status, kind, body = 200, "application/octet-stream", FILES[self.path.rpartition("/")[2]]
            headers = {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Repo-Commit": COMMIT}
        else:
            status = 404
        self.reply(status, kind, body, headers)


@pytest.fixture()
def hub() -> Iterator[str]:
    with served(Hub) as address:
        yield address


def project(place: Path, **backbone: object) -> None:
    """A project with one backbone, `mine`."""
    for name in ("config/backbones", "config/datasets", "resources"):
        (place / name).mkdir(parents=True)
    (place / "config/config.yaml").write_text("config_path: [config]\n")
    content = {key: value for key, value in (TINY | backbone).items() if value is not None}
    (place / "config/backbones/mine.yaml").write_text(yaml.safe_dump(content))
    (place / "resources/models.yaml").write_text((ROOT / "resources/models.yaml").read_text())


def fetch(folder: Path, endpoint: str, name: str = "mine") -> subprocess.CompletedProcess[str]:
    """The endpoint is read when huggingface_hub is imported, so the command runs in a process of its own."""
    environment = os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "hf"), "NO_PROXY": "*"}
    environment.pop("HF_HUB_OFFLINE", None)
    command = [sys.executable, "-c", "from mse.cli import main; main()", "fetch", name]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, timeout=120)


def test_checkpoint_is_fetched_without_its_code(hub: str, tmp_path: Path) -> None:
    project(tmp_path)
    done = fetch(tmp_path, hub)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "resources/checkpoints/mine"
    assert sorted(path.name for path in folder.iterdir()) == [
        ".made-by-mse", "config.json", "fetched.json", "model.safetensors",
    ]  # fmt: skip
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert json.loads((folder / "fetched.json").read_text())["commit"] == COMMIT
    assert f"mine: fetched commit {COMMIT}; write it as `revision`" in done.stderr  # none was pinned


def test_pinned_commit_is_fetched_and_then_needs_no_hub(hub: str, tmp_path: Path) -> None:
    project(tmp_path, revision=COMMIT)
    done = fetch(tmp_path, hub)
    assert done.returncode == 0 and "write it as" not in done.stderr
    assert fetch(tmp_path, "http://127.0.0.1:9").returncode == 0  # from the hub library's cache


def test_agreement_that_is_asked_for_is_named(hub: str, tmp_path: Path) -> None:
    project(tmp_path, hub="owner/gated")
    done = fetch(tmp_path, hub)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "owner/gated asks for an agreement. Accept its licence at https://huggingface.co/owner/gated" in done.stderr


def test_without_a_hub_the_files_and_their_place_are_named(tmp_path: Path) -> None:
    project(tmp_path, revision=COMMIT, files=["config.json", "model-*.safetensors"])
    done = fetch(tmp_path, "http://127.0.0.1:9")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"the repository owner/tiny at revision {COMMIT} of huggingface.co, 1.5 GB." in done.stderr
    assert "copy config.json, model-*.safetensors from there into resources/checkpoints/mine/, or say" in done.stderr
    assert "--config 'checkpoints={mine: /path/to/the/folder}'" in done.stderr


@pytest.mark.parametrize(
    ("error", "said"), [(OSError("404 Not Found\nTry\nthis"), "404 Not Found"), (ValueError(), "ValueError")]
)
def test_one_line_of_what_the_library_says_is_told(
    error: Exception, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(UserError) as caught:
        fetch_checkpoint("mine", Backbone(**TINY), tmp_path)
    assert str(caught.value).startswith(f"the backbone mine can't be fetched ({said}): it is the repository owner/tiny")


def test_checkpoint_put_there_by_hand_is_left_alone(tmp_path: Path) -> None:
    project(tmp_path)
    own = tmp_path / "resources/checkpoints/mine/config.json"
    own.parent.mkdir(parents=True)
    own.write_text('{"mine": 1}')
    done = fetch(tmp_path, "http://127.0.0.1:9")
    assert done.returncode == 1 and "resources/checkpoints/mine: no weights; expected model.safetensors" in done.stderr
    (own.parent / "model.safetensors").touch()
    assert fetch(tmp_path, "http://127.0.0.1:9").returncode == 0
    assert own.read_text() == '{"mine": 1}'


def test_folder_with_other_things_is_never_replaced(hub: str, tmp_path: Path) -> None:
    project(tmp_path)
    thesis = tmp_path / "resources/checkpoints/mine/thesis.txt"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("years")
    done = fetch(tmp_path, hub)
    assert done.returncode == 1 and "resources/checkpoints/mine: holds other things, which would be lost" in done.stderr
    assert thesis.read_text() == "years" and not list(thesis.parent.parent.glob(".partial*"))


def test_unknown_name_lists_models_and_backbones(tmp_path: Path) -> None:
    project(tmp_path)
    done = fetch(tmp_path, "http://127.0.0.1:9", "mnie")
    assert "error: 'mnie' is neither a model (resources/models.yaml: smollm2, " in done.stderr
    assert "nor a backbone (mine)" in done.stderr


# --- said before anything runs ---


@pytest.mark.parametrize("name", ["qwen", "chatglm3", "llama2", "qwen3", "qwen3-4b", "llama3", "gemma3"])
def test_workflow_says_what_is_missing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, registry = Config(config_path=[ROOT / "config"]), load_registry(ROOT / "resources/models.yaml")
    monkeypatch.chdir(tmp_path)
    backbone = load_backbone(config, name)
    (message,) = missing_for([f"results/demo/{name}/metrics.csv"], config, registry, ["demo"])
    assert f"the LLM of the backbone {name} is not here: no config.json in resources/checkpoints/{name}; " in message
    assert f"`mse fetch {name}`" in message and f"{backbone.hub} at revision {backbone.revision}" in message
    assert all(file in message for file in backbone.files)
    elsewhere = config.model_copy(update={"checkpoints": {name: tmp_path}})
    (tmp_path / "config.json").write_text("{}")
    (message,) = missing_for([f"results/demo/{name}/metrics.csv"], elsewhere, registry, ["demo"])
    assert "no weights; expected model.safetensors" in message
    (tmp_path / "model.safetensors").touch()
    assert missing_for([f"results/demo/{name}/metrics.csv"], elsewhere, registry, ["demo"]) == []
    assert places.checkpoints_here(elsewhere) == {name: tmp_path}
    ready = tmp_path / f"resources/models/{name}"
    ready.mkdir(parents=True)
    (ready / "native.json").write_text("{}")
    (message,) = missing_for([f"results/demo/{name}/metrics.csv"], config, registry, ["demo"])  # a link that is gone
    assert "is not here" in message
    (ready / "config.json").touch()  # the original may be removed once it is converted
    assert missing_for([f"results/demo/{name}/metrics.csv"], config, registry, ["demo"]) == []
    (tmp_path / "model.safetensors").unlink()  # or a part of it
    assert places.checkpoints_here(elsewhere) == {}


def test_what_was_fetched_from_elsewhere_is_told(hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(tmp_path, revision=COMMIT)
    assert fetch(tmp_path, hub).returncode == 0
    monkeypatch.chdir(tmp_path)
    registry = load_registry(Path("resources/models.yaml"))
    assert missing_for(["results/demo/mine/metrics.csv"], Config(), registry, ["demo"]) == []
    for change in ({"revision": "b" * 40}, {"hub": "owner/other", "revision": None}):
        changed = {key: value for key, value in (TINY | change).items() if value is not None}
        (tmp_path / "config/backbones/mine.yaml").write_text(yaml.safe_dump(changed))
        (message,) = missing_for(["results/demo/mine/metrics.csv"], Config(), registry, ["demo"])
        assert (
            f"but what lies here was fetched from owner/tiny at {COMMIT}; fetch it anew with `mse fetch mine`"
            in message
        )


@pytest.mark.parametrize("settings", [{}, {"gradient_checkpointing": True}])
@pytest.mark.parametrize(("placement", "tokens", "texts"), [("before_text", 50 + 30, 0), ("after_text", 9, 2e9)])
def test_memory_asked_of_a_cluster_covers_the_estimate(
    settings: dict[str, bool], placement: str, tokens: int, texts: float, tmp_path: Path
) -> None:
    """In the sizes of ChatGLM3-6B, as published and as converted."""
    from mse.backbones.chatglm import ChatGLM
    from mse.backbones.memory import estimate
    from tests.originals import write_chatglm

    write_chatglm(tmp_path / "published", shards=1)
    sizes = {"num_layers": 28, "hidden_size": 4096, "ffn_hidden_size": 13696, "num_attention_heads": 32}
    sizes |= {"kv_channels": 128, "multi_query_group_num": 2, "padded_vocab_size": 65024}
    original = json.loads((tmp_path / "published/config.json").read_text()) | sizes
    (tmp_path / "published/config.json").write_text(json.dumps(original))
    ChatGLM(original, "config.json").native_config().save_pretrained(tmp_path)
    backbone = Backbone(**TINY)
    chosen = TrainSettings(**settings)
    needs = estimate(tmp_path, backbone, chosen.batch_size, tokens, True, chosen.gradient_checkpointing)
    with (tmp_path / "published/pytorch_model.bin").open("r+b") as file:
        file.truncate(round(needs.weights))  # a file with holes, as large as the real ones together
    shape = AdapterSettings.model_validate({"placement": placement})
    asked = places.job_mb(tmp_path / "published", backbone, chosen, shape)
    assert (needs.total + texts) / 1e6 < asked < 1.5 * (needs.total + texts) / 1e6


def test_mistakes_in_places_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(tmp_path, hub=None, folder="elsewhere", size_gb=None)
    monkeypatch.chdir(tmp_path)
    registry = load_registry(Path("resources/models.yaml"))
    (message,) = missing_for(["results/demo/mine/metrics.csv"], Config(), registry, ["demo"])
    assert message.startswith("the LLM of the backbone mine is not here: no config.json in elsewhere; put the")
    assert missing_for([], Config(checkpoints={"mein": Path("x")}), registry) == [
        "checkpoints: 'mein' is no backbone; there is mine"
    ]
    (tmp_path / "config/backbones/smollm2.yaml").write_text(yaml.safe_dump(TINY))
    (message,) = missing_for(["results/demo/smollm2/metrics.csv"], Config(), registry, ["demo"])
    assert "has the name of a model in resources/models.yaml, whose folder it would take; rename" in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hub": None}, "give one of model, hub or folder; found none of them"),
        ({"folder": "x"}, "give one of model, hub or folder; found hub and folder"),
        ({"hub": "tiny"}, "hub = 'tiny': String should match pattern"),
        ({"hub": None, "folder": "x", "revision": "a"}, "revision is given, but no hub"),
        ({"dtype": "int8"}, "dtype = 'int8': Input should be 'float32', 'bfloat16' or 'float16'"),
        ({"quantise": "2bit"}, "quantise = '2bit': Input should be '8bit' or '4bit'"),
        ({"corpora": {"mosie": {}}}, "corpora: 'mosie' is no corpus; there is "),
        ({"corpora": {"mosi": {"train": {"lr": 1}}}}, "corpora.mosi.train: unknown key 'lr'"),
        ({"train": {"device": "tpu"}}, "train: device = 'tpu'"),
    ],
)
def test_mistakes_in_a_backbone(tmp_path: Path, change: dict[str, object], message: str) -> None:
    (tmp_path / "backbones").mkdir()
    content = {key: value for key, value in (TINY | change).items() if value is not None}
    (tmp_path / "backbones/mine.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(UserError) as caught:
        load_backbone(Config(config_path=[tmp_path, ROOT / "config"]), "mine")
    assert "mine.yaml" in str(caught.value) and message in str(caught.value)


# --- the paper's settings ---
