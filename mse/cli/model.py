"""LLMs, training and answers."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mse import config
from mse.cli.options import MODEL, BackboneFile, ConfigFile, DatasetIndex, LLMFolder, Out, Settings, Split, app
from mse.provenance import made, said_files

if TYPE_CHECKING:
    from mse.backbones.llm import FrozenLLM

backbone_app = typer.Typer(help="Make the LLM of a backbone ready.", no_args_is_help=True)
app.add_typer(backbone_app, name="backbone", rich_help_panel=MODEL)


@backbone_app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="Folder of the checkpoint as published.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to make.")],
) -> None:
    """Turn a checkpoint into a folder that loads without any code of its own.

    ChatGLM2, ChatGLM3 and first-generation Qwen checkpoints are converted to the layouts that transformers knows,
    with fast tokenizers of the same ids; checkpoints that transformers knows are checked and linked.
    """
    from mse.backbones.convert import convert as convert_checkpoint

    convert_checkpoint(source, out)


def adapter_files(folder: Path) -> list[Path]:
    """The files of an adapter."""
    from mse.adapter.model import CONFIG_NAME, WEIGHTS_NAME

    return [folder / CONFIG_NAME, folder / WEIGHTS_NAME]


adapter_app = typer.Typer(help="Adapters as files.", no_args_is_help=True)
app.add_typer(adapter_app, name="adapter", rich_help_panel=MODEL)


@adapter_app.command("import")
def import_adapter(
    checkpoint: Annotated[Path, typer.Argument(help="State dict saved by the published code.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the adapter.")],
    backbone: Annotated[str, typer.Option(help="The LLM it was trained with, for the record.")] = "",
    dataset: Annotated[str, typer.Option(help="The corpus it was trained on, for the record.")] = "",
) -> None:
    """Read an adapter that was trained with the paper's published code; all widths are inferred."""
    from mse.adapter.published import import_published

    said = {"backbone": backbone, "dataset": dataset}
    with made("adapter import", adapter_files(out), sources=[checkpoint], settings=said):
        adapter = import_published(checkpoint, out, backbone, dataset)
    print(f"{sum(p.numel() for p in adapter.parameters()):,} parameters in {out}")


@adapter_app.command("card")
def card(
    folder: Annotated[Path, typer.Argument(help="Folder of the adapter.")],
    metrics: Annotated[Path | None, typer.Option(help="metrics.csv of its experiment.")] = None,
    intervals: Annotated[Path | None, typer.Option(help="intervals.csv of it.")] = None,
    config_file: ConfigFile = Path("config/config.yaml"),
) -> None:
    """Write README.md into an adapter's folder: what it was trained on, how good it is, how to load it."""
    from mse.pipeline import PIPELINE_NAME, read_pipeline
    from mse.share import CARD_NAME, write_card

    pipeline = read_pipeline(folder)
    corpus, backbone = None, None
    if config_file.is_file():  # where licences and sources stand
        run = config.parse(config.Config, config.read_yaml(config_file), str(config_file))
        if pipeline.corpus in config.known_names(run, "datasets"):
            corpus = config.load_dataset(run, pipeline.corpus)
        if pipeline.llm in config.known_names(run, "backbones"):
            backbone = config.load_backbone(run, pipeline.llm)
    inputs = [*adapter_files(folder), folder / PIPELINE_NAME, metrics, intervals]
    with made("adapter card", [folder / CARD_NAME], inputs=inputs):
        write_card(folder, metrics, intervals, corpus, backbone)
    print(folder / CARD_NAME)


@adapter_app.command("push")
def push_adapter(
    folder: Annotated[Path, typer.Argument(help="Folder of the adapter.")],
    name: Annotated[str, typer.Argument(help="OWNER/NAME on the hub; made where it is not there.")],
    private: Annotated[
        bool, typer.Option("--private", help="Nobody else may see it; refused where it is there and public.")
    ] = False,
    message: Annotated[str, typer.Option(help="Of the commit.")] = "Adapter",
) -> None:
    """Put an adapter's folder on a Hugging Face hub; log in with `hf auth login` before."""
    from mse.share import push

    print(push(folder, name, private, message))


Name = Annotated[str, typer.Option(help="The LLM's name, for the record.")]
Shape = Annotated[str | None, typer.Option(help="Shape of the adapter: a YAML file, or JSON text.")]


