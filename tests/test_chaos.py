"""Runs that are killed, that fill the disk, or that may not write: they say so, and finished work stays finished."""

import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.checkout import TABLE, copy_clone, environment, finished_jobs, made, snakemake, succeed

pytestmark = pytest.mark.slow

RUN = ["--rerun-incomplete", "--config", "seeds=[1]", "bootstrap_samples=100", "baselines=[linear]"]
RUN += ["train={pretrain_epochs: 2, fusion_steps: 4, schedule_epochs: 3, batch_size: 4}", "--", TABLE]
KILLS = 30
LONGEST_S = 12.0  # until a kill; planning alone takes two to four seconds


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, described_demo: Path) -> Path:
    """A clone whose demo corpus is there, and nothing that was made of it."""
    folder = copy_clone(described_demo, tmp_path_factory.mktemp("chaos") / "base")
    shutil.rmtree(folder / "work/demo")
    for name in ("logs", "benchmarks"):
        shutil.rmtree(folder / name)
    succeed(snakemake(folder, "work/demo/manifest.csv"))
    return folder


@pytest.fixture(scope="module")
def undisturbed(base: Path) -> dict[str, bytes]:
    """What a run that nothing disturbs makes."""
    folder = copy(base, "undisturbed")
    succeed(snakemake(folder, *RUN))
    return made(folder)


def copy(base: Path, name: str) -> Path:
    return copy_clone(base, base.with_name(name))


def killed_run(folder: Path, after_s: float) -> tuple[str, bool]:
    """What a run says until SIGKILL ends it and all that it started, and whether it did not end before."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *RUN]
    log = folder / "killed.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            command, cwd=folder, env=environment(), stdout=said, stderr=said, start_new_session=True
        )
        try:
            process.wait(after_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return log.read_text(errors="replace"), process.returncode == -signal.SIGKILL


def test_killed_thirty_times(base: Path, undisturbed: dict[str, bytes]) -> None:
    folder = copy(base, "killed")
    moments = random.Random(7)
    done: list[str] = []
    kills = left_behind = 0
    for _ in range(KILLS):
        said, killed = killed_run(folder, moments.uniform(2, LONGEST_S))
        done += finished_jobs(said)
        kills += killed
        left_behind += len(list(folder.glob("work/**/.partial-*")) + list(folder.glob("results/**/.partial-*")))
        snakemake(folder, "--unlock")
    last = succeed(snakemake(folder, *RUN))
    done += finished_jobs(last.stderr + last.stdout)
    assert made(folder) == undisturbed
    # A kill between a job's end and the line that says so leaves it out of this list; most are in it.
    assert len(done) >= 15 and [job for job, times in Counter(done).items() if times > 1] == []
    assert kills >= KILLS // 2  # the others found nothing left to do
    assert left_behind  # at least one kill came while something was written


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """A file system at a folder, which keeps its files; skips the test where none may be mounted."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system may be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_full_disk_is_told_and_costs_nothing_finished(base: Path, undisturbed: dict[str, bytes]) -> None:
    folder = copy(base, "full")
    with mounted(folder / "work/demo/features", "-t", "tmpfs", "-o", "size=64k", "tmpfs"):
        failed = snakemake(folder, "--keep-going", *RUN)
        assert failed.returncode != 0 and "No space left on device" in failed.stdout + failed.stderr
        assert not list(folder.glob("work/**/.partial-*"))
        done = finished_jobs(failed.stderr + failed.stdout)
        subprocess.run(["mount", "-o", "remount,size=64m", str(folder / "work/demo/features")], check=True)
        last = succeed(snakemake(folder, *RUN))
        assert made(folder) == undisturbed
        assert not set(done) & set(finished_jobs(last.stderr + last.stdout))


def test_read_only_results_are_told(base: Path, undisturbed: dict[str, bytes]) -> None:
    folder = copy(base, "readonly")
    results = folder / "results"
    with mounted(results, "-t", "tmpfs", "-o", "ro", "tmpfs"):
        failed = snakemake(folder, "--keep-going", *RUN)
        said = failed.stdout + failed.stderr
        assert failed.returncode != 0 and "Read-only file system" in said and "results" in said
        subprocess.run(["mount", "-o", "remount,rw", str(results)], check=True)
        last = succeed(snakemake(folder, *RUN))
        assert made(folder) == undisturbed
        assert not set(finished_jobs(said)) & set(finished_jobs(last.stderr + last.stdout))
