"""Records beside files, and the chain that they make: a small corpus through the real commands, then each break."""

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner, Result

from mse import media
from mse.atomic import replacing_folder
from mse.cli import app
from mse.errors import UserError
from mse.provenance import NOTHING, SUFFIX, Record, content, made, record_path
from mse.resume import STATE_NAME
from tests.command_line import mse, run_commands
from tests.conftest import MODELS, tone

CLIPS = [("a", "train"), ("b", "train"), ("c", "valid"), ("d", "valid"), ("e", "test"), ("f", "test"), ("gone", "test")]
TASK = {"classes": {"x": ["x"], "y": ["y"]}}
LLM = {"folder": "llm", "license": "none", "dtype": "float32", "open_mark": "[", "close_mark": "]"}
SHAPE = {"acoustic_hidden": 8, "facial_hidden": 8, "fusion_width": 16}
TRAINING = {"pretrain_epochs": 1, "schedule_epochs": 1, "batch_size": 2, "threads": 1}
ADAPTER = "results/seed-1/adapter"
SETS = ["--acoustic", "egemaps=work/acoustic", "--facial", "work/facial"]


def train(seed: int) -> list[str]:
    out = f"results/seed-{seed}"
    said = ["--backbone", json.dumps(LLM), "--adapter", json.dumps(SHAPE), "--settings", json.dumps(TRAINING)]
    return ["train", "work/dataset.h5", "--llm", "models/llm", *said, "--seed", str(seed), "--out", f"{out}/adapter",
            "--history", f"{out}/history.csv"]  # fmt: skip


def answer(seed: int) -> list[str]:
    out = f"results/seed-{seed}"
    return ["answer", "work/dataset.h5", "--llm", "models/llm", "--backbone", json.dumps(LLM),
            "--adapter", f"{out}/adapter", "--out", f"{out}/predictions.csv"]  # fmt: skip


def commands() -> Iterator[list[str]]:
    """From videos to a figure."""
    yield ["manifest", "corpus.yaml", "--out", "work/manifest.csv"]
    for shard in ("0000", "0001"):
        sound, facts = f"work/segments/{shard}.h5", f"work/segments/{shard}.csv"
        yield ["segment", "work/manifest.csv", "--shard", shard, "--dataset", "made", "--out", sound, "--facts", facts,
               "--settings", "segment.yaml"]  # fmt: skip
        yield ["acoustic", sound, "--out", f"work/acoustic/{shard}.h5"]
        yield ["facial", facts, sound, "--dataset", "made", "--out", f"work/facial/{shard}.h5",
               "--model", "models/face_landmarker/face_landmarker.task"]  # fmt: skip
    of_manifest = ["--manifest", "work/manifest.csv", *SETS]
    yield ["quality", *of_manifest, "--facts", "work/segments", "--out", "work/quality.csv"]
    yield ["assemble", "corpus.yaml", "--name", "made", *of_manifest, "--quality", "work/quality.csv",
           "--out", "work/dataset.h5", "--settings", '{"max_bad_fraction": 0.5}']  # fmt: skip
    yield train(1)
    yield answer(1)
    yield ["score", "results/seed-1/predictions.csv", "--dataset", "work/dataset.h5", "--out", "results/metrics.csv",
           "--intervals", "results/intervals.csv", "--samples", "50"]  # fmt: skip
    yield ["plot", "comparison", "results/intervals.csv", "--out", "results/comparison.svg"]


def write_inputs(folder: Path, frames: list[np.ndarray], llm: Path) -> None:
    """Six videos of a face and a tone, a table that also names a seventh, settings and models."""
    for number, (name, _) in enumerate(CLIPS[:-1]):
        media.write_video(folder / f"videos/{name}.mp4", frames[:25], tone(1, 150 + 40 * number), 25)
    rows = [f"{name},{name}.mp4,so,{'xy'[number % 2]},{split}" for number, (name, split) in enumerate(CLIPS)]
    (folder / "videos/clips.csv").write_text("\n".join(["clip_id,media,text,label,split", *rows]) + "\n")
    described = {
        "root": "videos",
        "tables": [{"file": "clips.csv"}],
        "columns": {"text": "text", "label": "label"},
        "split": {"by": "split"},
        "task": TASK,
        "prompt": "?",
        "shard_clips": 4,
    }
    (folder / "corpus.yaml").write_text(yaml.safe_dump(described))
    (folder / "segment.yaml").write_text("min_s: 0.2\n")
    shutil.copytree(llm, folder / "models/llm")
    (folder / "models/face_landmarker").symlink_to(MODELS / "face_landmarker")


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory, portrait_frames: list[np.ndarray], tiny_llm: Path, landmarker: Path
) -> Path:
    folder = tmp_path_factory.mktemp("whole chain")
    write_inputs(folder, portrait_frames, tiny_llm)
    run_commands(folder, commands())
    return folder


