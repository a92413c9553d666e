"""The project's files in a folder of their own, with a demo corpus that is cut down, to run the real workflow in."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import pytest
import yaml

from mse.demo.recipe import load_recipe
from tests.conftest import MODELS, ROOT, Shared

TABLE = "results/demo/smollm2/metrics.csv"
CLIPS = {"train": 6, "valid": 3, "test": 3}
LONGEST_S = 1800.0
RESULTS = ["work/demo/**/*.csv", "work/demo/**/*.h5", "results/**/*.csv"]
RESULTS += ["results/**/config.json", "results/**/*.safetensors"]
FEW = {"seeds": [1111, 2222], "bootstrap_samples": 100, "baselines": ["text-only", "zero-shot", "linear"]}
FEW_STEPS = {"pretrain_epochs": 1, "fusion_steps": 2, "schedule_epochs": 1, "batch_size": 4}


def require_described(quality: pd.DataFrame) -> None:
    """Hold that all clips are described, and nearly all recognised.

    What Whisper makes of a synthetic voice depends on the processor; now and then it is an endless loop, left out.
    """
    assert len(quality) == sum(CLIPS.values())
    assert (quality[["segment", "acoustic", "facial"]] == "ok").all(axis=None)
    full = quality["use"] == "full"
    assert full.mean() > 0.8 and (quality["transcribe"] == "ok").equals(full)


def check_out(folder: Path) -> None:
    """Fill a folder as a clone would be, with the models that were fetched."""
    for name in ("Snakefile", "workflow", "config", "resources", "environment.yml"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("models"))
        else:
            shutil.copy(source, folder / name)
    (folder / "resources/models").symlink_to(MODELS)


def check_out_demo(folder: Path, models: Callable[[str], Path]) -> None:
    """The same with a small recipe of the demo, and with its models."""
    for name in ("smollm2", "face_landmarker", "whisper-tiny.en"):
        models(name)
    check_out(folder)
    recipe = load_recipe(ROOT / "resources/demo.yaml").cut_down(CLIPS)
    (folder / "resources/demo.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    dataset = folder / "config/datasets/demo.yaml"
    dataset.write_text(re.sub("shard_clips: .*", "shard_clips: 4", dataset.read_text()))


@pytest.fixture(scope="session")
def described_demo(shared: Shared, models: Callable[[str], Path]) -> Path:
    """A clone whose small demo corpus has all features and words, and whose configuration makes few and short runs."""

    def make(folder: Path) -> None:
        check_out_demo(folder, models)
        path = folder / "config/config.yaml"
        settings = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump(settings | FEW | {"train": settings["train"] | FEW_STEPS}))
        succeed(snakemake(folder, "work/demo/dataset.h5"))

    return shared("described demo", make)


@pytest.fixture(scope="session")
def finished_demo(shared: Shared, described_demo: Path) -> Path:
    """The same with all that the workflow makes without a target."""

    def make(folder: Path) -> None:
        copy_clone(described_demo, folder)
        succeed(snakemake(folder))

    return shared("finished demo", make)


def copy_clone(source: Path, folder: Path) -> Path:
    """Copy a clone with all that was made in it: nothing is made again in the copy. Returns the copy."""
    return shutil.copytree(source, folder, symlinks=True, dirs_exist_ok=True)


def own_models(folder: Path) -> None:
    """Give a clone a folder of models of its own, with a link to each, so that more can be put beside them."""
    (folder / "resources/models").unlink()
    (folder / "resources/models").mkdir()
    for model in MODELS.iterdir():
        (folder / "resources/models" / model.name).symlink_to(model)


def succeed(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """Hold that a run went well."""
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    return done


def environment() -> dict[str, str]:
    """With this environment's commands first."""
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def snakemake(
    folder: Path, *arguments: str, before: Sequence[str] = (), env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the workflow; `before` is a command that runs the command, as setpriv does."""
    where = () if "--workflow-profile" in arguments else ("--cores", "2")
    command = [*before, sys.executable, "-m", "snakemake", *where, *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=env or environment(), timeout=LONGEST_S, check=False
    )


def planned(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """Job counts of a dry run."""
    table = done.stdout.split("Job stats:")[-1].split("total")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, flags=re.MULTILINE)}


def made(folder: Path) -> dict[str, bytes]:
    """What a run has made, by path."""
    paths = {path for pattern in RESULTS for path in folder.glob(pattern)}
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def finished_jobs(said: str) -> list[str]:
    """Messages of the jobs that a run finished."""
    message = dict(re.findall(r"^Job (\d+): (.*)$", said, flags=re.MULTILINE))
    return [message[number] for number in re.findall(r"^Finished jobid: (\d+)", said, flags=re.MULTILINE)]
