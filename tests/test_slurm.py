"""The workflow on a real SLURM with the project's profile: a whole run, and one in which a node and jobs die."""

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from tests.checkout import CLIPS, TABLE, check_out_demo, made, require_described, snakemake
from tests.slurm_cluster import FLAGS, Cluster, why_not

pytestmark = pytest.mark.slow

PROFILE = ["--workflow-profile", "workflow/profiles/slurm"]
FEW = ["--config", "seeds=[1]", "bootstrap_samples=100", "baselines=[zero-shot, linear]"]
FEW += ["train={pretrain_epochs: 2, fusion_steps: 4, schedule_epochs: 2, batch_size: 4}"]
FIGURE = "results/demo/smollm2/figures/predictions.svg"
WAIT_S = 600.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    if reason := why_not():
        pytest.skip(reason)
    with Cluster() as started:
        yield started


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, models: Callable[[str], Path], cluster: Cluster) -> Path:
    """A demo corpus taken to its table, by the login node's one command."""
    folder = tmp_path_factory.mktemp("on a cluster") / "finished"
    folder.mkdir()
    check_out_demo(folder, models)
    done = snakemake(folder, *PROFILE, *FLAGS, *FEW, "--", TABLE, FIGURE, env=cluster.environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    return folder


def states(cluster: Cluster) -> pd.DataFrame:
    """Every job that ended: number, state and nodes."""
    found = re.findall(r"^JobId=(\d+) .*JobState=(\S+) .*NodeList=(\S+)", cluster.jobs_file.read_text(), re.MULTILINE)
    return pd.DataFrame(found, columns=["job", "state", "nodes"])


def test_whole_run_on_the_cluster(finished: Path, cluster: Cluster) -> None:
    metrics = pd.read_csv(finished / TABLE)
    assert (metrics["n"] == CLIPS["test"]).all() and {"smollm2", "zero-shot", "linear"} <= set(metrics["model"])
    require_described(pd.read_csv(finished / "work/demo/quality.csv"))
    jobs = states(cluster)
    assert set(jobs["state"]) == {"COMPLETED"} and jobs["nodes"].nunique() > 1
    # demo, manifest, quality, assemble, pretrain, train, zero-shot, linear, one group for the table and its figure, and
    # for each of three shards: sound as one group, faces, words.
    assert len(jobs) == 8 + 1 + 3 * 3
    assert not list((finished / "logs/slurm").rglob("*.log"))  # of failed jobs alone


def running(cluster: Cluster, rule: str) -> str:
    """A node on which a job of a rule runs; empty while there is none."""
    lines = cluster.run("squeue", "--noheader", "--states=R", "--format=%N %k").splitlines()
    return next((line.split()[0] for line in lines if f"rule_{rule}" in line), "")


def test_dead_node_and_too_little_memory_cost_attempts_alone(finished: Path, cluster: Cluster) -> None:
    folder = finished.with_name("disturbed")
    shutil.copytree(finished, folder, symlinks=True)
    for name in ("work", "results", "logs", ".snakemake"):
        shutil.rmtree(folder / name)
    before = len(states(cluster))
    # Faces take about 400 MB with what runs around them: the first attempt is killed.
    scarce = ["--set-resources", "facial:mem_mb=250*attempt"]
    command = [sys.executable, "-m", "snakemake", *PROFILE, *FLAGS, *scarce, *FEW, "--", TABLE, FIGURE]
    with (folder / "said.log").open("wb") as said:
        process = subprocess.Popen(command, cwd=folder, stdout=said, stderr=said, env=dict(cluster.environment))
        try:
            begun = time.monotonic()
            while not (node := running(cluster, "train")) and process.poll() is None:
                assert time.monotonic() - begun < WAIT_S
                time.sleep(1)
            assert node, (folder / "said.log").read_text()[-5000:]  # it ended before it trained
            cluster.crash(node)
            process.wait(WAIT_S)
        finally:
            process.kill()
            if node:
                cluster.up(node)
    told = (folder / "said.log").read_text()
    assert process.returncode == 0, told[-5000:]
    ended = states(cluster)[before:]
    assert "NODE_FAIL" in set(ended["state"]) and (ended["state"] == "FAILED").any()
    assert "Error in rule facial" in told and "Trying to restart job" in told
    assert made(folder) == made(finished)
