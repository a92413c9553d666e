"""The command line: one subcommand an arrow of the pipeline, each usable alone."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from mse import config
from mse.errors import UserError

# Libraries that the subcommands need are imported inside them, so that `mse --help` answers at once.
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("GLOG_minloglevel", "2")  # MediaPipe's notes on its delegates
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

app = typer.Typer(
    help="From raw talking-face videos to metric tables. The workflow calls these commands; each works alone.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
plot_app = typer.Typer(help="Draw figures (SVG, PNG or PDF by the name's ending).", no_args_is_help=True)
app.add_typer(plot_app, name="plot", rich_help_panel="Results")

CORPUS, FEATURES, MODEL, RESULTS = "Corpus", "Features", "Model", "Results"
Out = Annotated[Path, typer.Option("--out", "-o", help="File to write.")]
Settings = Annotated[
    str | None,
    typer.Option(help="Settings of this stage: a YAML file, or JSON text; without it the defaults."),
]
DatasetFile = Annotated[str, typer.Argument(help="The corpus's YAML file, or its content as JSON.")]
BackboneFile = Annotated[str, typer.Option("--backbone", help="The LLM's YAML file, or its content as JSON.")]
DatasetIndex = Annotated[Path, typer.Argument(help="dataset.h5.")]
LLMFolder = Annotated[Path, typer.Option("--llm", help="Folder of the LLM's weights and tokenizer.")]
Manifest = Annotated[Path, typer.Option("--manifest", help="manifest.csv.")]
ModelsFolder = Annotated[Path, typer.Option("--models", help="Folder of all fetched models.")]


@app.command(rich_help_panel=CORPUS)
def fetch(
    names: Annotated[list[str], typer.Argument(help="Names in the registry.")],
    registry: Annotated[Path, typer.Option(help="List of models.")] = Path("resources/models.yaml"),
    models: ModelsFolder = Path("resources/models"),
) -> None:
    """Fetch pretrained models by name. The only command that uses the network."""
    from mse.fetch import fetch as fetch_model

    for name in names:
        print(fetch_model(name, registry, models))


@app.command(rich_help_panel=CORPUS)
def demo(
    out: Annotated[Path, typer.Argument(help="Folder of the corpus.")] = Path("data/demo"),
    recipe: Annotated[Path, typer.Option(help="What to make.")] = Path("resources/demo.yaml"),
    models: ModelsFolder = Path("resources/models"),
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    seed: Annotated[int | None, typer.Option(help="Instead of the recipe's.")] = None,
) -> None:
    """Make the demo corpus: videos of an animated portrait that speaks."""
    from mse.demo.build import build
    from mse.demo.recipe import load_recipe

    build(load_recipe(recipe), out, models / "face_landmarker" / "face_landmarker.task", jobs, seed)


@app.command(rich_help_panel=CORPUS)
def manifest(
    dataset: DatasetFile,
    out: Out,
) -> None:
    """Check a corpus's table, clip by clip, and deal the clips out to shards."""
    from mse.corpus import make_manifest, write_manifest
    from mse.progress import say

    table = make_manifest(config.settings(config.Dataset, dataset))
    write_manifest(table, out)
    counts = ", ".join(f"{n} {split}" for split, n in table["split"].value_counts(sort=False).items())
    say(f"{len(table)} clips ({counts}) in {table['shard'].nunique()} shards")


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
    facts: Annotated[Path, typer.Option(help="Folder of the tables made by `mse segment`.")],
    acoustic: Annotated[Path, typer.Option(help="Folder of the acoustic shards.")],
    facial: Annotated[Path, typer.Option(help="Folder of the facial shards.")],
    out: Out,
    transcripts: Annotated[
        Path | None, typer.Option(help="Folder of the transcripts; without it the corpus's own text counts.")
    ] = None,
) -> None:
    """Say of every clip what became of it in each stage."""
    from mse.corpus import shard_files
    from mse.quality import make_quality

    make_quality(
        manifest,
        shard_files(manifest, facts, ".csv"),
        shard_files(manifest, acoustic, ".h5"),
        shard_files(manifest, facial, ".h5"),
        shard_files(manifest, transcripts, ".csv") if transcripts else [],
        out,
    )


@app.command(rich_help_panel=FEATURES)
def assemble(
    dataset: DatasetFile,
    name: Annotated[str, typer.Option(help="The corpus's name.")],
    manifest: Manifest,
    quality: Annotated[Path, typer.Option(help="quality.csv.")],
    acoustic: Annotated[Path, typer.Option(help="Folder of the acoustic shards.")],
    facial: Annotated[Path, typer.Option(help="Folder of the facial shards.")],
    out: Out,
    settings: Settings = None,
) -> None:
    """Index all shards, with splits, labels, texts and the train split's statistics."""
    from mse.assemble import assemble as assemble_dataset
    from mse.corpus import shard_files

    assemble_dataset(
        name,
        config.settings(config.Dataset, dataset),
        manifest,
        quality,
        {m: shard_files(manifest, d, ".h5") for m, d in (("acoustic", acoustic), ("facial", facial))},
        out,
        config.settings(config.AssembleSettings, settings),
    )


@app.command(rich_help_panel=MODEL)
def train(
    dataset: DatasetIndex,
    llm: LLMFolder,
    backbone: BackboneFile,
    seed: Annotated[int, typer.Option(help="Seed of weights and order.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the adapter.")],
    history: Annotated[Path, typer.Option(help="Table to write: one row an epoch.")],
    name: Annotated[str, typer.Option(help="The LLM's name, for the record.")] = "",
    adapter: Annotated[str | None, typer.Option(help="Shape of the adapter: a YAML file, or JSON text.")] = None,
    settings: Settings = None,
) -> None:
    """Train an adapter in front of a frozen LLM."""
    from mse.train import train as train_adapter

    train_adapter(
        dataset,
        llm,
        name,
        config.settings(config.Backbone, backbone),
        config.settings(config.AdapterSettings, adapter),
        config.settings(config.TrainSettings, settings),
        seed,
        out,
        history,
    )


@app.command(rich_help_panel=MODEL)
def predict(
    dataset: DatasetIndex,
    llm: LLMFolder,
    backbone: BackboneFile,
    adapter: Annotated[Path, typer.Option(help="Folder of the adapter.")],
    out: Out,
    split: Annotated[str, typer.Option(help="train, valid or test.")] = "test",
    settings: Settings = None,
) -> None:
    """Let a trained adapter and its LLM answer for the clips of a split."""
    from mse.predict import predict as predict_split

    chosen = config.settings(config.TrainSettings, settings)
    predict_split(dataset, llm, config.settings(config.Backbone, backbone), adapter, chosen, out, split)


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
    predictions: Annotated[list[Path], typer.Argument(help="predictions.csv of each seed.")],
    out: Out,
) -> None:
    """Prediction against truth, all seeds."""
    from mse.plots import predictions as draw

    draw(predictions, out)


@plot_app.command("coverage")
def plot_coverage(quality: Annotated[Path, typer.Argument(help="quality.csv.")], out: Out) -> None:
    """Which share of each clip's frames could be measured."""
    from mse.plots import coverage

    coverage(quality, out)


@app.command(rich_help_panel=CORPUS)
def schema(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")] = Path("workflow/schemas"),
) -> None:
    """Write the JSON schemas of the configuration files, for editors."""
    config.write_schemas(out)


def main() -> None:
    """Run the command line; a UserError is shown as one message, without a traceback."""
    try:
        app()
    except UserError as e:
        print(f"error: {e}", file=sys.stderr)
        sys.exit(1)
