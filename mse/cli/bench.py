"""Benchmarks: ours beside something plain, from one run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mse import config
from mse.atomic import replacing
from mse.cli.options import MODEL, BackboneFile, DatasetIndex, LLMFolder, Settings, app
from mse.provenance import made, said_files

if TYPE_CHECKING:
    import pandas as pd

Table = Annotated[Path | None, typer.Option("--out", "-o", help="Table to write beside showing it.")]

bench_app = typer.Typer(help="Measure our procedures beside plain ones.", no_args_is_help=True)
app.add_typer(bench_app, name="bench", rich_help_panel=MODEL)


@bench_app.command("train")
def train(
    dataset: DatasetIndex,
    llm: LLMFolder,
    backbone: BackboneFile,
    settings: Settings = None,
    rounds: Annotated[int, typer.Option(min=1, help="Steps and evaluation batches that are measured.")] = 8,
    words: Annotated[
        int | None, typer.Option(min=1, help="Bring texts to this median length by repeating or cutting them.")
    ] = None,
    profile: Annotated[int, typer.Option(min=0, help="Also list this many operations that most time goes to.")] = 0,
    out: Table = None,
) -> None:
    """Time and memory of a training step and an evaluation batch, beside the published procedure's: ratios."""
    from mse.bench.train import Job, bench_train

    job = Job(
        dataset,
        llm,
        config.settings(config.Backbone, backbone),
        config.settings(config.TrainSettings, settings),
        rounds,
        words,
        profile,
    )
    said = {"backbone": job.backbone, "train": job.settings, "rounds": rounds, "words": words}
    read = said_files(backbone, settings)
    with made("bench train", [out], inputs=[dataset], sources=read, models=[llm], settings=said):
        _show(bench_train(job), out)


@bench_app.command()
def extract(
    videos: Annotated[list[Path], typer.Argument(help="Videos; each is a clip.")],
    clips: Annotated[int, typer.Option(min=1, help="Clips of the shard: videos are taken again to fill it.")] = 1,
    cut: Annotated[float | None, typer.Option(help="Instead, cut each video into clips of so many seconds.")] = None,
    floor: Annotated[bool, typer.Option(help="Whether to measure the bare libraries too.")] = True,
    rounds: Annotated[int, typer.Option(min=1, help="How often; medians are told.")] = 3,
    model: Annotated[Path, typer.Option(help="face_landmarker.task.")] = Path(
        "resources/models/face_landmarker/face_landmarker.task"
    ),
    out: Table = None,
) -> None:
    """CPU time, wall time and memory of extraction, beside the bare libraries on the same videos: ratios."""
    from mse.bench.extract import bench_extract

    said = {"clips": clips, "cut": cut, "floor": floor, "rounds": rounds}
    with made("bench extract", [out], sources=videos, models=[model], settings=said):
        _show(bench_extract(videos, model, rounds, clips, cut, floor), out, decimals=3)


def _show(table: "pd.DataFrame", out: Path | None, decimals: int = 2) -> None:
    print(table.to_string(index=False, float_format=lambda value: f"{value:.{decimals}f}"))
    if out is not None:
        with replacing(out) as partial:
            table.to_csv(partial, index=False, float_format="%.4f")
