"""New recordings through the workflow's own stages, in a folder laid out as the workflow's.

So `mse show` can look at it afterwards, and every number is the one that the workflow would make. Nothing here imports
torch: the stages run in processes that start faster without.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import chain, count, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

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
from mse.cut_words import CutWords
from mse.errors import UserError
from mse.extract import not_all_failed
from mse.fetch import model_folder
from mse.progress import say, track
from mse.quality import make_quality
from mse.rows import read_shard
from mse.segment import Facts, read_facts
from mse.stages import SPEECH_MODEL_THREADS
from mse.store import Clip, Description, Shard, write_shard
from mse.utterances import number_utterances, read_utterances
from mse.workers import PROCESSES, Workers, keep

if TYPE_CHECKING:
    from mse.features.speech import Recogniser
    from mse.pipeline import Pipeline

SHARD = "0000"
NAME = "new"  # of the corpus that the recordings make up
LEAST_RUN_S, LEAST_SHARE = 3.0, 0.01  # of clips whose faces are one job: seconds, and share of all
Row = tuple[str, str, float, float]  # clip_id, media, start_s and end_s of a recording or an utterance
Run = Callable[..., "Future[Any]"]  # starts a job


def shard_paths(folder: Path, pipeline: "Pipeline", modality: str) -> list[Path]:
    """Where the shard of each set of a modality lies."""
    if modality == "facial":
        return [folder / "features" / "facial" / f"{SHARD}.h5"] if pipeline.facial else []
    return [folder / "features" / "acoustic" / name / f"{SHARD}.h5" for name in pipeline.acoustic]


def extract(
    workers: Workers,
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
        workers: do the work.
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
    needs_whisper = at_sentences or pipeline.reads_text
    _require_models(pipeline.extractors(transcribe.model if needs_whisper else ""), models)
    noted, folder = pipeline.extraction or Extraction(), folder.absolute()
    whisper = _Whisper(transcribe, model_folder(transcribe.model, models).absolute(), pipeline.language)
    sound, facts = folder / "segments" / f"{SHARD}.h5", folder / "segments" / f"{SHARD}.csv"
    with workers.jobs(folder / "extraction.log") as run:
        rows = [(name, str(path), np.nan, np.nan) for name, path in zip(_names(recordings), recordings, strict=True)]
        if cut:
            say(f"looking for utterances in {len(rows)} recordings")
            rows = _cut_all(run, rows, folder, cut, whisper if at_sentences else None, audio_track)
        table = pd.DataFrame(rows, columns=["clip_id", "media", "start_s", "end_s"])
        table = table.assign(split="test", speaker="", text="", label="", shard=SHARD)
        nobody = pd.DataFrame({"clip_id": [], "reason": []})
        write_manifest(table[MANIFEST_COLUMNS], nobody, folder / "manifest.csv")
        segment = noted.segment.model_copy(update={"audio_track": audio_track})
        run(_segment, folder / "manifest.csv", sound, facts, segment).result()
        say("sound cut")
        jobs = {}
        for name, made in pipeline.acoustic.items():
            jobs[f"sound by {name}"] = run(_acoustic, sound, folder, name, made.settings, models.absolute(), device)
        if pipeline.reads_text:
            jobs["words"] = run(_transcribe, sound, folder, None if at_sentences else whisper)
        say(f"describing {', '.join([*(['faces'] if pipeline.facial else []), *jobs])}")
        if pipeline.facial:
            _describe_faces(run, facts, sound, folder, pipeline.facial.settings, models.absolute())
            say("faces described")
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


def _cut_all(
    run: Run,
    rows: Sequence[Row],
    folder: Path,
    cut: Cut,
    whisper: "_Whisper | None",
    audio_track: int | None,
) -> list[Row]:
    """The utterances of recordings, each recording a job; one without any is an utterance as a whole."""
    tables = [folder / "recordings" / f"{number:04d}.csv" for number in range(len(rows))]
    jobs = [run(_cut, row, out, cut, whisper, audio_track) for row, out in zip(rows, tables, strict=True)]
    utterances, whole = [], 0
    for (_, media, _, _), job, path in zip(rows, jobs, tables, strict=True):
        job.result()
        found = read_utterances(path)
        times = found.dropna(subset=["start_s"])
        for message in found["message"][found["start_s"].isna()]:
            say(message if len(times) else f"{message}; taken as one utterance")
        whole += times.empty
        # All are numbered, so that no two recordings can make the same name.
        spans = found if times.empty else times
        names = number_utterances(spans)
        utterances += list(zip(names, repeat(media), spans["start_s"], spans["end_s"]))
    say(f"{len(utterances) - whole} utterances in {len(rows) - whole} recordings")
    return utterances


def _cut(row: Row, out: Path, cut: Cut, whisper: "_Whisper | None", audio_track: int | None) -> None:
    from mse.rows import Window
    from mse.utterances import cut_shard

    cut_shard([Window(*row, SHARD)], out, cut, whisper.loaded() if whisper else None, audio_track)


def _segment(manifest: Path, sound: Path, facts: Path, settings: SegmentSettings) -> None:
    from mse.segment import segment_shard

    segment_shard(read_shard(manifest, SHARD), sound, facts, NAME, settings)


def _acoustic(sound: Path, folder: Path, name: str, said: Mapping[str, Any], models: Path, device: str) -> None:
    from mse.extract import acoustic_shard

    settings = acoustic_settings(json.dumps({key: value for key, value in said.items() if key != "weights_digest"}))
    model = model_folder(settings.model, models) if isinstance(settings, SpeechModelSettings) else None
    threads = SPEECH_MODEL_THREADS if model else 1
    acoustic_shard(sound, folder / "features" / "acoustic" / name / f"{SHARD}.h5", settings, model, device, threads)


def _describe_faces(run: Run, facts: Path, sound: Path, folder: Path, said: Mapping[str, Any], models: Path) -> None:
    """Write the shard of facial features; runs of clips are jobs, so that all processes have work to the end."""
    settings = FacialSettings.model_validate(said)
    model = models / "face_landmarker" / "face_landmarker.task"
    clips = read_facts(facts)
    jobs = [run(_faces, clips[first:last], sound, settings, model) for first, last in share_out(clips)]
    description = run(_facial_description, settings, model)

    def described() -> Iterator[Clip]:
        for job in jobs:
            yield from job.result()

    told = track(described(), "faces", len(clips))
    out = folder / "features" / "facial" / f"{SHARD}.h5"
    write_shard(out, description.result(), not_all_failed(told, str(facts)))


def share_out(clips: Sequence[Facts]) -> list[tuple[int, int]]:
    """Runs of neighbouring clips, as their first and the one after their last; long ones first, short ones at the end.

    Each takes a share of what is left, so that no process waits long for another.
    """
    lengths_s = [clip.duration_s for clip in clips]
    least_s = max(LEAST_RUN_S, sum(lengths_s) * LEAST_SHARE)
    runs, first = [], 0
    while first < len(clips):
        wanted_s, last = max(least_s, sum(lengths_s[first:]) / (2 * PROCESSES)), first
        while last < len(clips) and sum(lengths_s[first:last]) < wanted_s:
            last += 1
        runs.append((first, last))
        first = last
    return runs


def _faces(clips: Sequence[Facts], sound: Path, settings: FacialSettings, model: Path) -> list[Clip]:
    from mse.extract import describe_faces, facial_description

    extractor = _facial_extractor(settings, model)
    with Shard(sound) as shard:
        return list(describe_faces(clips, shard, settings, extractor, facial_description(NAME, settings, extractor)))


def _facial_description(settings: FacialSettings, model: Path) -> Description:
    from mse.extract import facial_description

    return facial_description(NAME, settings, _facial_extractor(settings, model))


def _facial_extractor(settings: FacialSettings, model: Path) -> Any:
    from mse.features.facial import FacialExtractor

    return keep("face landmarker", (settings, model), lambda: FacialExtractor(settings, model))


@dataclass(frozen=True)
class _Whisper:
    """A recogniser of words, for a process to load."""

    settings: TranscribeSettings
    model: Path
    language: str

    def loaded(self) -> "Recogniser":
        from mse.features.speech import Recogniser

        return keep("Whisper", self, lambda: Recogniser(self.settings, self.model, self.language))


def _transcribe(sound: Path, folder: Path, whisper: _Whisper | None) -> None:
    """The words of clips; without a recogniser those that were recognised when recordings were cut."""
    from mse.transcribe import write_transcripts

    out = folder / "transcripts" / f"{SHARD}.csv"
    if whisper:
        recognise = whisper.loaded()
        write_transcripts(sound, out, lambda clip: recognise(clip.values[:, 0]))
        return
    found = [read_utterances(path).dropna(subset=["start_s"]) for path in sorted((folder / "recordings").glob("*.csv"))]
    table = pd.concat([table for table in found if len(table)] or found)
    write_transcripts(sound, out, CutWords(table.assign(clip_id=number_utterances(table)), folder))


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