@pytest.fixture()
def here(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of all files, to be spoilt; it is the current folder."""
    folder = tmp_path / "moved elsewhere"
    shutil.copytree(whole, folder, symlinks=True)
    monkeypatch.chdir(folder)
    return folder


def succeed(arguments: list[str]) -> None:
    assert mse(*arguments).returncode == 0


def provenance(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["provenance", *arguments])


def faults(*arguments: str) -> dict[str, list[str]]:
    """What is said of each file that is not as recorded."""
    result = provenance(*arguments, "--json")
    told = json.loads(result.stdout)
    found = {link["path"]: link["faults"] for link in told["files"] if link["faults"]}
    assert told["intact"] == (not found) == (result.exit_code == 0)
    return found


def files(folder: Path) -> list[Path]:
    """All that the commands made, with the records; events for TensorBoard hold the time."""
    made = [path for name in ("work", "results") for path in sorted((folder / name).rglob("*")) if path.is_file()]
    return [path for path in made if "tfevents" not in path.name]


def test_every_artefact_has_a_record_that_fits_it(whole: Path) -> None:
    made = [path for path in files(whole) if not path.name.endswith(SUFFIX)]
    assert len(made) == 2 + 2 * 4 + 2 + 4 + 1 + 3
    for path in made:
        text = record_path(path).read_text()
        record = Record.model_validate_json(text)
        assert record.file == content(path)
        assert record.made_with.libraries and record.made_with.python == sys.version.split()[0]
        assert str(whole) not in text  # the project can be moved
    facial = Record.model_validate_json((whole / f"work/facial/0000.h5{SUFFIX}").read_text())
    assert (facial.command, facial.settings["facial"]["rate_hz"], facial.seed) == ("facial", 10.0, None)
    (model,) = facial.models
    assert model.name == "face_landmarker" and "wheel" in model.source and "sha256" in str(model.source["files"])
    assert {"mediapipe", "av", "h5py", "numpy"} <= set(facial.made_with.libraries)
    segment = Record.model_validate_json((whole / f"work/segments/0000.h5{SUFFIX}").read_text())
    assert any(map(str.isdigit, segment.made_with.libraries["ffmpeg"])) and "torch" not in segment.made_with.libraries
    adapter = Record.model_validate_json((whole / f"{ADAPTER}/config.json{SUFFIX}").read_text())
    assert adapter.seed == 1 and adapter.settings["train"]["batch_size"] == 2 and "torch" in adapter.made_with.libraries


def bytes_of(path: Path) -> bytes:
    """A file's content, without the commit: someone may be writing code while the tests run."""
    content = path.read_bytes()
    return re.sub(rb'"commit": ".*"', b"", content) if path.name.endswith(SUFFIX) else content


def test_same_run_same_records(whole: Path, tmp_path: Path, portrait_frames: list[np.ndarray], tiny_llm: Path) -> None:
    write_inputs(tmp_path, portrait_frames, tiny_llm)
    run_commands(tmp_path, commands())
    first, second = ([path.relative_to(folder) for path in files(folder)] for folder in (whole, tmp_path))
    assert first == second
    assert [name for name in first if bytes_of(whole / name) != bytes_of(tmp_path / name)] == []


def test_chain_goes_back_to_media_and_models(here: Path) -> None:
    result = provenance("results/metrics.csv", "results/comparison.svg")
    assert result.exit_code == 0, result.stdout
    assert "results/metrics.csv  mse score" in result.stdout and f"{ADAPTER}/: 2 files" in result.stdout
    assert "work/acoustic/: 2 files .h5  mse acoustic" in result.stdout and "videos/: 7 files .mp4" in result.stdout
    assert "model face_landmarker" in result.stdout and "model llm" in result.stdout
    assert "18 files made, 10 sources, 2 models: all as recorded" in result.stdout
    told = {link["path"]: link for link in json.loads(provenance("results/metrics.csv", "--json").stdout)["files"]}
    assert {f"videos/{name}.mp4" for name, _ in CLIPS} | {"videos/clips.csv", "segment.yaml"} <= set(told)
    full = provenance("results/metrics.csv", "--full").stdout
    assert "videos/f.mp4" in full and "videos/f.mp4" not in result.stdout
    assert str(told["work/manifest.csv"]["record"]["file"]["sha256"]) in full


def append(name: str) -> Callable[[], None]:
    def change() -> None:
        with Path(name).open("ab") as file:
            file.write(b"\n")

    return change


def swap_adapter() -> None:
    """Another adapter with records of its own, in the place of the one that predicted."""
    succeed(train(2))
    shutil.rmtree(ADAPTER)
    Path("results/seed-2/adapter").rename(ADAPTER)


def foreign_adapter() -> None:
    """One that nobody knows the maker of."""
    for path in Path(ADAPTER).glob(f"*{SUFFIX}"):
        path.unlink()


def other_label() -> None:
    """A label changed, and the manifest made anew: extraction need not, and is not, run again."""
    table = Path("videos/clips.csv")
    table.write_text(table.read_text().replace("a,a.mp4,so,x", "a,a.mp4,so,y"))
    succeed(["manifest", "corpus.yaml", "--out", "work/manifest.csv"])


def other_settings() -> None:
    succeed(["acoustic", "work/segments/0000.h5", "--out", "work/acoustic/0000.h5", "--settings",
             '{"feature_set": "GeMAPSv01b"}'])  # fmt: skip


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (append("videos/a.mp4"), {"videos/a.mp4": "not what work/facial/0000.h5 and 2 more were made from"}),
        (Path("videos/a.mp4").unlink, {"videos/a.mp4": "missing, or can't be read"}),
        (Path("videos/gone.mp4").touch, {"videos/gone.mp4": "not what work/facial/0001.h5 and 2 more were made from"}),
        (append("segment.yaml"), {"segment.yaml": "not what work/segments/0000.h5 and 3 more were made from"}),
        (Path("work/facial/0001.h5").unlink, {"work/facial/0001.h5": "missing, or can't be read; its record is here"}),
        (other_settings, {"work/acoustic/0000.h5": "not what work/dataset.h5 and 1 more were made from"}),
        (other_label, {"work/manifest.csv": "not what work/dataset.h5 and 1 more were made from"}),
        (append("results/metrics.csv"), {"results/metrics.csv": "changed since `mse score` made it"}),
        (
            append(f"{ADAPTER}/config.json"),
            {f"{ADAPTER}/config.json": "changed since `mse train` made it; not what results/seed-1/predictions.csv"},
        ),
        (
            swap_adapter,
            {f"{ADAPTER}/{name}": "not what results/seed-1/predictions.csv was made from" for name in
             ("config.json", "adapter.safetensors")},
        ),
        (
            foreign_adapter,
            {f"{ADAPTER}/{name}": "of an unknown maker: it has no record" for name in
             ("config.json", "adapter.safetensors")},
        ),
        (
            append("models/llm/config.json"),
            {"models/llm/config.json": "not what results/seed-1/predictions.csv and 2 more were made from"},
        ),
    ],
    ids=lambda value: getattr(value, "__name__", "") if callable(value) else next(iter(value)),
)  # fmt: skip
def test_each_break_is_told(here: Path, spoil: Callable[[], None], expected: dict[str, str]) -> None:
    assert faults("results/metrics.csv") == {}
    spoil()
    found = faults("results/metrics.csv")
    assert sorted(found) == sorted(expected)
    assert all("; ".join(found[path]).startswith(said) for path, said in expected.items()), found
    result = provenance("results/metrics.csv")
    told = " ".join(result.stdout.replace("│", " ").split())
    assert result.exit_code == 1 and f"{len(expected)} not as recorded" in told
    assert all(said.split("; ")[0] in told for said in expected.values())


