"""A result in one page."""

from pathlib import Path
from typing import Annotated

import typer

from mse.cli.options import RESULTS, app
from mse.errors import UserError
from mse.provenance import made


@app.command(rich_help_panel=RESULTS)
def browse(
    result: Annotated[
        list[Path],
        typer.Argument(help="Folder of a result, such as results/demo/smollm2; or runs, RUN/predictions.csv each."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Page to write; browse.html in the folder without it.")
    ] = None,
    corpus: Annotated[str, typer.Option(help="The corpus's name; that of the folder below results/ without it.")] = "",
    work: Annotated[Path, typer.Option(help="Folder of what the workflow makes on the way.")] = Path("work"),
    pictures: Annotated[
        int, typer.Option(min=0, help="Clips whose time axis is drawn: those with the largest errors first.")
    ] = 100,
    jobs: Annotated[int, typer.Option(min=1, help="Processes that draw.")] = 1,
    model: Annotated[Path, typer.Option(help="face_landmarker.task.")] = Path(
        "resources/models/face_landmarker/face_landmarker.task"
    ),
) -> None:
    """Write one HTML page of the test clips, to find out why answers are wrong; it opens without any server."""
    from mse.browse import read_result, write_page
    from mse.browse.pictures import time_axes

    tables = [table for path in result for table in _tables(path)]
    name = corpus or _corpus_of(tables[0])
    folder, target = work / name, out or tables[0].parents[1] / "browse.html"
    found = read_result(folder / "dataset.h5", tables, folder)
    worst = sorted(found.clips, key=lambda clip: (-clip.error, clip.clip_id))[:pictures]
    beside = [path for path in (folder / "manifest.csv", folder / "quality.csv") if path.is_file()]
    with made(
        "browse",
        [target],
        inputs=[folder / "dataset.h5", *tables, *beside],
        sources=[clip.media for clip in found.clips],
        models=[model if model.is_file() else None],
        settings={"corpus": name, "pictures": pictures},
    ):
        write_page(found, time_axes(worst, name, folder, model, jobs), target)
    print(target)


def _tables(path: Path) -> list[Path]:
    """The predictions that a path means: itself, those of its runs, or its own."""
    if path.is_file():
        return [path]
    tables = sorted(path.glob("*/predictions.csv")) or sorted(path.glob("predictions.csv"))
    if not tables:
        raise UserError(f"{path}: no RUN/predictions.csv in this folder; make it with snakemake, or name another")
    return tables


def _corpus_of(table: Path) -> str:
    """results/CORPUS/..."""
    parts = table.resolve().parts
    places = [place for place, part in enumerate(parts[:-1]) if part == "results"]
    if not places:
        raise UserError(f"{table}: not below a folder results/CORPUS; say --corpus")
    return parts[places[-1] + 1]
