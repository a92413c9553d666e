"""Debian packages that some tests need: used where they are, installed where a machine is thrown away afterwards."""

import os
import shutil
import subprocess
from collections.abc import Sequence

MAY_INSTALL = "MSE_TEST_INSTALL"


def why_missing(programs: Sequence[str], packages: Sequence[str]) -> str:
    """Why these programs are not here; empty where they are, after they were installed if that may be done."""
    if all(map(shutil.which, programs)):
        return ""
    missing = f"{', '.join(packages)} not installed"
    if not os.environ.get(MAY_INSTALL):
        return f"{missing}; {MAY_INSTALL}=1 lets the test install what Debian has"
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return f"{missing}, and only root can do that, with apt-get"
    for step in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        done = subprocess.run(["apt-get", "-qq", *step], capture_output=True, text=True, env=quiet, check=False)
        if done.returncode:
            return f"apt-get {step[0]} failed: {done.stderr[-300:]}"
    return "" if all(map(shutil.which, programs)) else f"{', '.join(packages)}: without {', '.join(programs)}"
