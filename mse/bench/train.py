"""Our training step and evaluation batch beside the published procedure's, from one run.

Each side is a process of its own with the same LLM, batches and words, so that its peak memory is its own. The sides
take turns, so that what else the machine does falls on all of them; what counts are the ratios.
"""

import math
import multiprocessing
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import torch

from mse.adapter import AdapterConfig, MSEAdapter
from mse.adapter.published import PUBLISHED
from mse.answer import answer_batch
from mse.backbones.load import load_config
from mse.bench.plain import PlainProcedure
from mse.config import AdapterSettings, Backbone, TrainSettings
from mse.data import Batch, ClipDataset, bucketed, collate, task_of
from mse.errors import UserError
from mse.labels import label_text
from mse.progress import SharedTerminal, say, take_terminal, track
from mse.ready import chosen_device, load_llm, reproducible, wording
from mse.train import Trainer

WARM_UP = 2  # rounds that are not counted
SPREAD = 0.4  # of the logarithm of text lengths, where they are asked for


@dataclass(frozen=True)
class Job:
    """What all sides do.

    Attributes:
        dataset_path: dataset.h5.
        llm_folder: the LLM.
        backbone: its marks and dtype.
        settings: batch size, threads, device.
        rounds: how often, warm-up apart.
        words: median length that texts are brought to by repeating or cutting them; None: as they are.
        profile: how many operations to list of each; 0: none.
        seed: of weights and batches.
    """

    dataset_path: Path
    llm_folder: Path
    backbone: Backbone
    settings: TrainSettings
    rounds: int
    words: int | None
    profile: int = 0
    seed: int = 0


def bench_train(job: Job) -> pd.DataFrame:
    """Measure all sides.

    Args:
        job: what they do.

    Returns:
        A row a side and measure: seconds of reading texts beforehand, once; seconds (median) of a step and of an
        evaluation batch, peak memory in GB, that above the loaded LLM, and each as a ratio to the published procedure
        (median over rounds). With `job.profile` also the operations that most of a step's and an evaluation batch's
        time goes to, as shares of it.
    """
    sides = ["plain", "before_text", "after_text"]
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    workers: list[Any] = []
    beforehand: dict[str, float] = {}
    for side in sides:
        ours, theirs = context.Pipe()
        worker = context.Process(target=_serve, args=(theirs, job, side, SharedTerminal()), daemon=True)
        worker.start()
        theirs.close()
        pipes[side], workers = ours, [*workers, worker]
        beforehand[side] = _ask(ours)
        say(f"{side}: ready")
    seconds: dict[tuple[str, str], list[float]] = {}
    rounds = range(WARM_UP + job.rounds)
    for number in track(rounds, "benchmark", len(rounds), "rounds"):
        for what in ("step", "evaluate"):
            for side in sides:
                pipes[side].send((what, number))
                took = _ask(pipes[side])
                if number >= WARM_UP:
                    seconds.setdefault((side, what), []).append(took)
    memory, shares = {}, {}
    for side in sides:
        pipes[side].send(("memory", 0))
        memory[side] = _ask(pipes[side])
        pipes[side].send(("profile", 0))
        shares[side] = _ask(pipes[side])
        pipes[side].send(None)
    for worker in workers:
        worker.join()
    rows = [
        {"side": side, "measure": "texts beforehand (s)", "value": took, "ratio": math.nan}
        for side, took in beforehand.items()
    ]
    for (side, what), values in seconds.items():
        ratio = median(mine / plain for mine, plain in zip(values, seconds["plain", what], strict=True))
        rows.append({"side": side, "measure": f"{what} (s)", "value": median(values), "ratio": ratio})
    for place, name in enumerate(("peak memory (GB)", "above the LLM (GB)")):
        for side, held in memory.items():
            rows.append(
                {"side": side, "measure": name, "value": held[place], "ratio": held[place] / memory["plain"][place]}
            )
    for side, found in shares.items():
        rows += [
            {"side": side, "measure": f"share of {what}", "value": share, "ratio": math.nan} for what, share in found
        ]
    return pd.DataFrame(rows)


def _ask(pipe: Connection) -> Any:
    try:
        told = pipe.recv()
    except EOFError as e:
        raise UserError("mse bench train: a side of the benchmark died; its message stands above") from e
    if isinstance(told, UserError):
        raise told
    return told


def _serve(pipe: Connection, job: Job, side: str, terminal: SharedTerminal) -> None:
    """A side's process."""
    take_terminal(terminal)
    try:
        _work(pipe, job, side)
    except UserError as e:
        pipe.send(e)


def _work(pipe: Connection, job: Job, side: str) -> None:
    """Load a side, then do what is asked for until None comes."""
    reproducible(job.settings.threads)
    with ClipDataset(job.dataset_path) as dataset:
        if job.words is not None:
            dataset.texts = _of_length(dataset.texts, job.words, job.seed)
        side_of = _Plain if side == "plain" else _Ours
        mine = side_of(job, dataset, side)
        batches = _batches(dataset, mine.lengths, job)
        held = _memory(mine.device)
        _forget_peak(mine.device)
        pipe.send(mine.read_beforehand())
        while (asked := pipe.recv()) is not None:
            what, number = asked
            if what == "memory":
                peak = _memory(mine.device, peak=True)
                pipe.send((peak, peak - held))
                continue
            if what == "profile":
                pipe.send(_shares(mine, batches[0], job.profile))
                continue
            do: Callable[[Batch], Any] = getattr(mine, what)
            start = time.perf_counter()
            do(batches[number % len(batches)])
            if mine.device.type == "cuda":
                torch.cuda.synchronize()
            pipe.send(time.perf_counter() - start)