@pytest.mark.parametrize(
    "text",
    ["", "no record", "[]", "[" * 100_000, "{}", '{"format_version": 99}', '{"inputs": "../../.."}', "\udcff"],
    ids=["empty", "text", "list", "deep", "nothing", "version", "types", "bytes"],
)
def test_record_that_is_none_is_told(here: Path, text: str) -> None:
    record_path(Path("work/dataset.h5")).write_text(text, errors="surrogateescape")
    found = faults("results/metrics.csv")
    assert list(found) == ["work/dataset.h5"] and found["work/dataset.h5"][0].startswith("its record can't be read: ")


def test_what_a_record_says_is_no_command_to_a_terminal(here: Path) -> None:
    record = json.loads(record_path(Path("results/metrics.csv")).read_text())
    record["inputs"][0]["path"] = "\x1b]0;title\x07[red]x.csv"
    record_path(Path("results/metrics.csv")).write_text(json.dumps(record))
    told = provenance("results/metrics.csv").stdout
    assert "]0;title\ufffd[red]x.csv" in told and "\x1b" not in told and "\x07" not in told


def test_adapter_copied_elsewhere_takes_its_record_along(here: Path, tmp_path: Path) -> None:
    shutil.copytree(ADAPTER, tmp_path / "elsewhere/adapter")
    shutil.rmtree(here)
    os.chdir(tmp_path)
    result = provenance("elsewhere/adapter")
    assert result.exit_code == 1
    assert "elsewhere/adapter/: 3 files .json, .safetensors  mse train, seed 1" in result.stdout
    found = faults("elsewhere/adapter")
    assert any(path.endswith("work/dataset.h5") and "missing" in said[0] for path, said in found.items())
    assert not any("elsewhere" in path for path in found)


