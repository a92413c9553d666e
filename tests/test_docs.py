"""What the documentation says is run as it is written, in a small copy of the world that its pages talk about."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from mse.config import Config, load_backbone, load_dataset
from tests.checkout import copy_clone, environment, own_models
from tests.conftest import ROOT, ffmpeg
from tests.documented import PAGES, Said, commands, complete, fenced, links, spans, unknown
from tests.originals import write_chatglm
from tests.test_check import ROWS
from tests.test_layouts import ravdess, sims
from tests.test_published import Published, save

# Commands that begin so are run elsewhere, or not at all.
ELSEWHERE = {
    "sudo apt-get": ".ci/run installs as the README says",
    "python3 -m venv": ".ci/run",
    ". .venv/bin/activate": ".ci/run",
    "pip install": ".ci/run",
    "pytest": ".ci/run",
    "podman": "no container can be built within a test",
    "apptainer": "no container can be built within a test",
    "MSE_TEST_INSTALL=1 python -m tests.slurm_cluster": "tests/test_slurm.py starts such a cluster",
    "python -m tests.fullsize": "minutes, 25 GB of disk",
    "mse fetch": "tests/test_fetch.py serves a hub",
    "mse adapter push": "tests/test_share.py serves a hub",
    "mse export": "tests/test_export.py; it wants a tokenizer of BERT's",
    "snakemake --report": "tests/test_workflow.py makes all that a report shows",
    "snakemake --dry-run work/mosei/dataset.h5": "tests/test_planning.py makes a corpus of that size",
}
# What is short enough to be made; of other workflows the plan is made.
REALLY = ("snakemake --unlock", "snakemake --cores 2 work/grid/quality.csv --config")
# Options that make a command shorter than it is on its page.
SHORTER = {
    "mse bench extract": "--rounds 1",
    "mse bench train": "--rounds 1 --llm tiny-llm",
    "mse browse": "--pictures 1",
}
# What a command refuses to write over.
FIRST_REMOVED = {"mse corpus new home": "config/datasets/home.yaml"}
# Places on other people's machines, and where they lie in the world.
PLACES = {"~/": "ana/", "/home/ana/": "ana/", "/corpora/": "corpora/", "/models/": "checkpoints/"}
RECORDINGS = [
    "talk.mp4",
    "hour.mp4",
    "example_multispeaker.mp4",
    "interview.wav",
    "videos/new.mp4",
    "corpora/grid/videos/bbaf2n.mpg",
    "ana/videos/kiosk/anna 1.mp4",
    "ana/videos/kiosk/börek.mov",
    "ana/videos/park/dog.mp4",
]
# What fragments of programs take for granted.
BEFORE = {
    "docs/provenance.md": "from pathlib import Path\nout, dataset = Path('own.csv'), Path('work/demo/dataset.h5')\n"
    "out.write_text('made')\n",
}
LONGEST_S = 1200.0


def runnable() -> list[Said]:
    """Commands of blocks and complete ones of sentences; one of ours that begins a longer one is run with that."""
    found = [*commands(), *(span for span in spans() if complete(span.text))]
    texts = {said.text: said for said in found if not said.text.startswith(tuple(ELSEWHERE))}
    within = {text for text in texts if text.startswith("mse ") for other in texts if other.startswith(f"{text} ")}
    return [said for text, said in texts.items() if text not in within]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, finished_demo: Path, tiny_llm: Path) -> Path:
    """A clone with a finished small demo, and a stand-in for every other file that the pages name."""
    folder = copy_clone(finished_demo, tmp_path_factory.mktemp("world"))
    own_models(folder)
    results = folder / "results/demo/smollm2"
    shutil.copytree(results / "seed-1111", results / "seed-1")
    (folder / "resources/models/OWNER--NAME").symlink_to(results / "seed-1111/adapter")
    (folder / "tiny-llm").symlink_to(tiny_llm)
    for name in RECORDINGS:
        record(folder, folder / name)
    add_corpora(folder)
    add_of_others(folder)
    return folder


def record(folder: Path, path: Path) -> None:
    """Put a recording of the demo somewhere, in the container that the name asks for."""
    source = min((folder / "data/demo/videos").glob("*.mp4"))
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == source.suffix:
        shutil.copy(source, path)
    else:
        ffmpeg("-i", source, "-ar", "44100", "-r", "25", path)  # which MPEG-1 allows


def add_corpora(folder: Path) -> None:
    """CH-SIMS and RAVDESS as their publishers lay them out, GRID and the home videos as their pages describe them."""
    sims(folder / "data/sims", lambda path: record(folder, path))
    ravdess(folder / "corpora/ravdess", lambda path: record(folder, path))
    (folder / "ana/videos/clips.csv").write_text(ROWS, encoding="utf-8")
    (described,) = (said.text for said in fenced("yaml") if said.page == "config/README.md")
    (folder / "config/datasets/home.yaml").write_text(here(described, folder), encoding="utf-8")
    (folder / "corpora/grid/transcripts.csv").write_text("clip_id,video,text\nbbaf2n,videos/bbaf2n.mpg,bin blue\n")
    grid = {
        "root": str(folder / "corpora/grid"),
        "tables": [{"file": "transcripts.csv"}],
        "columns": {"media": "video", "text": "text"},
    }
    (folder / "config/datasets/grid.yaml").write_text(yaml.safe_dump(grid))


def add_of_others(folder: Path) -> None:
    """Checkpoints, an adapter of the published code, tables of predictions, trainings on RAVDESS and of a variant."""
    for place in ("resources/checkpoints/chatglm3", "checkpoints/chatglm3-6b-base"):
        write_chatglm(folder / place, dtype=torch.float16)
    save(Published(), folder / "best_model.pth")
    table = pd.DataFrame({"clip_id": ["a", "b", "c"], "prediction": [0.2, -0.4, 1.0], "label": [0.4, -0.8, 0.6]})
    for name in ("predictions.csv", "a/seed-1/predictions.csv", "a/seed-2/predictions.csv", "b/predictions.csv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(folder / name, index=False)
    history = pd.read_csv(folder / "results/demo/smollm2/seed-1111/history.csv")
    history["valid_weighted_f1"] = history["valid_mae"]
    for place in ("demo/smollm2/variants/noise", "ravdess/smollm2/variants/noise", "ravdess/smollm2"):
        target = folder / "results" / place / "seed-1111/history.csv"
        target.parent.mkdir(parents=True)
        history.to_csv(target, index=False)


def here(text: str, folder: Path) -> str:
    """With the places of the world in place of those on other people's machines."""
    for place, within in PLACES.items():
        text = re.sub(rf"(?<![\w.]){place}", f"{folder}/{within}", text)
    return text


