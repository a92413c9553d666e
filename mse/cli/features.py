"""From recordings to feature shards and dataset.h5."""

from collections.abc import Sequence
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from mse import config
from mse.cli.options import (
    FEATURES,
    AcousticFolders,
    DatasetFile,
    FacialFolder,
    Manifest,
    ModelsFolder,
    Out,
    Settings,
    Threads,
    app,
)
from mse.errors import UserError
from mse.provenance import Rows, made, said_files

Device = Annotated[str, typer.Option(help="auto (a GPU where there is one), cpu or cuda.")]


class TextFrom(StrEnum):
    """Whose text is used."""

    corpus = "corpus"
    asr = "asr"
    none = "none"


@app.command(rich_help_panel=FEATURES)
def segment(
    manifest: Annotated[Path, typer.Argument(help="manifest.csv.")],
    shard: Annotated[str, typer.Option(help="Which shard of the manifest.")],
    out: Out,
    facts: Annotated[Path, typer.Option(help="Table to write: what each clip's recording holds.")],
    dataset: Annotated[str, typer.Option(help="The corpus's name.")],
    settings: Settings = None,
) -> None:
    """Cut the sound of a shard's clips out of their recordings."""
    from mse.rows import read_shard
    from mse.segment import segment_shard

    clips, chosen = read_shard(manifest, shard), config.settings(config.SegmentSettings, settings)
    with made(
        "segment",
        [out, facts],
        inputs=[Rows(manifest, shard, clips)],
        sources=[*(Path(clip.media) for clip in clips), *said_files(settings)],
        settings={"dataset": dataset, "segment": chosen},
    ):
        segment_shard(clips, out, facts, dataset, chosen)


@app.command(rich_help_panel=FEATURES)
def acoustic(
    segments: Annotated[Path, typer.Argument(help="Shard of sound, made by `mse segment`.")],
    out: Out,
    models: ModelsFolder = Path("resources/models"),
    device: Device = "auto",
    threads: Threads = 1,
    settings: Settings = None,
) -> None:
    """Describe a shard's sound with openSMILE, or with a speech model."""
    from mse.extract import acoustic_shard
    from mse.fetch import model_folder

    chosen = config.acoustic_settings(settings)
    model = model_folder(chosen.model, models) if isinstance(chosen, config.SpeechModelSettings) else None
    said = {"acoustic": chosen, "device": device, "threads": threads}
    with made("acoustic", [out], inputs=[segments], sources=said_files(settings), models=[model], settings=said):
        acoustic_shard(segments, out, chosen, model, device, threads)


@app.command(rich_help_panel=FEATURES)
def facial(
    facts: Annotated[Path, typer.Argument(help="Table of clips, made by `mse segment`.")],
    segments: Annotated[Path, typer.Argument(help="Shard of their sound, made with it.")],
    out: Out,
    dataset: Annotated[str, typer.Option(help="The corpus's name.")],
    model: Annotated[Path, typer.Option(help="face_landmarker.task.")] = Path(
        "resources/models/face_landmarker/face_landmarker.task"
    ),
    threads: Threads = 1,
    settings: Settings = None,
) -> None:
    """Describe the face of the one who speaks in a shard's pictures, with MediaPipe."""
    from mse.extract import facial_shard
    from mse.segment import read_facts

    chosen = config.settings(config.FacialSettings, settings)
    recordings = [Path(clip.media) for clip in read_facts(facts)] if facts.is_file() else []
    with made(
        "facial",
        [out],
        inputs=[facts, segments],
        sources=[*recordings, *said_files(settings)],
        models=[model],
        settings={"dataset": dataset, "facial": chosen},
    ):
        facial_shard(facts, segments, out, dataset, chosen, model, threads)


