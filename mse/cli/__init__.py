"""The command line: one subcommand an arrow of the pipeline, each usable alone.

Libraries that the subcommands need are imported inside them, so that `mse --help` answers at once.
"""

import io
import os
import sys

from mse.cli import bench, browse, corpus, features, model, predict, provenance, results, show
from mse.cli.options import app
from mse.errors import MISSING_LIBRARY, UserError
from mse.progress import claim_terminal, terminal

__all__ = ["app", "bench", "browse", "corpus", "features", "main", "model", "predict", "provenance", "results", "show"]


def main() -> None:
    """Run the command line; a UserError is shown as one message, without a traceback."""
    accept_all_characters()
    claim_terminal()
    # Threads that wait for each other leave the processors to other jobs; else they count in circles meanwhile.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except UserError as e:
        print(f"error: {e}", file=terminal())
        sys.exit(1)
    except ImportError as e:
        if ".so" not in str(e):
            raise
        print(f"error: {e}: {MISSING_LIBRARY}", file=terminal())
        sys.exit(1)


def accept_all_characters() -> None:
    """Let output survive a terminal or locale that lacks some characters: they are written as escapes.

    Rich draws its boxes in ASCII where the encoding is not UTF-8, and tqdm its bars.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None without a terminal on some systems
            stream.reconfigure(errors="backslashreplace")
