"""Tests of the package, of the workflow and of the documentation."""

import os

# Each worker of pytest-xdist, and each process that a test starts, computes with one thread: several would wait for
# each other. This is read when libraries are loaded, so it comes before them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
