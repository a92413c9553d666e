"""The workflow on a real SLURM with the project's profile: a whole run, and what happens when nodes and jobs die."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.checkout import CLIPS, SEEDS, TABLE, check_out, snakemake
from tests.slurm_cluster import FLAGS, Cluster, why_not

PROFILE = ["--workflow-profile", "workflow/profiles/slurm"]
FEW = ["train={pretrain_epochs: 1, schedule_epochs: 1, batch_size: 4}", "baselines=[zero-shot, linear]"]
WAIT_S = 300.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    if reason := why_not():
        pytest.skip(reason)
    with Cluster() as started:
        yield started


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, models: Callable[[str], Path], cluster: Cluster) -> Path:
    """A demo corpus taken to its table, by the login node's one command."""
    folder = tmp_path_factory.mktemp("on a cluster")
    check_out(folder, models)
    targets = [TABLE, "results/demo/smollm2/figures/predictions.svg"]
    done = snakemake(folder, *PROFILE, *FLAGS, *SEEDS, *FEW, "--", *targets, env=cluster.environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    return folder


def ended(cluster: Cluster) -> pd.DataFrame:
    """A row a job that ended: JobId, Name, JobState, NodeList and what else SLURM keeps."""
    lines = cluster.jobs_file.read_text().splitlines()
    return pd.DataFrame([dict(part.split("=", 1) for part in line.split() if "=" in part) for line in lines])


def test_whole_run_on_the_cluster(finished: Path, cluster: Cluster) -> None:
    metrics = pd.read_csv(finished / TABLE)
    assert (metrics["n"] == CLIPS["test"]).all() and {"smollm2", "zero-shot", "linear"} <= set(metrics["model"])
    assert (pd.read_csv(finished / "work/demo/quality.csv")["use"] == "full").all()
    jobs = ended(cluster)
    assert set(jobs["JobState"]) == {"COMPLETED"} and jobs["NodeList"].nunique() > 1
    # Sound is cut and described in one job for each of four shards; the table and its figure are one.
    groups = jobs["Comment"].str.extract(r"group_(\w+)")[0] if "Comment" in jobs else None
    assert groups is None or groups.value_counts().to_dict() == {"sound": 4, "table": 1}
    assert not list((finished / "logs/slurm").rglob("*.log"))  # of failed jobs alone