@app.command(rich_help_panel=MODEL)
def pretrain(
    dataset: DatasetIndex,
    llm: LLMFolder,
    backbone: BackboneFile,
    out: Out,
    name: Name = "",
    adapter: Shape = None,
    settings: Settings = None,
) -> None:
    """Learn once, for the adapters of all seeds, which pseudo tokens make the LLM write each label."""
    from mse.train import pretrain as pretrain_fusion

    llm_settings = config.settings(config.Backbone, backbone)
    shape = config.settings(config.AdapterSettings, adapter)
    chosen = config.settings(config.TrainSettings, settings)
    with made(
        "pretrain",
        [out],
        inputs=[dataset],
        sources=said_files(backbone, adapter, settings),
        models=[llm],
        settings={"name": name, "backbone": llm_settings, "adapter": shape, "train": chosen},
    ):
        pretrain_fusion(dataset, llm, name, llm_settings, shape, chosen, out)


@app.command(rich_help_panel=MODEL)
def train(
    dataset: DatasetIndex,
    llm: LLMFolder,
    backbone: BackboneFile,
    seed: Annotated[int, typer.Option(help="Seed of weights and order.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the adapter.")],
    history: Annotated[Path, typer.Option(help="Table to write: one row an epoch.")],
    name: Name = "",
    adapter: Shape = None,
    settings: Settings = None,
    fusion: Annotated[
        Path | None, typer.Option(help="What `mse pretrain` wrote; without it that is done first, if it is needed.")
    ] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Table of the adapter's answers for the test split, as of `mse answer`.")
    ] = None,
) -> None:
    """Train an adapter in front of a frozen LLM, and let it answer for the test split."""
    from mse.pipeline import PIPELINE_NAME
    from mse.train import train as train_adapter

    llm_settings = config.settings(config.Backbone, backbone)
    shape = config.settings(config.AdapterSettings, adapter)
    chosen = config.settings(config.TrainSettings, settings)
    with made(
        "train",
        [*adapter_files(out), out / PIPELINE_NAME, history],
        inputs=[dataset, fusion],
        sources=said_files(backbone, adapter, settings),
        models=[llm],
        settings={"name": name, "backbone": llm_settings, "adapter": shape, "train": chosen},
        seed=seed,
    ):
        loaded = train_adapter(dataset, llm, name, llm_settings, shape, chosen, seed, out, history, fusion)
    if predictions:
        _answer(dataset, llm, backbone, out, settings, "test", predictions, loaded)


@app.command(rich_help_panel=MODEL)
def answer(
    dataset: DatasetIndex,
    llm: LLMFolder,
    backbone: BackboneFile,
    out: Out,
    adapter: Annotated[
        Path | None, typer.Option(help="Folder of the adapter; without it the LLM answers alone (zero-shot).")
    ] = None,
    split: Split = "test",
    settings: Settings = None,
) -> None:
    """Let a trained adapter and its LLM answer for the clips of a split."""
    _answer(dataset, llm, backbone, adapter, settings, split, out)


def _answer(
    dataset: Path,
    llm: Path,
    backbone: str,
    adapter: Path | None,
    settings: str | None,
    split: str,
    out: Path,
    loaded: "FrozenLLM | None" = None,
) -> None:
    """Write and record a table of answers; an LLM that is loaded already is not loaded again."""
    from mse.predictions import answer_split
    from mse.resume import forget_state

    chosen = config.settings(config.TrainSettings, settings) if settings else None
    llm_settings = config.settings(config.Backbone, backbone)
    with made(
        "answer",
        [out],
        inputs=[dataset, *(adapter_files(adapter) if adapter else [])],
        sources=said_files(backbone, settings),
        models=[llm],
        # What is not said is as in the adapter's training.
        settings={"backbone": llm_settings, "train": chosen and chosen.model_dump(exclude_unset=True), "split": split},
    ):
        answer_split(dataset, llm, llm_settings, adapter, chosen, out, split, loaded)
    if adapter:
        with suppress(OSError):  # it lies where nothing may be changed
            forget_state(adapter)


@app.command(rich_help_panel=MODEL)
def linear(
    dataset: DatasetIndex,
    out: Out,
    split: Split = "test",
    acoustic_set: Annotated[
        list[str] | None, typer.Option(help="A set of acoustic features to use; may be said again. None: all.")
    ] = None,
) -> None:
    """Let a linear model answer: ridge or logistic regression on summed-up features and characters."""
    from mse.linear import predict_linear

    with made("linear", [out], inputs=[dataset], settings={"split": split, "acoustic_sets": acoustic_set or []}):
        predict_linear(dataset, out, split, acoustic_set or [])
