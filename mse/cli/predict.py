"""Predict new recordings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from mse import config
from mse.cli.options import MODEL, ModelsFolder, app
from mse.errors import UserError

SUFFIXES = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".m4v", ".flv", ".wmv", ".ts", ".3gp"}
SUFFIXES |= {".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac"}
MOST_NAMED = 3  # clips with the same remark


@app.command(rich_help_panel=MODEL)
def predict(
    recordings: Annotated[
        list[Path] | None, typer.Argument(help="Videos or sound, or folders of them.", show_default=False)
    ] = None,
    adapter: Annotated[
        str, typer.Option(help="Folder of a trained adapter, or OWNER/NAME of one that was fetched from a hub.")
    ] = ...,  # type: ignore[assignment]
    text: Annotated[list[str] | None, typer.Option(help="A text, in place of recordings; may be said again.")] = None,
    out: Annotated[
        list[Path] | None,
        typer.Option("--out", "-o", help="File to write: .csv, .json, .srt or .vtt (subtitles); may be said again."),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Figure of the time axis to write: .svg, .png or .pdf.")] = None,
    whole: Annotated[bool, typer.Option("--whole", help="Each recording is one utterance; it is not cut.")] = False,
    cut: Annotated[
        str | None, typer.Option(help="Where utterances end (section `cut` of a corpus): a YAML file, or JSON text.")
    ] = None,
    transcribe: Annotated[
        str | None, typer.Option(help="How words are recognised: a YAML file, or JSON text; else as in training.")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(help="Folder for what is extracted, such as work/talk: for `mse show --corpus talk`.")
    ] = None,
    llm: Annotated[Path | None, typer.Option(help="Folder of the LLM, where it lies elsewhere.")] = None,
    models: ModelsFolder = Path("resources/models"),
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda; as in training without it.")] = None,
) -> None:
    """Tell the sentiment or emotion of new recordings, utterance by utterance."""
    chosen_cut = None if whole else config.settings(config.Cut, cut or '{"at": "sentences"}')
    words = config.settings(config.TranscribeSettings, transcribe) if transcribe else None
    if bool(recordings) == bool(text):
        raise UserError("mse predict: give either recordings or --text")
    files = _media(recordings or [])
    from mse.plots.timeline import require_timeline, timeline
    from mse.told import require_known, write

    for path in out or []:
        require_known(path, len(files))
    if plot:
        require_timeline(plot, len(files))
    from mse.predict import Predictor

    predictor = Predictor(adapter, llm, models, words, device)
    table = predictor.texts(text) if text else predictor(files, chosen_cut, keep)
    _show(table, predictor.pipeline.task)
    for path in out or []:
        write(table, predictor.pipeline.task, path)
    if plot:
        timeline(table, predictor.pipeline.task, plot)


def _media(given: list[Path]) -> list[Path]:
    """The files, and those in the folders."""
    files: list[Path] = []
    for path in given:
        if not path.exists():
            raise UserError(f"{path}: no such file or folder")
        inside = (
            sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
        )
        if not inside:
            raise UserError(f"{path}: no video or sound in this folder")
        files += inside
    return files


def _show(table: Any, task: config.Task) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from mse.told import shown

    timed = "recording" in table
    several = timed and table["recording"].nunique() > 1
    grid = Table(box=None, pad_edge=False)
    if timed:
        for name in (["recording"] if several else []) + ["from", "to"]:
            grid.add_column(name, justify="left" if name == "recording" else "right")
    unsure = "80 % between" if isinstance(task, config.Intensity) else "next"
    for name in ("prediction", unsure, "words"):
        grid.add_column(name)
    for row in table.to_dict("records"):
        cells = []
        if timed:
            cells = ([Path(row["recording"]).name] if several else []) + [
                f"{row[name]:.1f}" for name in ("start_s", "end_s")
            ]
        cells += [shown(row, task), _unsure(row, task), row["text"]]
        grid.add_row(*map(Text, cells))  # as Text: markup in words stays what was said
    console = Console()
    console.print(grid)
    if not timed:
        return
    for message, rows in table[table["message"] != ""].groupby("message", sort=False):
        named = ", ".join(rows["clip_id"][:MOST_NAMED])
        more = f" and {len(rows) - MOST_NAMED} more" if len(rows) > MOST_NAMED else ""
        console.print(Text(f"{named}{more}: {message}"))


def _unsure(row: Mapping[Any, Any], task: config.Task) -> str:
    if row["prediction"] is None or row["prediction"] != row["prediction"]:
        return ""
    if isinstance(task, config.Intensity):
        return f"{row['low']:+.1f} and {row['high']:+.1f}"
    others = [(row[f"p_{name}"], name) for name in task.names if name != row["prediction"]]
    share, name = max(others)
    return f"{name} {share:.2f}"
