"""Predict new recordings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from mse import config
from mse.cli.options import MODEL, AudioTrack, ModelsFolder, app
from mse.errors import UserError
from mse.progress import say
from mse.workers import Workers


@app.command(rich_help_panel=MODEL)
def predict(
    adapter: Annotated[
        str, typer.Option(help="Folder of a trained adapter, or OWNER/NAME of one that was fetched from a hub.")
    ],
    recordings: Annotated[
        list[Path] | None, typer.Argument(help="Videos or sound, or folders of them.", show_default=False)
    ] = None,
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
    audio_track: AudioTrack = None,
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
    _refuse(bool(recordings), bool(text), bool(keep or plot or whole or cut), whole and bool(cut))
    words = config.settings(config.TranscribeSettings, transcribe) if transcribe else None
    say("starting")  # the libraries take seconds
    with Workers() as workers:
        if recordings:
            workers.start()
        from mse.atomic import require_place
        from mse.plots.timeline import require_timeline, timeline
        from mse.predict import Predictor, media_in
        from mse.told import require_known, write

        files = media_in(recordings or [])
        for path in out or []:
            require_known(path, len(files))
        if plot:
            require_timeline(plot, len(files))
        for path in [*(out or []), *([plot] if plot else [])]:
            require_place(path)
        predictor = Predictor(adapter, llm, models, words, device, workers)
        if text:
            table = predictor.texts(text)
        elif whole or cut:
            table = predictor(files, None if whole else config.settings(config.Cut, cut), keep, audio_track)
        else:
            table = predictor(files, keep=keep, audio_track=audio_track)
    _show(table, predictor.pipeline.task)
    for path in out or []:
        write(table, predictor.pipeline.task, path)
    if plot:
        timeline(table, predictor.pipeline.task, plot)
    if table["prediction"].isna().all():
        raise UserError("nothing could be predicted; why stands above")


def _refuse(recordings: bool, text: bool, of_recordings: bool, cut_whole: bool) -> None:
    """Options that do not go together."""
    if recordings == text:
        raise UserError("mse predict: give either recordings or --text")
    if text and of_recordings:
        raise UserError("mse predict: --keep, --plot, --whole and --cut are of recordings, not of --text")
    if cut_whole:
        raise UserError("mse predict: --whole cuts nothing; leave out --cut")


def _show(table: Any, task: config.Task) -> None:
    """The table for people; remarks are numbered, and stand below."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from mse.told import named_apart, remarks, shown

    timed = "recording" in table
    names = named_apart(table["recording"]) if timed else {}
    grid = Table(box=None, pad_edge=False)
    if timed:
        for name in (["recording"] if len(names) > 1 else []) + ["from", "to"]:
            grid.add_column(name, justify="left" if name == "recording" else "right")
    unsure = "80 % between" if isinstance(task, config.Intensity) else "next"
    for name in ("prediction", unsure, "words", ""):
        grid.add_column(name)
    said: dict[str, int] = {}
    for row in table.to_dict("records"):
        cells = [names[row["recording"]]] if len(names) > 1 else []
        cells += ["" if row[name] != row[name] else f"{row[name]:.1f}" for name in ("start_s", "end_s") if timed]
        numbers = ", ".join(map(str, sorted(said.setdefault(remark, len(said) + 1) for remark in remarks(row))))
        cells += [shown(row, task), _unsure(row, task), row["text"], f"[{numbers}]" if numbers else ""]
        grid.add_row(*map(Text, cells))  # as Text: markup in words stays what was said
    console = Console()
    console.print(grid)
    for remark, number in said.items():
        console.print(Text(f"[{number}] {remark}"), soft_wrap=True)  # paths stay whole, to be copied


def _unsure(row: Mapping[Any, Any], task: config.Task) -> str:
    if row["prediction"] is None or row["prediction"] != row["prediction"]:
        return ""
    if isinstance(task, config.Intensity):
        return f"{row['low']:+.1f} and {row['high']:+.1f}"
    others = [(row[f"p_{name}"], name) for name in task.names if name != row["prediction"]]
    share, name = max(others)
    return f"{name} {share:.2f}"