def test_sizes_alone_pass_over_what_digests_find(here: Path) -> None:
    video = Path("videos/a.mp4")
    video.write_bytes(video.read_bytes()[:-1] + b"?")
    assert faults("results/metrics.csv", "--sizes") == {}
    assert list(faults("results/metrics.csv")) == ["videos/a.mp4"]
    append("videos/a.mp4")()
    assert list(faults("results/metrics.csv", "--sizes")) == ["videos/a.mp4"]


def test_files_of_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("predictions.csv").write_text("clip_id,prediction,label\na,1,1\n")
    assert faults("predictions.csv") == {
        "predictions.csv": ["of an unknown maker: it has no record, so the chain ends here"]
    }
    said = "metrics.csv: no such file, and no metrics.csv.provenance.json beside it that tells of one"
    assert str(provenance("metrics.csv").exception) == said


def test_names_that_are_too_long_are_of_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert content(tmp_path / ("x" * 300)) == NOTHING
    Path("a.csv").write_text("a\n1\n")
    with made("score", [Path("a.csv")], inputs=[tmp_path / ("x" * 300)]):
        pass
    assert faults("a.csv") == {}


def test_nothing_is_made_from_what_has_changed(here: Path) -> None:
    """A digit of a table, a bit of a model; a change of one's own is taken when the record is gone."""
    table = Path("results/seed-1/predictions.csv")
    table.write_text(table.read_text().replace("1", "2", 1))
    score = ["score", str(table), "--dataset", "work/dataset.h5", "--out", "results/again.csv"]
    told = str(CliRunner().invoke(app, score).exception)
    assert f"{table}: not what `mse answer` wrote: damaged, or edited" in told
    record_path(table).unlink()
    assert "not what `mse" not in str(CliRunner().invoke(app, score).exception)
    model = here / "models" / "kept"
    with replacing_folder(model) as partial:
        (partial / "model.bin").write_bytes(bytes(100))
    with made("transcribe", [Path("a.csv")], models=[model]):
        Path("a.csv").write_text("a\n")
    (model / "model.bin").write_bytes(bytes(99) + b"x")
    with pytest.raises(UserError, match=r"model\.bin: damaged, or changed"), made("x", [Path("a.csv")], models=[model]):
        pass


def test_a_record_that_cant_be_written_costs_no_training(here: Path) -> None:
    before = pd.read_csv("results/seed-1/history.csv")
    taken = Path(f"results/seed-3/adapter/config.json{SUFFIX}")
    taken.mkdir(parents=True)  # in the record's place
    (taken / "x").touch()
    done = CliRunner().invoke(app, train(3))
    assert isinstance(done.exception, OSError) and (taken.parent / STATE_NAME).is_file()
    weights = (taken.parent / "adapter.safetensors").read_bytes()
    (taken.parent / "adapter.safetensors").unlink()  # as the workflow does where a job fails
    shutil.rmtree(taken)
    again = CliRunner().invoke(app, train(3))
    assert again.exit_code == 0 and f"going on after epoch {len(before)}" in again.stderr
    assert (taken.parent / "adapter.safetensors").read_bytes() == weights
    assert taken.is_file() and faults("results/seed-3/adapter") == {}


def test_a_training_that_nobody_noted_as_done_ends_at_once(here: Path) -> None:
    """Snakemake was killed before it did, and starts the job again; the adapter is accepted when it is used."""
    assert CliRunner().invoke(app, train(4)).exit_code == 0
    folder = Path("results/seed-4/adapter")
    weights, epochs = (folder / "adapter.safetensors").read_bytes(), len(pd.read_csv("results/seed-4/history.csv"))
    for path in [*folder.glob("[!.]*"), Path("results/seed-4/history.csv")]:
        path.unlink()  # as Snakemake does with what a job left that it takes for unfinished
    again = CliRunner().invoke(app, train(4))
    assert again.exit_code == 0 and f"going on after epoch {epochs}" in again.stderr
    assert (folder / "adapter.safetensors").read_bytes() == weights
    assert CliRunner().invoke(app, answer(4)).exit_code == 0
    assert not (folder / STATE_NAME).exists()
