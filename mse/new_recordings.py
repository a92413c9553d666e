"""New recordings through the workflow's own stages, in a folder laid out as the workflow's.

So `mse show` can look at it afterwards, and every number is the one that the workflow would make. Nothing here imports
torch: the stages run in processes that start faster without.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import chain, count
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mse import progress
from mse.config import (
    Cut,
    Extraction,
    FacialSettings,
    QualitySettings,
    SegmentSettings,
    SpeechModelSettings,
    TranscribeSettings,
    acoustic_settings,
)
from mse.corpus import MANIFEST_COLUMNS, write_manifest
from mse.errors import UserError
from mse.fetch import model_folder
from mse.progress import say
from mse.quality import make_quality
from mse.rows import read_shard
from mse.stages import SPEECH_MODEL_THREADS

if TYPE_CHECKING:
    from mse.pipeline import Pipeline

SHARD = "0000"
NAME = "new"  # of the corpus that the recordings make up
PROCESSES = 2  # faces beside sound and words
LAST_LINES = 5  # of a log


def shard_paths(folder: Path, pipeline: "Pipeline", modality: str) -> list[Path]:
    """Where the shard of each set of a modality lies."""
    if modality == "facial":
        return [folder / "features" / "facial" / f"{SHARD}.h5"] if pipeline.facial else []
    return [folder / "features" / "acoustic" / name / f"{SHARD}.h5" for name in pipeline.acoustic]


def extract(
    recordings: Sequence[Path],
    folder: Path,
    pipeline: "Pipeline",
    transcribe: TranscribeSettings,
    cut: Cut | None,
    models: Path,
    device: str,
    audio_track: int | None = None,
) -> None:
    """Cut, describe and transcribe recordings as the clips were that an adapter was trained on.

    Args:
        recordings: media files.
        folder: to fill, new or empty; laid out as work/CORPUS.
        pipeline: what the adapter must be given.
        transcribe: how to recognise words, where the adapter reads any.
        cut: where to cut recordings into utterances; None: each is one.
        models: folder of all fetched models.
        device: of speech models: auto, cpu or cuda.
        audio_track: which audio track of the recordings, from 1; None for the default one, whatever training took.

    Raises:
        UserError: the folder holds something, a model is missing, or a stage failed.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f"{folder}: holds other things, which would be lost; name another folder, or empty this one")
    at_sentences = cut is not None and cut.at == "sentences"
    _require_models(pipeline.extractors(transcribe.model if pipeline.reads_text or at_sentences else ""), models)
    noted = pipeline.extraction or Extraction()
    sound, facts = folder / "segments" / f"{SHARD}.h5", folder / "segments" / f"{SHARD}.csv"
    with _workers(folder / "extraction.log") as run:
        rows = [(name, str(path), np.nan, np.nan) for name, path in zip(_names(recordings), recordings, strict=True)]
        if cut:
            say(f"looking for utterances in {len(rows)} recordings")
            rows = run(_cut, rows, folder, cut, transcribe, pipeline.language, models, audio_track).result()
        table = pd.DataFrame(rows, columns=["clip_id", "media", "start_s", "end_s"])
        table = table.assign(split="test", speaker="", text="", label="", shard=SHARD)
        nobody = pd.DataFrame({"clip_id": [], "reason": []})
        write_manifest(table[MANIFEST_COLUMNS], nobody, folder / "manifest.csv")
        segment = noted.segment.model_copy(update={"audio_track": audio_track})
        run(_segment, folder / "manifest.csv", sound, facts, segment).result()
        say("sound cut")
        jobs = {}
        if pipeline.facial:
            jobs["faces"] = run(_facial, facts, sound, folder, pipeline.facial.settings, models)
        if pipeline.reads_text:
            jobs["words"] = run(_transcribe, sound, folder, pipeline.language, transcribe, models)
        for name, made in pipeline.acoustic.items():
            jobs[f"sound by {name}"] = run(_acoustic, sound, folder, name, made.settings, models, device)
        say(f"describing {', '.join(jobs)}")
        for what, job in jobs.items():
            job.result()
            say(f"{what} described" if what != "words" else "words recognised")
    _judge(folder, pipeline, facts, noted.quality)


def _require_models(names: Sequence[str], models: Path) -> None:
    """Tell all that is missing at once, before anything is computed."""
    missing = [
        name
        for name in names
        if not any(folder.is_dir() for folder in (models / name.replace("/", "--"), Path(name).expanduser()))
    ]
    if missing:
        raise UserError(f"not in {models}: {', '.join(missing)}; `mse fetch {' '.join(missing)}` gets what is missing")


