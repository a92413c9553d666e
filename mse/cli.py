"""The command line: one subcommand an arrow of the pipeline, each usable alone."""

import os
import sys
from collections.abc import Sequence
from enum import StrEnum
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
corpus_app = typer.Typer(help="Look at a corpus before a run, or describe a new one.", no_args_is_help=True)
app.add_typer(corpus_app, name="corpus", rich_help_panel="Corpus")
app.add_typer(plot_app, name="plot", rich_help_panel="Results")


class ExportFormat(StrEnum):
    """Layouts of exported features."""

    mmsa = "mmsa"
    self_mm = "self-mm"


CORPUS, FEATURES, MODEL, RESULTS = "Corpus", "Features", "Model", "Results"
Out = Annotated[Path, typer.Option("--out", "-o", help="File to write.")]
Settings = Annotated[
    str | None,
    typer.Option(help="Settings of this stage: a YAML file, or JSON text; without it the defaults."),
]
ConfigFile = Annotated[Path, typer.Option("--config", help="The run's configuration.")]
DatasetFile = Annotated[str, typer.Argument(help="The corpus's YAML file, or its content as JSON.")]
BackboneFile = Annotated[str, typer.Option("--backbone", help="The LLM's YAML file, or its content as JSON.")]
DatasetIndex = Annotated[Path, typer.Argument(help="dataset.h5.")]
LLMFolder = Annotated[Path, typer.Option("--llm", help="Folder of the LLM's weights and tokenizer.")]
Manifest = Annotated[Path, typer.Option("--manifest", help="manifest.csv.")]
AcousticFolder = Annotated[Path | None, typer.Option("--acoustic", help="Folder of the acoustic shards.")]
FacialFolder = Annotated[Path | None, typer.Option("--facial", help="Folder of the facial shards.")]
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
    recordings: Annotated[
        Path | None, typer.Option(help="Folder made by `mse cut`: its utterances become the clips.")
    ] = None,
) -> None:
    """Check a corpus's tables, clip by clip, and deal the clips out to shards. Writes excluded.csv beside it."""
    from mse.corpus import read_corpus, say_corpus, write_manifest
    from mse.utterances import read_cut_corpus

    described = config.settings(config.Dataset, dataset)
    corpus = read_cut_corpus(described, recordings) if recordings else read_corpus(described)
    write_manifest(corpus.clips, corpus.excluded, out)
    say_corpus(corpus)


@app.command(rich_help_panel=CORPUS)
def cut(
    recordings: Annotated[Path, typer.Argument(help="Manifest whose clips are whole recordings.")],
    shard: Annotated[str, typer.Option(help="Which shard of it.")],
    out: Out,
    language: Annotated[str, typer.Option(help="What is spoken, as an ISO 639-1 code.")] = "en",
    models: ModelsFolder = Path("resources/models"),
    speech: Annotated[str | None, typer.Option(help="Settings of speech recognition, to cut at sentences.")] = None,
    settings: Settings = None,
) -> None:
    """Cut recordings into utterances, at pauses or at the ends of sentences."""
    from mse.corpus import read_shard
    from mse.features.speech import Recogniser
    from mse.utterances import cut_shard

    chosen = config.settings(config.Cut, settings)
    heard = config.settings(config.TranscribeSettings, speech)
    recognise = Recogniser(heard, models / heard.model, language) if chosen.at == "sentences" else None
    cut_shard(read_shard(recordings, shard), out, chosen, recognise)


@corpus_app.command("check")
def corpus_check(
    name: Annotated[str, typer.Argument(help="The corpus's name: config/datasets/NAME.yaml.")],
    configuration: ConfigFile = Path("config/config.yaml"),
    root: Annotated[Path | None, typer.Option(help="Where the corpus lies, instead of what the YAML says.")] = None,
) -> None:
    """Read a whole corpus without extracting anything, and say what it holds; status 1 where a run can't start."""
    from rich.console import Console

    from mse.corpus.check import check

    chosen = config.parse(config.Config, config.read_yaml(configuration), str(configuration))
    described = config.load_dataset(chosen, name)
    described = described.model_copy(update={"root": root}) if root else described
    limits = config.segment_settings(chosen, described), chosen.assemble
    findings = check(name, described, *limits, Console(width=None if sys.stdout.isatty() else 120))
    if findings.problems:
        raise typer.Exit(1)


@corpus_app.command("new")
def corpus_new(
    name: Annotated[str, typer.Argument(help="A name for the corpus.")],
    root: Annotated[Path, typer.Option(help="Its folder.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write; config/datasets/NAME.yaml without it.")
    ] = None,
) -> None:
    """Look at a folder and its tables, and write a first YAML file with the guesses marked."""
    from mse.corpus.guess import write_new

    target = out or Path(f"config/datasets/{name}.yaml")
    write_new(name, root, target)
    print(f"{target}: look at the lines marked `guess`, then run `mse corpus check {name}`")


@app.command("import", rich_help_panel=CORPUS)
def import_(
    dataset: DatasetFile,
    name: Annotated[str, typer.Option(help="The corpus's name.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the manifest and the shards.")],
) -> None:
    """Turn features that others released (MMSA's files, or lists of records) into a manifest and shards."""
    from mse.released import import_released

    import_released(name, config.settings(config.Dataset, dataset), out)


@app.command(rich_help_panel=CORPUS)
def export(
    dataset: DatasetIndex,
    out: Out,
    format: Annotated[
        ExportFormat, typer.Option(help="Who is to read it: MMSA with all its models, or Self-MM's own repository.")
    ] = ExportFormat.mmsa,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Folder of a BERT tokenizer, for text_bert, which their text encoders read.")
    ] = None,
    max_frames: Annotated[
        tuple[int, int] | None, typer.Option(help="Most frames of sound and of pictures to keep of a clip.")
    ] = None,
) -> None:
    """Write our features as other toolkits read them."""
    from mse.export import export_mmsa

    export_mmsa(dataset, out, tokenizer, max_frames, format.value)


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
