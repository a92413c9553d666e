"""A training run's state on disk after each epoch, so that one that was killed goes on where it was."""

import hashlib
import time
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from mse.adapter import AdapterConfig
from mse.atomic import remove_abandoned, replacing
from mse.progress import say
from mse.stages import STAGES

STATE_NAME = ".training.pt"  # beside the adapter, until something uses that
SELDOM = 10  # times as long as saving takes


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        rows: of history.csv, one an epoch.
        best: the best validation so far, more is better.
        best_epoch: its epoch.
        best_weights: the adapter's then.
    """

    rows: list[dict[str, float]] = field(default_factory=list)
    best: float = -float("inf")
    best_epoch: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    @property
    def epoch(self) -> int:
        """Epochs that are finished."""
        return len(self.rows)


class Saving:
    """When a state is due to be saved: seldom enough that writing takes a tenth of the time at most."""

    def __init__(self) -> None:
        self._took, self._ended = 0.0, time.monotonic()

    def due(self) -> bool:
        """Whether enough time has gone by."""
        return time.monotonic() - self._ended >= SELDOM * self._took

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._ended = time.monotonic()
        self._took = self._ended - self._began


def fingerprint(config: AdapterConfig, dataset_path: Path, device: torch.device, fusion: Mapping[str, Tensor]) -> str:
    """What a run's numbers depend on; the state of another one is not taken up.

    Args:
        config: of the adapter: LLM, settings, seed, features.
        dataset_path: dataset.h5.
        device: where it computes.
        fusion: weights that its fusion begins with, if they are not drawn by its seed.

    Returns:
        a digest, in hexadecimal digits.
    """
    begins = "".join(hashlib.sha256(value.numpy().data).hexdigest() for _, value in sorted(fusion.items()))
    code = f"{STAGES['train']} {torch.__version__} {transformers.__version__} {device}"
    return hashlib.sha256(
        f"{config.model_dump_json()} {code} {begins}".encode() + dataset_path.read_bytes()
    ).hexdigest()


def save_state(folder: Path, run: str, progress: Progress, parts: dict[str, Any]) -> None:
    """Write the state, whole or not at all.

    Args:
        folder: of the adapter.
        run: its fingerprint.
        progress: how far it is.
        parts: what has a `state_dict`: adapter, optimiser, schedule; and `generator`.
    """
    # Plain numbers, for nothing else is read back.
    progress.rows = [{name: float(value) for name, value in row.items()} for row in progress.rows]
    states = {name: part.get_state() if name == "generator" else part.state_dict() for name, part in parts.items()}
    with replacing(folder / STATE_NAME) as partial:
        torch.save({"run": run, "progress": asdict(progress), "states": states}, partial)


def load_state(folder: Path, run: str, parts: dict[str, Any]) -> Progress:
    """Put a run's parts into the state that it was in; without one of the same run nothing happens.

    Args:
        folder: of the adapter.
        run: its fingerprint.
        parts: as for `save_state`.

    Returns:
        how far it is.
    """
    path = folder / STATE_NAME
    if not path.is_file():
        return Progress()
    try:
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():  # torch leaves its own checksums alone
                raise ValueError(f"the checksum of {damaged} differs")
        saved = torch.load(path, weights_only=True, map_location="cpu")
        same = saved["run"] == run
        progress = Progress(**{each.name: saved["progress"][each.name] for each in fields(Progress)})
        states = {name: saved["states"][name] for name in parts}
    except Exception as e:  # whatever a damaged file makes the library raise
        say(f"{path}: can't be read ({(str(e) or type(e).__name__).splitlines()[0]}); training begins anew")
        return Progress()
    if not same:
        say(f"{path}: of a run with other settings, features, LLM, versions or device; training begins anew")
        return Progress()
    for name, part in parts.items():
        (part.set_state if name == "generator" else part.load_state_dict)(states[name])
    say(f"{path}: going on after epoch {progress.epoch}")
    return progress


def forget_state(folder: Path) -> None:
    """Remove the state of a run whose adapter is accepted, and what a kill left of writing it."""
    (folder / STATE_NAME).unlink(missing_ok=True)
    remove_abandoned(folder / STATE_NAME)
