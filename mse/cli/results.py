"""Tables and figures."""

from pathlib import Path
from typing import Annotated

import typer

from mse.cli.options import RESULTS, DatasetIndex, Out, app

plot_app = typer.Typer(help="Draw figures (SVG, PNG or PDF by the name's ending).", no_args_is_help=True)
app.add_typer(plot_app, name="plot", rich_help_panel=RESULTS)


@app.command(rich_help_panel=RESULTS)
def score(
    dataset: DatasetIndex,
    predictions: Annotated[list[Path], typer.Argument(help="predictions.csv of each seed.")],
    out: Out,
) -> None:
    """Score the predictions of all seeds. A row is named by the folder that its table lies in."""
    from mse.score import score as score_predictions

    score_predictions(dataset, predictions, [path.parent.name for path in predictions], out)


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
