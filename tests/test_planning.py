"""The workflow's plan for a corpus of MOSEI's size: a few hundred jobs, in little memory."""

import re
import shutil
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import pandas as pd

from tests.checkout import TABLE, check_out, planned, snakemake
from tests.command_line import mse
from tests.conftest import ROOT

VIDEOS, CLIPS_EACH = 2300, 10
MOST_JOBS, MOST_GB = 600, 1.0


def test_twenty_three_thousand_clips_are_a_few_hundred_jobs(tmp_path: Path) -> None:
    for name in ("Snakefile", "workflow", "config", "environment.yml"):
        source = ROOT / name
        shutil.copytree(source, tmp_path / name) if source.is_dir() else shutil.copy(source, tmp_path / name)
    (tmp_path / "resources").mkdir()
    for path in (ROOT / "resources").glob("*.yaml"):
        shutil.copy(path, tmp_path / "resources")
    corpus = tmp_path / "data" / "mosei"
    rows = []
    for video in range(VIDEOS):
        folder = corpus / "Raw" / f"video{video:04d}"
        folder.mkdir(parents=True)
        for clip in range(CLIPS_EACH):
            (folder / f"{clip}.mp4").touch()
            split = ("train", "train", "valid", "test")[video % 4]
            rows.append((folder.name, clip, "some words", (video % 61 - 30) / 10, split))
    columns = ["video_id", "clip_id", "text", "label", "mode"]
    pd.DataFrame(rows, columns=columns).to_csv(corpus / "label.csv", index=False)

    with chdir(tmp_path):
        done = mse("manifest", "config/datasets/mosei.yaml", "--out", "work/mosei/manifest.csv")
    assert done.returncode == 0, done.stderr
    plan, kb = planned_in_kb(tmp_path)
    counts = {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", plan, flags=re.MULTILINE)}
    assert counts["facial"] == counts["acoustic"] == counts["segment"] == VIDEOS * CLIPS_EACH / 200
    assert counts["total"] <= MOST_JOBS
    assert kb < MOST_GB * 1e6


def test_what_a_run_would_do_is_told_before_anything_is_made(tmp_path: Path) -> None:
    """As in a fresh clone whose models were fetched: what jobs ask for may look at files that are not there yet."""
    check_out(tmp_path)
    for profile in ([], ["--workflow-profile", "workflow/profiles/slurm"]):
        done = snakemake(tmp_path, *profile, "--dry-run", "--", TABLE)
        assert done.returncode == 0, done.stderr[-3000:]
        counts = planned(done)
        assert counts["manifest"] == counts["linear"] == counts["score"] == 1 and counts["train"] >= 3


def planned_in_kb(folder: Path) -> tuple[str, int]:
    """The plan, and the memory that it took in kB, measured in a process that has no other child."""
    code = (
        "import resource, subprocess, sys; "
        "plan = [sys.executable, '-m', 'snakemake', '--cores', '2', '--dry-run', 'work/mosei/dataset.h5']; "
        "subprocess.run(plan, check=True); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    plan, _, kb = done.stdout.rstrip().rpartition("\n")
    return plan, int(kb)
