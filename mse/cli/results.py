"""Tables and figures."""

from pathlib import Path
from typing import Annotated

import typer

from mse import config
from mse.atomic import replacing
from mse.cli.options import RESULTS, ConfigFile, DatasetIndex, Out, app
from mse.errors import UserError

plot_app = typer.Typer(help="Draw figures (SVG, PNG or PDF by the name's ending).", no_args_is_help=True)
app.add_typer(plot_app, name="plot", rich_help_panel=RESULTS)


@app.command(rich_help_panel=RESULTS)
def score(
    predictions: Annotated[list[Path], typer.Argument(help="Tables with clip_id, prediction and label.")],
    dataset: Annotated[
        Path | None, typer.Option(help="dataset.h5: score the seeds of an experiment, with mean, sd and constant.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Or a corpus by name (mosi, sims, meld, ...): score any table by its metrics.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write; without it the table is shown.")
    ] = None,
    training_mean: Annotated[float | None, typer.Option(help="Scored where an intensity is empty (--task).")] = None,
    config_file: ConfigFile = Path("config/config.yaml"),
) -> None:
    """Score predictions: those of an experiment's seeds, or any table by the metrics of a corpus.

    A row is named by the folder that its table lies in.
    """
    from mse.score import score as score_predictions
    from mse.score import score_table

    if (dataset is None) == (task is None):
        raise UserError("mse score: give either --dataset or --task")
    names = [path.parent.name for path in predictions]
    if dataset is not None:
        if out is None:
            raise UserError("mse score --dataset: give --out, the table to write")
        score_predictions(dataset, predictions, names, out)
        return
    run = config.parse(config.Config, config.read_yaml(config_file), str(config_file))
    described = config.load_dataset(run, str(task)).task
    if described is None:
        raise UserError(f"mse score: the corpus {task} has no task, and so no metrics")
    rows = [score_table(path, described, training_mean) for path in predictions]
    if len(rows) > 1:
        rows = [row.assign(run=name)[["run", *row.columns]] for row, name in zip(rows, names, strict=True)]
    import pandas as pd

    text = pd.concat(rows).to_csv(index=False, float_format="%.4f")
    if out is None:
        print(text, end="")
    else:
        with replacing(out) as partial:
            partial.write_text(text, encoding="utf-8")


@plot_app.command("training")
def plot_training(
    histories: Annotated[list[Path], typer.Argument(help="history.csv of each seed.")],
    out: Out,
) -> None:
    """Loss and validation error by epoch, all seeds."""
    from mse.plots import training

    training(histories, out)


@plot_app.command("predictions")
def plot_predictions(
    dataset: DatasetIndex,
    predictions: Annotated[list[Path], typer.Argument(help="predictions.csv of each seed.")],
    out: Out,
) -> None:
    """Prediction against truth, all seeds."""
    from mse.plots import predictions as draw

    draw(predictions, dataset, out)


@plot_app.command("coverage")
def plot_coverage(quality: Annotated[Path, typer.Argument(help="quality.csv.")], out: Out) -> None:
    """Which share of each clip's frames could be measured."""
    from mse.plots import coverage

    coverage(quality, out)
