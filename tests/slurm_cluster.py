"""A throw-away SLURM cluster on this machine: the real daemons, with several emulated nodes on loopback.

python -m tests.slurm_cluster COMMAND...    # start it, run a command on it, stop it; as root
"""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import psutil

from tests.debian import why_missing

PACKAGES = ["munge", "slurmctld", "slurmd", "slurm-client"]
PROGRAMS = ["munged", "slurmctld", "slurmd", "sbatch", "squeue", "sinfo", "srun", "scontrol"]
START_S, STOP_S = 60.0, 5.0
# Flags that this cluster needs beside the profile's: it has no database of accounts, and its jobs are short.
FLAGS = ["--slurm-init-seconds-before-status-checks", "1"]
FLAGS += ["--seconds-between-status-checks", "2", "--slurm-no-account"]

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={base}/munge.socket,cred_expire=15
CryptoType=crypto/munge
StateSaveLocation={base}/state
SlurmdSpoolDir={base}/spool/%n
SlurmdParameters=config_overrides
SlurmctldPidFile={base}/slurmctld.pid
SlurmdPidFile={base}/slurmd-%n.pid
SlurmctldLogFile={base}/log/slurmctld.log
SlurmdLogFile={base}/log/slurmd-%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill,UsePss
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={base}/log/jobs.txt
GresTypes=gpu
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
SlurmctldTimeout=60
SlurmdTimeout=20
InactiveLimit=0
KillWait=5
MinJobAge=300
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,batch_sched_delay=0
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE DefMemPerCPU=100 State=UP
"""


def why_not() -> str:
    """Why no cluster can be started here; empty where one can."""
    return "SLURM's daemons are started as root" if os.geteuid() != 0 else why_missing(PROGRAMS, PACKAGES)


class Cluster:
    """Started by `with`, stopped and removed at its end.

    Args:
        nodes: how many.
        cpus, memory_mb: of each, as SLURM is told; they share this machine's.

    Attributes:
        environment: for commands that talk to it.
        jobs_file: a line for each job that ended.
    """

    def __init__(self, nodes: int = 3, cpus: int = 4, memory_mb: int = 24000) -> None:
        self._base = Path(tempfile.mkdtemp(prefix="slurm-"))
        self._nodes = [f"node{number}" for number in range(1, nodes + 1)]
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        self._cpus, self._memory_mb = cpus, memory_mb
        self._control_port, *self._ports = _free_ports(1 + nodes)
        self.jobs_file = self._base / "log" / "jobs.txt"
        path = f"{self._base / 'bin'}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment: Mapping[str, str] = os.environ | {"PATH": path, "SLURM_CONF": str(self._base / "slurm.conf")}

    def __enter__(self) -> Self:
        try:
            self._write()
            key, channel = self._base / "munge.key", self._base / "munge.socket"
            files = [f"--{kind}-file={self._base}/munged.{kind}" for kind in ("pid", "log", "seed")]
            self._start("munged", ["munged", "--foreground", f"--key-file={key}", f"--socket={channel}", *files])
            self._wait(channel.exists, "munged")
            self._start("slurmctld", ["slurmctld", "-D", "-i"])
            for node in self._nodes:
                self.up(node)
            self._wait(lambda: self.states() == {node: "idle" for node in self._nodes}, "the nodes")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.run("scancel", "--user=root", check=False)
        for process in reversed(self._started.values()):
            process.terminate()
        for process in self._started.values():
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self._base, ignore_errors=True)

    def run(self, *command: str, check: bool = True) -> str:
        """Standard output of a command that talks to the cluster."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, timeout=60)
        assert not check or done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def states(self) -> dict[str, str]:
        """Each node's state."""
        lines = self.run("sinfo", "--noheader", "--Node", "--format=%N %t", check=False).splitlines()
        return dict(line.split() for line in lines)

    def jobs(self) -> dict[str, str]:
        """The node on which each running job runs."""
        return dict(line.split() for line in self.run("squeue", "--noheader", "-t", "R", "--format=%A %N").splitlines())

    def up(self, node: str) -> None:
        """Start a node's daemon."""
        self._start(node, ["slurmd", "-D", "-N", node])

    def crash(self, node: str) -> None:
        """A node dies as by a power cut: its daemon and all its jobs' processes are gone."""
        daemon = self._started.pop(node)
        for process in [daemon.pid, *_steps_of(node)]:
            _kill_tree(process)
        daemon.wait()
        self.run("scontrol", "update", f"nodename={node}", "state=down", "reason=crashed")

    def _write(self) -> None:
        for folder in ("state", "log", "bin", *(f"spool/{node}" for node in self._nodes)):
            (self._base / folder).mkdir(parents=True)
        self._base.chmod(0o755)
        key = self._base / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        nodes = "\n".join(
            f"NodeName={node} NodeHostname={node} NodeAddr=127.0.0.1 Port={port}"
            f" CPUs={self._cpus} RealMemory={self._memory_mb} Gres=gpu:1 State=UNKNOWN"
            for node, port in zip(self._nodes, self._ports, strict=True)
        )
        host = os.uname().nodename.partition(".")[0]
        text = CONFIGURATION.format(host=host, base=self._base, nodes=nodes, control_port=self._control_port)
        (self._base / "slurm.conf").write_text(text)
        # Of GPUs there is a name alone, so that what asks for one is told from what doesn't.
        (self._base / "gres.conf").write_text("Name=gpu File=/dev/null\n")
        # Within a job srun forgets where its configuration is.
        wrapper = self._base / "bin" / "srun"
        wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={self._base}/slurm.conf exec {shutil.which("srun")} "$@"\n')
        wrapper.chmod(0o755)

    def _start(self, name: str, command: Sequence[str]) -> None:
        with (self._base / "log" / f"{name}.out").open("ab") as said:
            self._started[name] = subprocess.Popen(
                command, stdout=said, stderr=said, env=self.environment, start_new_session=True
            )

    def _wait(self, ready: Callable[[], bool], what: str) -> None:
        begun = time.monotonic()
        while not ready():
            if time.monotonic() - begun > START_S:
                logs = "".join(f"{path.name}: {path.read_text()[-1500:]}\n" for path in self._base.glob("log/*"))
                raise RuntimeError(f"SLURM: {what} did not come up in {START_S:g} s\n{logs}")
            time.sleep(0.2)


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _steps_of(node: str) -> list[int]:
    """Processes that SLURM started on a node, by the name that it gave them."""
    mark = f"SLURMD_NODENAME={node}".encode()
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if mark in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0"):
                found.append(process.pid)
    return found


def _kill_tree(pid: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in [*process.children(recursive=True), process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()


def main() -> int:
    """Run a command on a cluster of its own."""
    if reason := why_not():
        print(reason, file=sys.stderr)
        return 1
    with Cluster() as cluster:
        return subprocess.run(sys.argv[1:] or ["sinfo"], env=cluster.environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