def _shares(mine: Any, batch: Batch, most: int) -> list[tuple[str, float]]:
    """The operations that most time goes to, those they call left out, as shares of a step's and a batch's time."""
    found = []
    for what in ("step", "evaluate") if most else ():
        with torch.profiler.profile() as profile:
            getattr(mine, what)(batch)
        times = {each.key: each.self_cpu_time_total + each.self_device_time_total for each in profile.key_averages()}
        for name in sorted(times, key=times.__getitem__, reverse=True)[:most]:
            found.append((f"{what}: {name}", times[name] / sum(times.values())))
    return found


class _Ours:
    """Our procedure, with pseudo tokens before or after the text."""

    def __init__(self, job: Job, dataset: ClipDataset, side: str) -> None:
        shape = AdapterSettings.model_validate({"placement": side})
        self.labels = label_text(task_of(dataset), job.backbone.explicit_plus)
        self.llm = load_llm(job.llm_folder, job.backbone, dataset, self.labels, job.settings, shape, training=True)
        self.device = self.llm.device
        adapter = _adapter(dataset, self.llm.width, self.llm.embedding_rms, shape, job.seed).to(self.device)
        self.trainer = Trainer(dataset, self.llm, adapter, self.labels, job.settings, job.seed)
        self.texts = [dataset.texts[clip] for clip in self.trainer.train]
        self.lengths = self.trainer.lengths
        self.step = self.trainer.step

    def read_beforehand(self) -> float:
        """Read texts that pseudo tokens follow; returns seconds."""
        start = time.perf_counter()
        self.llm.read_beforehand(self.texts, self.trainer.settings.batch_size)
        return time.perf_counter() - start

    def evaluate(self, batch: Batch) -> Any:
        """What validation does with a batch."""
        adapter, decoding = self.trainer.adapter.eval(), self.trainer.settings.decoding
        return answer_batch(self.llm, adapter, batch, [decoding])


class _Plain:
    """The published procedure."""

    def __init__(self, job: Job, dataset: ClipDataset, side: str) -> None:
        shape = AdapterSettings(**PUBLISHED)
        dataset.preamble = ""  # examples before the clip are ours
        labels = label_text(task_of(dataset), job.backbone.explicit_plus)
        words = wording(job.llm_folder, job.backbone, dataset, labels, job.settings, shape)
        width = load_config(job.llm_folder).get_text_config().hidden_size
        adapter = _adapter(dataset, width, 1.0, shape, job.seed)
        self.device = chosen_device(job.settings.device)
        settings = job.settings.model_copy(update={"adam_eps": 1e-4})
        self.procedure = PlainProcedure(job.llm_folder, job.backbone, words, adapter, labels, settings, self.device)
        self.lengths = [len(words.text_ids(dataset.texts[clip])) for clip in dataset.indices("train")]
        self.step, self.evaluate = self.procedure.step, self.procedure.evaluate

    def read_beforehand(self) -> float:
        """Nothing is."""
        return 0.0


def _adapter(dataset: ClipDataset, width: int, rms: float, shape: AdapterSettings, seed: int) -> MSEAdapter:
    torch.manual_seed(seed)
    widths = {f"{name}_width": dataset.widths[name] for name in ("acoustic", "facial")}
    return MSEAdapter(AdapterConfig(**widths, text_width=width, embedding_rms=rms, settings=shape))


def _batches(dataset: ClipDataset, lengths: list[int], job: Job) -> list[Batch]:
    """Training batches in the order of training, the same for all sides."""
    train = dataset.indices("train")
    order = bucketed(lengths, job.settings.batch_size, torch.Generator().manual_seed(job.seed))
    whole = [batch for batch in order if len(batch) == job.settings.batch_size][: WARM_UP + job.rounds]
    if not whole:
        raise UserError(
            f"{dataset.path}: {len(train)} clips to train on, fewer than a batch of {job.settings.batch_size}"
        )
    return [collate([dataset[train[place]] for place in batch]) for batch in whole]


def _of_length(texts: list[str], words: int, seed: int) -> list[str]:
    """Texts repeated or cut, word by word, to lengths around a median."""
    drawn = random.Random(seed)
    changed = []
    for text in texts:
        own = text.split() or ["so"]
        count = max(1, round(words * drawn.lognormvariate(0, SPREAD)))
        changed.append(" ".join((own * (count // len(own) + 1))[:count]))
    return changed


def _forget_peak(device: torch.device) -> None:
    """Count peak memory from here on.

    Raises:
        UserError: the system does not let us; loading would be counted as work.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError as e:
        raise UserError(f"/proc/self/clear_refs: can't be written ({e}), so that peak memory can't be measured") from e


def _memory(device: torch.device, peak: bool = False) -> float:
    """GB that this process holds or held at most: on a GPU what torch allocated, else resident memory."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated() if peak else torch.cuda.memory_allocated()) / 1e9
    key = "VmHWM" if peak else "VmRSS"
    found = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 / 1e9 if found else float("nan")
