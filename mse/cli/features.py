"""From recordings to feature shards and dataset.h5."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from mse import config
from mse.cli.options import (
    FEATURES,
    AcousticFolder,
    DatasetFile,
    FacialFolder,
    Manifest,
    ModelsFolder,
    Out,
    Settings,
    app,
)


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
    from mse.corpus import read_shard
    from mse.segment import segment_shard

    clips = read_shard(manifest, shard)
    segment_shard(clips, out, facts, dataset, config.settings(config.SegmentSettings, settings))


@app.command(rich_help_panel=FEATURES)
def acoustic(
    segments: Annotated[Path, typer.Argument(help="Shard of sound, made by `mse segment`.")],
    out: Out,
    settings: Settings = None,
) -> None:
    """Describe a shard's sound with openSMILE."""
    from mse.extract import acoustic_shard

    acoustic_shard(segments, out, config.settings(config.AcousticSettings, settings))


@app.command(rich_help_panel=FEATURES)
def facial(
    facts: Annotated[Path, typer.Argument(help="Table of clips, made by `mse segment`.")],
    out: Out,
    dataset: Annotated[str, typer.Option(help="The corpus's name.")],
    model: Annotated[Path, typer.Option(help="face_landmarker.task.")] = Path(
        "resources/models/face_landmarker/face_landmarker.task"
    ),
    settings: Settings = None,
) -> None:
    """Describe the faces in a shard's pictures with MediaPipe."""
    from mse.extract import facial_shard

    facial_shard(facts, out, dataset, config.settings(config.FacialSettings, settings), model)


@app.command(rich_help_panel=FEATURES)
def transcribe(
    segments: Annotated[Path, typer.Argument(help="Shard of sound, made by `mse segment`.")],
    out: Out,
    language: Annotated[str, typer.Option(help="What is spoken, as an ISO 639-1 code.")] = "en",
    models: ModelsFolder = Path("resources/models"),
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    settings: Settings = None,
) -> None:
    """Recognise a shard's words with Whisper."""
    from mse.extract import transcribe_shard

    chosen = config.settings(config.TranscribeSettings, settings)
    transcribe_shard(segments, out, language, chosen, models / chosen.model, threads)


@app.command(rich_help_panel=FEATURES)
def quality(
    manifest: Manifest,
    out: Out,
    facts: Annotated[Path | None, typer.Option(help="Folder of the tables made by `mse segment`.")] = None,
    acoustic: AcousticFolder = None,
    facial: FacialFolder = None,
    transcripts: Annotated[
        Path | None, typer.Option(help="Folder of the transcripts; without it the corpus's own text counts.")
    ] = None,
    text: Annotated[bool, typer.Option(help="Whether the corpus has text.")] = True,
) -> None:
    """Say of every clip what became of it in each stage. A modality without a folder is none of the corpus's."""
    from mse.corpus import shard_files
    from mse.quality import make_quality

    make_quality(
        manifest,
        shard_files(manifest, facts, ".csv") if facts else [],
        _modality_shards(manifest, acoustic, facial),
        shard_files(manifest, transcripts, ".csv") if transcripts else [],
        text,
        out,
    )


@app.command(rich_help_panel=FEATURES)
def assemble(
    dataset: DatasetFile,
    name: Annotated[str, typer.Option(help="The corpus's name.")],
    manifest: Manifest,
    quality: Annotated[Path, typer.Option(help="quality.csv.")],
    out: Out,
    acoustic: AcousticFolder = None,
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
        _modality_shards(manifest, acoustic, facial),
        out,
        config.settings(config.AssembleSettings, settings),
    )


def _modality_shards(manifest: Path, acoustic: Path | None, facial: Path | None) -> dict[str, Sequence[Path]]:
    """The shard files of each modality that has a folder."""
    from mse.corpus import shard_files

    folders = {"acoustic": acoustic, "facial": facial}
    return {name: shard_files(manifest, folder, ".h5") for name, folder in folders.items() if folder}
