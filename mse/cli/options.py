"""Options and arguments that several commands share, and the application that all belong to."""

from pathlib import Path
from typing import Annotated

import typer

from mse.progress import libraries_apart

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def common(
    context: typer.Context,
    log: Annotated[
        Path | None,
        typer.Option(help="File for warnings and notes of libraries; they are dropped without it."),
    ] = None,
) -> None:
    """From raw talking-face videos to metric tables. The workflow calls these commands; each works alone."""
    context.with_resource(libraries_apart(log))


CORPUS, FEATURES, MODEL, RESULTS = "Corpus", "Features", "Model", "Results"  # panels of the help
Out = Annotated[Path, typer.Option("--out", "-o", help="File to write.")]
Settings = Annotated[
    str | None,
    typer.Option(help="Settings of this stage: a YAML file, or JSON text; without it the defaults."),
]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads.")]
Split = Annotated[str, typer.Option(help="train, valid or test.")]
ConfigFile = Annotated[Path, typer.Option("--config", help="The run's configuration.")]
DatasetFile = Annotated[str, typer.Argument(help="The corpus's YAML file, or its content as JSON.")]
BackboneFile = Annotated[str, typer.Option("--backbone", help="The LLM's YAML file, or its content as JSON.")]
DatasetIndex = Annotated[Path, typer.Argument(help="dataset.h5.")]
LLMFolder = Annotated[Path, typer.Option("--llm", help="Folder of the LLM's weights and tokenizer.")]
Manifest = Annotated[Path, typer.Option("--manifest", help="manifest.csv.")]
AcousticFolders = Annotated[
    list[str] | None,
    typer.Option("--acoustic", metavar="NAME=FOLDER", help="Folder of a set of acoustic shards; may be said again."),
]
FacialFolder = Annotated[Path | None, typer.Option("--facial", help="Folder of the facial shards.")]
ModelsFolder = Annotated[Path, typer.Option("--models", help="Folder of all fetched models.")]
AudioTrack = Annotated[
    int | None,
    typer.Option(
        min=1, help="Which audio track of the recordings, from 1; else the one marked as default, or the first."
    ),
]
