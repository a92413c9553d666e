"""Models, corpora and their manifests; features of others in and ours out."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mse import config
from mse.backbones.places import checkpoint_folder
from mse.cli.options import (
    CORPUS,
    AudioTrack,
    ConfigFile,
    DatasetFile,
    DatasetIndex,
    ModelsFolder,
    Out,
    Settings,
    app,
)
from mse.errors import UserError
from mse.provenance import Rows, made, said_files

corpus_app = typer.Typer(help="Look at a corpus before a run, or describe a new one.", no_args_is_help=True)
app.add_typer(corpus_app, name="corpus", rich_help_panel=CORPUS)


class ExportFormat(StrEnum):
    """Layouts of exported features."""

    mmsa = "mmsa"
    self_mm = "self-mm"


@app.command(rich_help_panel=CORPUS)
def fetch(
    names: Annotated[
        list[str], typer.Argument(help="Names in the registry or of backbones, or OWNER/NAME@REVISION of a hub.")
    ],
    registry: Annotated[Path, typer.Option(help="List of models.")] = Path("resources/models.yaml"),
    models: ModelsFolder = Path("resources/models"),
    config_file: ConfigFile = Path("config/config.yaml"),
) -> None:
    """Fetch pretrained models, LLM checkpoints and adapters by name. Only this and `adapter push` use the network."""
    from mse.fetch import HUB_ID, fetch_checkpoint, fetch_hub_model, load_registry
    from mse.fetch import fetch as fetch_model

    known_models = load_registry(registry) if registry.is_file() else {}
    for name in names:
        if name in known_models:
            print(fetch_model(name, registry, models))
            continue
        if HUB_ID.fullmatch(name):
            print(fetch_hub_model(name, models))
            continue
        for file in (registry, config_file):
            if not file.is_file():
                raise UserError(
                    f"{file}: no such file, so {name!r} means nothing here; run `mse fetch {name}` in a clone of mse, "
                    "or give --registry and --config"
                )
        run = config.parse(config.Config, config.read_yaml(config_file), str(config_file))
        known = config.known_names(run, "backbones")
        if name not in known:
            raise UserError(
                f"{name!r} is neither a model ({registry}: {', '.join(known_models)}) nor a backbone "
                f"({', '.join(known)}), nor OWNER/NAME@REVISION of a hub"
            )
        backbone = config.load_backbone(run, name)
        if backbone.model:
            print(fetch_model(backbone.model, registry, models))
        else:
            print(fetch_checkpoint(name, backbone, checkpoint_folder(run, name, backbone)))


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

    landmarker = models / "face_landmarker" / "face_landmarker.task"
    chosen = load_recipe(recipe)
    drawn = chosen.seed if seed is None else seed
    with made("demo", [out / "clips.csv"], sources=[recipe], models=[landmarker], seed=drawn):
        build(chosen, out, landmarker, jobs, seed)


@app.command(rich_help_panel=CORPUS)
def manifest(
    dataset: DatasetFile,
    out: Out,
    recordings: Annotated[
        Path | None, typer.Option(help="Folder made by `mse cut`: its utterances become the clips.")
    ] = None,
) -> None:
    """Check a corpus's tables, clip by clip, and deal the clips out to shards. Writes excluded.csv beside it."""
    from mse.corpus import read_corpus, say_corpus, shard_files, write_manifest
    from mse.corpus.sources import table_files
    from mse.utterances import read_cut_corpus

    described = config.settings(config.Dataset, dataset)
    cut: list[Path] = []
    if recordings:
        whole = recordings / "manifest.csv"
        cut = [whole, whole.with_name("excluded.csv"), *shard_files(whole, recordings, ".csv")]
    with made(
        "manifest",
        [out, out.with_name("excluded.csv")],
        inputs=cut,
        sources=[*([] if recordings else table_files(described)), *said_files(dataset)],
        settings={"dataset": described},
    ):
        corpus = read_cut_corpus(described, recordings) if recordings else read_corpus(described)
        write_manifest(corpus.clips, corpus.excluded, out)
    say_corpus(corpus)


@app.command(rich_help_panel=CORPUS)
def cut(
    recordings: Annotated[Path, typer.Argument(help="Manifest whose clips are whole recordings.")],
    shard: Annotated[str, typer.Option(help="Which shard of it.")],
    out: Out,
    language: Annotated[str, typer.Option(help="What is spoken, as an ISO 639-1 code, or auto.")] = "en",
    models: ModelsFolder = Path("resources/models"),
    speech: Annotated[str | None, typer.Option(help="Settings of speech recognition, to cut at sentences.")] = None,
    audio_track: AudioTrack = None,
    settings: Settings = None,
) -> None:
    """Cut recordings into utterances, at pauses or at the ends of sentences."""
    from mse.features.speech import Recogniser
    from mse.fetch import model_folder
    from mse.rows import read_shard
    from mse.utterances import cut_shard

    chosen = config.settings(config.Cut, settings)
    heard = config.settings(config.TranscribeSettings, speech)
    sentences = chosen.at == "sentences"
    model = model_folder(heard.model, models) if sentences else None
    clips = read_shard(recordings, shard)
    with made(
        "cut",
        [out],
        inputs=[Rows(recordings, shard, clips)],
        sources=[*(Path(clip.media) for clip in clips), *said_files(speech, settings)],
        models=[model],
        settings={"cut": chosen, "audio_track": audio_track}
        | ({"transcribe": heard, "language": language} if sentences else {}),
    ):
        cut_shard(clips, out, chosen, Recogniser(heard, model, language) if model else None, audio_track)


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
    from mse.corpus.sources import table_files
    from mse.released import import_released

    described = config.settings(config.Dataset, dataset)
    outputs = [out / "manifest.csv", out / "excluded.csv"]
    sources = [*table_files(described), *said_files(dataset)]
    with made("import", outputs, sources=sources, settings={"dataset": described, "name": name}):
        import_released(name, described, out)
        outputs += sorted((out / "features").glob("*/*.h5"))


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

    said = {"format": format, "max_frames": max_frames}
    with made("export", [out], inputs=[dataset], models=[tokenizer], settings=said):
        export_mmsa(dataset, out, tokenizer, max_frames, format.value)


@app.command(rich_help_panel=CORPUS)
def schema(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")] = Path("workflow/schemas"),
) -> None:
    """Write the JSON schemas of the configuration files, for editors."""
    config.write_schemas(out)