@app.command(rich_help_panel=FEATURES)
def transcribe(
    segments: Annotated[Path, typer.Argument(help="Shard of sound, made by `mse segment`.")],
    out: Out,
    language: Annotated[str, typer.Option(help="What is spoken, as an ISO 639-1 code, or auto.")] = "en",
    models: ModelsFolder = Path("resources/models"),
    threads: Threads = 1,
    recordings: Annotated[
        Path | None,
        typer.Option(help="Folder made by `mse cut` at sentences: its words are taken, nothing is recognised again."),
    ] = None,
    settings: Settings = None,
) -> None:
    """Recognise a shard's words with Whisper, or take those that were recognised when recordings were cut."""
    from mse.corpus import shard_files
    from mse.fetch import model_folder
    from mse.transcribe import transcribe_shard, write_transcripts
    from mse.utterances import read_cut_words

    if recordings:
        tables = shard_files(recordings / "manifest.csv", recordings, ".csv")
        with made("transcribe", [out], inputs=[segments, *tables]):
            write_transcripts(segments, out, read_cut_words(recordings))
        return
    chosen = config.settings(config.TranscribeSettings, settings)
    model, said = model_folder(chosen.model, models), {"transcribe": chosen, "language": language, "threads": threads}
    with made("transcribe", [out], inputs=[segments], sources=said_files(settings), models=[model], settings=said):
        transcribe_shard(segments, out, language, chosen, model, threads)


@app.command(rich_help_panel=FEATURES)
def quality(
    manifest: Manifest,
    out: Out,
    facts: Annotated[Path | None, typer.Option(help="Folder of the tables made by `mse segment`.")] = None,
    acoustic: AcousticFolders = None,
    facial: FacialFolder = None,
    transcripts: Annotated[
        Path | None, typer.Option(help="Folder of the transcripts, where speech was recognised.")
    ] = None,
    text_from: Annotated[TextFrom, typer.Option(help="Whose text is used.")] = TextFrom.corpus,
    language: Annotated[str, typer.Option(help="What is spoken, as an ISO 639-1 code, or auto.")] = "en",
    settings: Settings = None,
) -> None:
    """Say of every clip what became of it in each stage. A modality without a folder is none of the corpus's."""
    from mse.corpus import shard_files
    from mse.quality import make_quality

    chosen = config.settings(config.QualitySettings, settings)
    cut = shard_files(manifest, facts, ".csv") if facts else []
    shards = _shards(manifest, acoustic, facial)
    heard = shard_files(manifest, transcripts, ".csv") if transcripts else []
    with made(
        "quality",
        [out],
        inputs=[manifest, manifest.with_name("excluded.csv"), *cut, *chain(*shards.values()), *heard],
        sources=said_files(settings),
        settings={"quality": chosen, "text_from": text_from, "language": language},
    ):
        make_quality(manifest, cut, shards, heard, text_from.value, out, language, chosen)


@app.command(rich_help_panel=FEATURES)
def assemble(
    dataset: DatasetFile,
    name: Annotated[str, typer.Option(help="The corpus's name.")],
    manifest: Manifest,
    quality: Annotated[Path, typer.Option(help="quality.csv.")],
    out: Out,
    acoustic: AcousticFolders = None,
    facial: FacialFolder = None,
    extraction: Annotated[
        str | None,
        typer.Option(help="How sound was cut and words were recognised, to be noted: a YAML file, or JSON text."),
    ] = None,
    settings: Settings = None,
) -> None:
    """Index all shards, with splits, labels, texts and the train split's statistics."""
    from mse.assemble import assemble as assemble_dataset

    described = config.settings(config.Dataset, dataset)
    shards, chosen = _shards(manifest, acoustic, facial), config.settings(config.AssembleSettings, settings)
    noted = config.settings(config.Extraction, extraction) if extraction else None
    with made(
        "assemble",
        [out],
        inputs=[manifest, *chain(*shards.values()), quality],
        sources=said_files(dataset, settings),
        settings={"dataset": described, "name": name, "assemble": chosen, "extraction": noted},
    ):
        assemble_dataset(name, described, manifest, quality, shards, out, chosen, noted)


def _shards(manifest: Path, acoustic: list[str] | None, facial: Path | None) -> dict[str, Sequence[Path]]:
    """The shard files of each set of features that has a folder."""
    from mse.corpus import shard_files

    folders: dict[str, Path] = {}
    for said in acoustic or []:
        name, equals, folder = said.partition("=")
        if not (name and equals and folder):
            raise UserError(
                f"--acoustic {said}: expected NAME=FOLDER, such as egemaps=work/home/features/acoustic/egemaps"
            )
        folders[f"acoustic/{name}"] = Path(folder)
    if facial:
        folders["facial"] = facial
    return {name: shard_files(manifest, folder, ".h5") for name, folder in folders.items()}