@contextmanager
def _workers(log: Path) -> Iterator[Callable[..., "Future[Any]"]]:
    """Processes that do one stage after another; what their libraries say goes to a log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"  # as Snakemake has it for these stages
    # Spawned: MediaPipe's and torch's threads do not survive a fork.
    pool = ProcessPoolExecutor(PROCESSES, get_context("spawn"), _apart, (log, progress.SharedTerminal()))
    try:
        yield pool.submit
    except BrokenProcessPool as e:
        said = log.read_text(errors="replace").splitlines()[-LAST_LINES:] if log.is_file() else []
        told = "a process that extracts was ended from outside, perhaps for want of memory; try fewer recordings"
        raise UserError("\n".join([told, *said])) from e
    finally:
        pool.shutdown(cancel_futures=True)
        os.environ.pop("OMP_NUM_THREADS") if before is None else os.environ.update(OMP_NUM_THREADS=before)


def _apart(log: Path, terminal: progress.SharedTerminal) -> None:
    """Progress goes to the terminal, what libraries write to standard error to a log."""
    progress.take_terminal(terminal)
    progress.bars = False
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, progress.STDERR)
    os.close(handle)


def _names(recordings: Sequence[Path]) -> list[str]:
    """A name for each recording: that of its file, with a number where two are alike."""
    names: dict[str, None] = {}  # in order
    for path in recordings:
        numbered = (f"{path.stem}_{number}" for number in count(2))
        name = next(name for name in chain([path.stem], numbered) if name not in names)
        if name != path.stem:
            say(f"{path}: its clips are called {name}, since another recording is called {path.stem}")
        names[name] = None
    return list(names)


def _cut(
    rows: Sequence[tuple[str, str, float, float]],
    folder: Path,
    cut: Cut,
    transcribe: TranscribeSettings,
    language: str,
    models: Path,
    audio_track: int | None,
) -> list[tuple[str, str, float, float]]:
    from mse.features.speech import Recogniser
    from mse.rows import Window
    from mse.utterances import cut_shard, read_utterances

    recognise = (
        Recogniser(transcribe, model_folder(transcribe.model, models), language) if cut.at == "sentences" else None
    )
    cut_shard([Window(*row, SHARD) for row in rows], folder / "utterances.csv", cut, recognise, audio_track)
    found = read_utterances(folder / "utterances.csv")
    media_of = {name: media for name, media, _, _ in rows}
    utterances, whole = [], 0
    for name, spans in found.groupby("recording", sort=False):
        times = spans.dropna(subset=["start_s"])
        for message in spans["message"][spans["start_s"].isna()]:
            say(message if len(times) else f"{message}; taken as one utterance")
        whole += times.empty
        # All are numbered, so that no two recordings can make the same name.
        for number, row in enumerate((spans if times.empty else times).itertuples(), 1):
            utterances.append((f"{name}_{number:04d}", media_of[str(name)], row.start_s, row.end_s))
    say(f"{len(utterances) - whole} utterances in {len(rows) - whole} recordings")
    return utterances


def _segment(manifest: Path, sound: Path, facts: Path, settings: SegmentSettings) -> None:
    from mse.segment import segment_shard

    segment_shard(read_shard(manifest, SHARD), sound, facts, NAME, settings)


def _acoustic(sound: Path, folder: Path, name: str, said: Mapping[str, Any], models: Path, device: str) -> None:
    from mse.extract import acoustic_shard

    settings = acoustic_settings(json.dumps({key: value for key, value in said.items() if key != "weights_digest"}))
    model = model_folder(settings.model, models) if isinstance(settings, SpeechModelSettings) else None
    threads = SPEECH_MODEL_THREADS if model else 1
    acoustic_shard(sound, folder / "features" / "acoustic" / name / f"{SHARD}.h5", settings, model, device, threads)


def _facial(facts: Path, sound: Path, folder: Path, said: Mapping[str, Any], models: Path) -> None:
    from mse.extract import facial_shard

    settings = FacialSettings.model_validate(said)
    model = models / "face_landmarker" / "face_landmarker.task"
    facial_shard(facts, sound, folder / "features" / "facial" / f"{SHARD}.h5", NAME, settings, model)


def _transcribe(sound: Path, folder: Path, language: str, settings: TranscribeSettings, models: Path) -> None:
    from mse.transcribe import transcribe_shard

    out = folder / "transcripts" / f"{SHARD}.csv"
    transcribe_shard(sound, out, language, settings, model_folder(settings.model, models))


def _judge(folder: Path, pipeline: "Pipeline", facts: Path, limits: QualitySettings) -> None:
    """quality.csv of the clips, by the limits that held in training."""
    shards = {
        f"acoustic/{name}": [path]
        for name, path in zip(pipeline.acoustic, shard_paths(folder, pipeline, "acoustic"), strict=True)
    }
    if pipeline.facial:
        shards["facial"] = shard_paths(folder, pipeline, "facial")
    heard = [folder / "transcripts" / f"{SHARD}.csv"] if pipeline.reads_text else []
    make_quality(
        folder / "manifest.csv",
        [facts],
        shards,
        heard,
        "asr" if heard else "none",
        folder / "quality.csv",
        pipeline.language,
        limits,
    )
