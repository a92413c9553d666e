"""LLMs, training and answers."""

from pathlib import Path
from typing import Annotated

import typer

from mse import config
from mse.cli.options import MODEL, BackboneFile, DatasetIndex, LLMFolder, Out, Settings, app

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
