"""Tables and figures."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mse import config
from mse.atomic import replacing
from mse.cli.options import RESULTS, ConfigFile, DatasetIndex, Out, app
from mse.errors import UserError
from mse.provenance import made

plot_app = typer.Typer(help="Draw figures (SVG, PNG or PDF by the name's ending).", no_args_is_help=True)
app.add_typer(plot_app, name="plot", rich_help_panel=RESULTS)

Task = Annotated[
    str | None, typer.Option(help="Or a corpus by name (mosi, sims, meld, ...): score any table by its metrics.")
]
Samples = Annotated[int, typer.Option(min=1, help="Draws of clips for intervals and tests.")]
TrainingMean = Annotated[float | None, typer.Option(help="Scored where an intensity is empty (--task).")]


@app.command(rich_help_panel=RESULTS)
def score(
    predictions: Annotated[list[Path], typer.Argument(help="Tables with clip_id, prediction and label.")],
    dataset: Annotated[
        Path | None, typer.Option(help="dataset.h5: score an experiment, whose tables are MODEL/RUN/predictions.csv.")
    ] = None,
    task: Task = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write; without it the table is shown.")
    ] = None,
    intervals: Annotated[Path | None, typer.Option(help="Table of intervals and tests to write (--dataset).")] = None,
    decoding: Annotated[str, typer.Option(help="What models are compared by (--dataset).")] = "expected",
    samples: Samples = 2000,
    column: Annotated[str, typer.Option(help="What is scored: prediction, or a decoding (--task).")] = "prediction",
    training_mean: TrainingMean = None,
    config_file: ConfigFile = Path("config/config.yaml"),
) -> None:
    """Score predictions: those of an experiment, or any table by the metrics of a corpus.

    A row is named by the folder that its table lies in.
    """
    from mse.answer import DECODINGS
    from mse.score import score as score_experiment
    from mse.score import score_table

    if (dataset is None) == (task is None):
        raise UserError("mse score: give either --dataset or --task")
    if dataset is not None:
        chosen = next((way for way in DECODINGS if way == decoding), None)
        if out is None or chosen is None:
            raise UserError(
                "mse score --dataset: give --out, the table to write"
                if out is None
                else f"mse score: --decoding {decoding!r}; there is {', '.join(DECODINGS)}"
            )
        said: dict[str, object] = {"decoding": decoding, "samples": samples}
        with made("score", [out, intervals], inputs=[dataset, *predictions], settings=said):
            score_experiment(dataset, predictions, out, intervals, chosen, samples)
        return
    described = _task(str(task), config_file)
    import pandas as pd

    said = {"task": described, "column": column, "training_mean": training_mean}
    with made("score", [out], inputs=predictions, settings=said):
        rows = [score_table(path, described, training_mean, column) for path in predictions]
        if len(rows) > 1:
            rows = [row.assign(run=path.parent.name) for row, path in zip(rows, predictions, strict=True)]
            rows = [row[["run", *row.columns.drop("run")]] for row in rows]
        _show(pd.concat(rows), out)


@app.command(rich_help_panel=RESULTS)
def compare(
    predictions: Annotated[list[Path], typer.Argument(help="Tables of one model, a run each.")],
    against: Annotated[list[Path], typer.Option(help="A table of the other model; once for each run.")],
    task: Annotated[str, typer.Option(help="A corpus by name, for its metrics.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write; without it the table is shown.")
    ] = None,
    column: Annotated[str, typer.Option(help="What is read of the model's tables: prediction, or a decoding.")] = (
        "prediction"
    ),
    against_column: Annotated[str, typer.Option(help="What is read of the other's.")] = "prediction",
    samples: Samples = 2000,
    training_mean: TrainingMean = None,
    config_file: ConfigFile = Path("config/config.yaml"),
) -> None:
    """Compare two models on the same clips: differences with 95 % intervals, and a paired bootstrap test."""
    from mse.score import compare_tables

    columns, described = (column, against_column), _task(task, config_file)
    said = {"task": described, "columns": columns, "training_mean": training_mean, "samples": samples}
    with made("compare", [out], inputs=[*predictions, *against], settings=said):
        _show(compare_tables(described, predictions, against, training_mean, samples, columns), out)


def _task(corpus: str, config_file: Path) -> config.Task:
    """What is predicted of a corpus."""
    if not config_file.is_file():
        raise UserError(
            f"{config_file}: no such file; run this in the workflow's folder, or say --config where it lies"
        )
    run = config.parse(config.Config, config.read_yaml(config_file), str(config_file))
    # Its folders are named from where the workflow runs, which need not be here.
    above = config_file.resolve().parent.parent
    run = run.model_copy(update={"config_path": [base if base.is_dir() else above / base for base in run.config_path]})
    described = config.load_dataset(run, corpus).task
    if described is None:
        raise UserError(f"the corpus {corpus} has no task, and so no metrics")
    return described


def _show(table: Any, out: Path | None) -> None:
    text = table.to_csv(index=False, float_format="%.4f")
    if out is None:
        print(text, end="")
    else:
        with replacing(out) as partial:
            partial.write_text(text, encoding="utf-8")


@app.command(rich_help_panel=RESULTS)
def parts(
    predictions: Annotated[list[Path], typer.Argument(help="Tables of predictions, of the same clips.")],
    facts: Annotated[Path, typer.Option(help="A table with clip_id and what is known of each clip.")],
    column: Annotated[list[str], typer.Option(help="A column of it, numbers; once for each.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write; without it the table is shown.")
    ] = None,
) -> None:
    """Tell how much of each known part of the labels is in predictions: weights of a least squares fit."""
    from mse.parts import parts

    with made("parts", [out], inputs=predictions, sources=[facts], settings={"columns": column}):
        _show(parts(predictions, facts, column), out)


@app.command(rich_help_panel=RESULTS)
def validation(
    histories: Annotated[list[Path], typer.Argument(help="history.csv of runs, MODEL/RUN/history.csv each.")],
    key: Annotated[str, typer.Option(help="Metric that chose the best epoch: mae, weighted_f1, ...")] = "mae",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write; without it the table is shown.")
    ] = None,
) -> None:
    """What models reached on the validation split in their best epochs: mean and deviation over their runs."""
    from mse.score import best_epochs

    with made("validation", [out], inputs=histories, settings={"key": key}):
        _show(best_epochs(histories, key), out)


@app.command(rich_help_panel=RESULTS)
def table(
    metrics: Annotated[Path, typer.Argument(help="metrics.csv.")],
    intervals: Annotated[Path, typer.Argument(help="intervals.csv of the same models.")],
    out: Out,
) -> None:
    """Write the table of an experiment as a page: values, intervals and which differences are more than chance."""
    from mse.table_page import write_table_page

    with made("table", [out], inputs=[metrics, intervals]):
        write_table_page(metrics, intervals, out)


@plot_app.command("labels")
def plot_labels(dataset: DatasetIndex, out: Out) -> None:
    """How often each label stands in each split."""
    from mse.plots.corpus import labels

    with made("plot labels", [out], inputs=[dataset]):
        labels(dataset, out)


@plot_app.command("calibration")
def plot_calibration(
    dataset: DatasetIndex,
    predictions: Annotated[list[Path], typer.Argument(help="predictions.csv of each seed.")],
    out: Out,
) -> None:
    """Whether probabilities mean what they say, all seeds."""
    from mse.plots.answers import calibration

    with made("plot calibration", [out], inputs=[dataset, *predictions]):
        calibration(predictions, dataset, out)


@plot_app.command("training")
def plot_training(
    histories: Annotated[list[Path], typer.Argument(help="history.csv of each seed.")],
    out: Out,
) -> None:
    """Loss and validation error by epoch, all seeds."""
    from mse.plots.runs import training

    with made("plot training", [out], inputs=histories):
        training(histories, out)


@plot_app.command("predictions")
def plot_predictions(
    dataset: DatasetIndex,
    predictions: Annotated[list[Path], typer.Argument(help="predictions.csv of each seed.")],
    out: Out,
) -> None:
    """Prediction against truth, all seeds."""
    from mse.plots.answers import predictions as draw

    with made("plot predictions", [out], inputs=[dataset, *predictions]):
        draw(predictions, dataset, out)


@plot_app.command("quality")
def plot_quality(quality: Annotated[Path, typer.Argument(help="quality.csv.")], out: Out) -> None:
    """How much of each clip could be measured, and how good its sound and words are."""
    from mse.plots.corpus import quality as draw

    with made("plot quality", [out], inputs=[quality]):
        draw(quality, out)


@plot_app.command("comparison")
def plot_comparison(intervals: Annotated[Path, typer.Argument(help="intervals.csv.")], out: Out) -> None:
    """Each model's metrics with their 95 % intervals."""
    from mse.plots.runs import comparison

    with made("plot comparison", [out], inputs=[intervals]):
        comparison(intervals, out)
