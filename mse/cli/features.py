"""From recordings to feature shards and dataset.h5."""

from collections.abc import Sequence
from enum import StrEnum
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

    clips = read_shard(manifest, shard)
    segment_shard(clips, out, facts, dataset, config.settings(config.SegmentSettings, settings))


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

    facial_shard(facts, segments, out, dataset, config.settings(config.FacialSettings, settings), model, threads)


@app.command(rich_help_panel=FEATURES)
def transcribe(
    segments: Annotated[Path, typer.Argument(help="Shard of sound, made by `mse segment`.")],
    out: Out,
    language: Annotated[str, typer.Option(help="What is spoken, as an ISO 639-1 code, or auto.")] = "en",
    models: ModelsFolder = Path("resources/models"),
    threads: Threads = 1,
    settings: Settings = None,
) -> None:
    """Recognise a shard's words with Whisper."""
    from mse.fetch import model_folder
    from mse.transcribe import transcribe_shard

    chosen = config.settings(config.TranscribeSettings, settings)
    transcribe_shard(segments, out, language, chosen, model_folder(chosen.model, models), threads)


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

    make_quality(
        manifest,
        shard_files(manifest, facts, ".csv") if facts else [],
        _shards(manifest, acoustic, facial),
        shard_files(manifest, transcripts, ".csv") if transcripts else [],
        text_from.value,
        out,
        language,
        config.settings(config.QualitySettings, settings),
    )


@app.command(rich_help_panel=FEATURES)
def assemble(
    dataset: DatasetFile,
    name: Annotated[str, typer.Option(help="The corpus's name.")],
    manifest: Manifest,
    quality: Annotated[Path, typer.Option(help="quality.csv.")],
    out: Out,
    acoustic: AcousticFolders = None,
    facial: FacialFolder = None,
    settings: Settings = None,
) -> None:
    """Index all shards, with splits, labels, texts and the train split's statistics."""
    from mse.assemble import assemble as assemble_dataset

    assemble_dataset(
        name,
        config.settings(config.Dataset, dataset),
        manifest,
        quality,
        _shards(manifest, acoustic, facial),
        out,
        config.settings(config.AssembleSettings, settings),
    )


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