def run(folder: Path, command: str | list[str]) -> None:
    """Run a command (a text by a shell); it must succeed."""
    words = ["bash", "-c", command] if isinstance(command, str) else command
    done = subprocess.run(
        words, cwd=folder, env=environment(), capture_output=True, text=True, timeout=LONGEST_S, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"


@pytest.mark.slow
@pytest.mark.parametrize("said", runnable(), ids=lambda said: f"{said.page}: {said.text}")
def test_command_runs(world: Path, said: Said) -> None:
    command = here(said.text, world)
    if not command.startswith(REALLY):
        command = re.sub(r"^snakemake\b", "snakemake --dry-run", command)
    for beginning, path in FIRST_REMOVED.items():
        if command.startswith(beginning):
            (world / path).unlink(missing_ok=True)
    more = [options for beginning, options in SHORTER.items() if command.startswith(beginning)]
    run(world, " ".join([command, *more]))


@pytest.mark.slow
@pytest.mark.parametrize("said", fenced("python"), ids=lambda said: f"{said.page}: {said.text[:40]}")
def test_program_runs(world: Path, said: Said) -> None:
    run(world, [sys.executable, "-c", BEFORE.get(said.page, "") + said.text])


@pytest.mark.parametrize("said", fenced("yaml"), ids=lambda said: said.page)
def test_settings_are_read(tmp_path: Path, said: Said) -> None:
    """Whole files alone: of a corpus, or of a backbone."""
    kind, load = ("backbones", load_backbone) if "open_mark" in said.text else ("datasets", load_dataset)
    (tmp_path / kind).mkdir()
    (tmp_path / kind / "mine.yaml").write_text(said.text, encoding="utf-8")
    load(Config(config_path=[tmp_path, ROOT / "config"]), "mine")


@pytest.mark.parametrize("said", spans(), ids=lambda said: f"{said.page}: {said.text}")
def test_what_a_sentence_names_is_there(said: Said) -> None:
    """Subcommands and options, of spans that are not run too."""
    assert unknown(said.text) == []


def test_tables_of_exceptions_name_nothing_that_is_gone() -> None:
    texts = [said.text for said in [*commands(), *spans()]]
    named = [*ELSEWHERE, *REALLY, *SHORTER, *FIRST_REMOVED]
    assert [beginning for beginning in named if not any(text.startswith(beginning) for text in texts)] == []
    pages = "".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
    assert [name for name in [*PLACES, *map(str, BEFORE)] if name not in pages and name not in PAGES] == []


def test_pages_have_what_is_looked_for() -> None:
    assert len(commands()) > 40 and len(fenced("python")) >= 2 and len(fenced("yaml")) >= 2
    assert len(runnable()) > 35


@pytest.mark.parametrize("said", links(), ids=lambda said: f"{said.page}: {said.text}")
def test_link_leads_somewhere(said: Said) -> None:
    assert ((ROOT / said.page).parent / said.text).exists()
