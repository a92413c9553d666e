"""Free memory, as the machine and the limits of control groups (version 2) tell it."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from mse.backbones import memory

MACHINE = 64 * 10**9
JOB = "slurm/job_7/step_0"
OTHERS = "12:memory:/elsewhere\n1:name=systemd:/\n"  # lines of version 1, where both are in use
Group = Callable[..., None]


@pytest.fixture()
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Group:
    """Writes the files of a control group; this process is in JOB, on a machine with 64 GB free."""
    membership = tmp_path / "self"
    membership.write_text(f"{OTHERS}0::/{JOB}\n")
    monkeypatch.setattr(memory, "CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "Path", {"/proc/self/cgroup": membership}.__getitem__)
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=MACHINE))

    def write(name: str, limit: int | str, used: int = 0, inactive_file: int = 0, active_file: int = 0) -> None:
        folder = tmp_path / "cgroup" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text(f"{used}\n")
        stat = f"anon 5\nfile 9\ninactive_file {inactive_file}\nactive_file {active_file}\n"
        (folder / "memory.stat").write_text(stat)

    return write


def test_machine_counts_where_no_group_has_a_limit(group: Group) -> None:
    assert memory.available(memory.CPU) == MACHINE  # no files at all
    group(JOB, "max", used=3 * 10**9)
    assert memory.available(memory.CPU) == MACHINE


def test_limit_counts_where_it_leaves_less_than_the_machine(group: Group) -> None:
    group(JOB, 10 * 10**9, used=4 * 10**9)
    assert memory.available(memory.CPU) == 6 * 10**9
    group(JOB, 100 * 10**9, used=4 * 10**9)
    assert memory.available(memory.CPU) == MACHINE


def test_file_cache_counts_as_free(group: Group) -> None:
    group(JOB, 10 * 10**9, used=9 * 10**9, inactive_file=5 * 10**9, active_file=2 * 10**9)
    assert memory.available(memory.CPU) == 8 * 10**9


@pytest.mark.parametrize("above", ["slurm/job_7", "slurm", ""])
def test_limit_of_a_group_above_counts_too(group: Group, above: str) -> None:
    group(JOB, "max")
    group(above, 8 * 10**9, used=10**9)
    assert memory.available(memory.CPU) == 7 * 10**9
    group(JOB, 2 * 10**9)
    assert memory.available(memory.CPU) == 2 * 10**9  # the least of them


def test_limits_of_other_groups_do_not_count(group: Group) -> None:
    group("slurm/job_8", 10**9)
    group("elsewhere", 10**9)
    assert memory.available(memory.CPU) == MACHINE
