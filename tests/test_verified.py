"""What is read is what was written: truncated, bit-flipped and foreign files are named and refused by every reader."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mse.adapter import AdapterConfig, MSEAdapter
from mse.assemble import assemble
from mse.config import AssembleSettings, Columns, Dataset, Intensity, Table
from mse.data import ClipDataset
from mse.errors import UserError
from mse.quality import make_quality
from mse.rows import write_rows
from mse.score import score
from mse.segment import Facts
from mse.store import Clip, Description, Shard, write_shard
from tests.made import WIDTHS, make_dataset

FLIPS = 400  # places in a file, evenly spread; each loses one bit or gains one


def damaged(path: Path, rng: np.random.Generator) -> list[bytes]:
    """The file cut off at twenty lengths, and with one bit of one byte turned over at FLIPS places."""
    whole = path.read_bytes()
    cut = [whole[:length] for length in np.linspace(0, len(whole) - 1, 20).astype(int)]
    flipped = []
    for place in np.linspace(0, len(whole) - 1, FLIPS).astype(int):
        flipped.append(bytearray(whole))
        flipped[-1][place] ^= 1 << rng.integers(8)
    return [*cut, *map(bytes, flipped)]


def check_refused(path: Path, read: Callable[[], Any]) -> None:
    """Each damaged version is refused with the file's name and what to do, whoever reads it."""
    whole = path.read_bytes()
    read()
    for version in damaged(path, np.random.default_rng(0)):
        path.write_bytes(version)
        with pytest.raises(UserError, match=rf"{path.name}: .*; delete it and run again"):
            read()
    path.write_bytes(whole)


def all_of(path: Path) -> list[Clip]:
    with Shard(path) as shard:
        return list(shard)


def test_shards(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    clips = [
        Clip(f"clip {number}", rng.normal(size=(50, 4)), rng.random(50) < 0.9, message="ü", facts={"faces": 1.0})
        for number in range(4)
    ]
    description = Description("corpus", "facial", "test", list("abcd"), 10.0, versions={"mse": "0"})
    write_shard(tmp_path / "0000.h5", description, clips)
    check_refused(tmp_path / "0000.h5", lambda: all_of(tmp_path / "0000.h5"))


def test_dataset(tmp_path: Path) -> None:
    index = make_dataset(tmp_path, clips=8)

    def read() -> None:
        with ClipDataset(index) as dataset:
            for number in range(len(dataset)):
                dataset[number]

    check_refused(index, read)
    check_refused(tmp_path / "facial.h5", read)


@pytest.mark.parametrize("modality", WIDTHS)
def test_shard_that_took_anothers_place(tmp_path: Path, modality: str) -> None:
    """Of the same clips, with other values: made anew, or by another corpus."""
    index, path = make_dataset(tmp_path, clips=8), tmp_path / f"{modality}.h5"
    with Shard(path) as shard:
        made, clips = shard.description, list(shard)
    changed = [Clip(c.clip_id, c.values + 1, c.valid, c.status, c.message) for c in clips]
    write_shard(path, made, changed)
    with ClipDataset(index) as dataset, pytest.raises(UserError, match=rf"{modality}\.h5: changed since .*dataset\.h5"):
        dataset[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "other"}, r"facial\.h5: of the corpus 'other', not 'made'; delete it and run again"),
        ({"modality": "acoustic"}, r"facial\.h5: of the modality 'acoustic', not 'facial'; delete it and run again"),
    ],
)
def test_foreign_shard_is_not_assembled(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    make_dataset(tmp_path, clips=8)
    with Shard(tmp_path / "facial.h5") as shard:
        made, clips = shard.description, list(shard)
    write_shard(tmp_path / "facial.h5", replace(made, **changes), clips)
    shards = {"facial": [tmp_path / "facial.h5"]}
    described = Dataset(root=tmp_path, tables=[Table(file="t.csv")], columns=Columns(text="text"))
    with pytest.raises(UserError, match=message):
        assemble(
            "made", described, tmp_path / "manifest.csv", tmp_path / "quality.csv", shards, tmp_path / "d.h5",
            AssembleSettings(),
        )  # fmt: skip
    assert not (tmp_path / "d.h5").exists()


def test_quality_that_lacks_clips_is_not_assembled(tmp_path: Path) -> None:
    make_dataset(tmp_path, clips=8)
    lines = (tmp_path / "quality.csv").read_text().splitlines(keepends=True)
    (tmp_path / "quality.csv").write_text("".join(lines[:-2]))
    described = Dataset(root=tmp_path, tables=[Table(file="t.csv")], columns=Columns(text="text"))
    with pytest.raises(UserError, match=r"quality\.csv: not one row for each clip of .* \(2 are in one alone"):
        assemble(
            "made", described, tmp_path / "manifest.csv", tmp_path / "quality.csv", {}, tmp_path / "d.h5",
            AssembleSettings(),
        )  # fmt: skip


@pytest.mark.parametrize("table", ["facts.csv", "said.csv"])
def test_cut_off_tables_are_not_judged(tmp_path: Path, table: str) -> None:
    """Cut off within a line or between two, the rest would look like a table."""
    make_dataset(tmp_path, clips=8)
    names = [f"clip{number:03d}" for number in range(8)]
    facts = [Facts(name, "x.mp4", 0.0, 1.5, "ok", "", 1.5, True, -20.0, 0.0, 30.125, 1.0) for name in names]
    write_rows(tmp_path / "facts.csv", facts, Facts)
    said = [f"{name},ok,,some words,en,0.9,[]\n" for name in names]
    (tmp_path / "said.csv").write_text("clip_id,status,message,text,language,confidence,words\n" + "".join(said))

    def judge() -> None:
        make_quality(
            tmp_path / "manifest.csv", [tmp_path / "facts.csv"], {"acoustic": [tmp_path / "acoustic.h5"]},
            [tmp_path / "said.csv"], "asr", tmp_path / "judged.csv",
        )  # fmt: skip

    judge()
    whole = (tmp_path / table).read_bytes()
    (tmp_path / "judged.csv").unlink()
    lines = whole.splitlines(keepends=True)
    for version in (whole[:-1], whole[:-3], b"".join(lines[:-1]), b"".join(lines[:1]), b"".join([*lines, lines[-1]])):
        (tmp_path / table).write_bytes(version)
        with pytest.raises(UserError, match=rf"{table}: cut off in its last line|rows of the clip 'clip00\d'"):
            judge()
    assert not (tmp_path / "judged.csv").exists()


def test_adapters(tmp_path: Path) -> None:
    """One turned bit anywhere in the weights, or a number of the settings; or the files of two adapters."""
    settings = {"acoustic_hidden": 4, "facial_hidden": 4, "fusion_width": 6, "pseudo_tokens": 2, "scales": [2, 4]}
    for seed in (1, 2):
        torch.manual_seed(seed)
        widths = {"acoustic_width": 3, "facial_width": 2, "text_width": 8}
        MSEAdapter(AdapterConfig(**widths, settings=settings, seed=seed)).save_pretrained(tmp_path / str(seed))
    first, second = tmp_path / "1", tmp_path / "2"
    weights = first / "adapter.safetensors"
    whole = weights.read_bytes()
    for version in damaged(weights, np.random.default_rng(0)):
        weights.write_bytes(version)
        with pytest.raises(UserError, match=r"/1"):
            MSEAdapter.from_pretrained(first)
    weights.write_bytes(whole)
    MSEAdapter.from_pretrained(first)
    shutil.copy(second / "config.json", first)
    with pytest.raises(UserError, match="not what was saved together"):
        MSEAdapter.from_pretrained(first)


def test_predictions_of_other_clips_are_not_scored(tmp_path: Path) -> None:
    data = make_dataset(tmp_path)
    with ClipDataset(data) as dataset:
        rows = [f"{dataset.clip_ids[i]},0.5,{dataset.labels[i]},so\n" for i in dataset.indices("test")]
    table = tmp_path / "p.csv"

    def scored(lines: list[str]) -> None:
        table.write_text("".join(["clip_id,prediction,label,text\n", *lines]))
        score(data, [table], tmp_path / "m.csv", samples=10)

    scored(rows)
    for lines in ([], rows[:3], [*rows, rows[0]], [rows[1], rows[0], *rows[2:]]):
        with pytest.raises(UserError, match=r"p\.csv: not the clips of the test split"):
            scored(lines)
    with pytest.raises(UserError, match=r"p\.csv: not the labels of"):
        scored([*rows[:-1], rows[-1].replace(",0.5,", ",0.5,-") if ",0.5,-" not in rows[-1] else
                rows[-1].replace(",0.5,-", ",0.5,")])  # fmt: skip


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("manifest.csv", lambda lines: lines[:5], r"quality\.csv: not one row for each clip"),
        ("manifest.csv", lambda lines: [*lines, lines[-1]], r"quality\.csv: not one row for each clip"),
        ("manifest.csv", lambda lines: [*lines[:-1], lines[-1].replace("test", "tset")], "in the split 'tset'"),
        ("manifest.csv", lambda lines: [*lines[:-1], lines[-1].replace("it is so,", "it is so,x")], "no labels of"),
        ("quality.csv", lambda lines: [*lines, lines[-1]], r"quality\.csv: not one row for each clip"),
        ("quality.csv", lambda lines: [*lines[:-1], lines[-1].replace("full", "fuml")], "use of 'clip007' is 'fuml'"),
    ],
)
def test_tables_that_do_not_fit_are_not_assembled(
    tmp_path: Path, table: str, change: Callable[[list[str]], list[str]], message: str
) -> None:
    make_dataset(tmp_path, clips=8)
    lines = (tmp_path / table).read_text().splitlines(keepends=True)
    (tmp_path / table).write_text("".join(change(lines)))
    columns = Columns(text="text", label="label")
    described = Dataset(root=tmp_path, tables=[Table(file="t.csv")], columns=columns, task=Intensity(), prompt="?")
    named = (tmp_path / "manifest.csv", tmp_path / "quality.csv", {}, tmp_path / "d.h5")
    with pytest.raises(UserError, match=message):
        assemble("made", described, *named, AssembleSettings())
