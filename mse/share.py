"""Adapters that go elsewhere: a model card beside the weights, and the way to a hub."""

import html
import json
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from mse.adapter import MSEAdapter
from mse.adapter.model import CONFIG_NAME, WEIGHTS_NAME
from mse.atomic import replacing
from mse.backbones.places import CHECKPOINTS, MODELS
from mse.config import Backbone, Dataset, Intensity
from mse.errors import UserError
from mse.fetch import HUB_ID, model_folder
from mse.metric_names import METRIC_NAMES, PERCENT
from mse.pipeline import PIPELINE_NAME, FeatureSet, Pipeline, read_pipeline
from mse.provenance import SUFFIX
from mse.tables import read_intervals, read_table

CARD_NAME = "README.md"
SHARED = [CONFIG_NAME, WEIGHTS_NAME, PIPELINE_NAME, CARD_NAME, f"*{SUFFIX}"]
TRAINED = "results/*/*/seed-*/adapter"  # where the workflow puts adapters
MOST_NAMED = 5  # of them
ROUNDING = 2e-4  # of metrics.csv and intervals.csv, which are written to four digits


def adapter_folder(adapter: Path | str, models: Path = MODELS) -> Path:
    """Where an adapter lies: a folder, or OWNER/NAME[@REVISION] of a hub, fetched before.

    Raises:
        UserError: neither is there, or what is there is no adapter.
    """
    folder = Path(os.path.expanduser(adapter))
    if not folder.is_dir():
        if not HUB_ID.fullmatch(str(adapter)):
            raise UserError(
                f"{adapter}: no such folder; {_trained_here()}, or `mse fetch OWNER/NAME` gets one of a hub"
            )
        folder = model_folder(str(adapter), models)
        if not folder.is_dir():
            raise UserError(
                f"{adapter}: neither a folder that is there, nor fetched; `mse fetch {adapter}` gets it of the hub"
            )
    if not (folder / WEIGHTS_NAME).is_file():
        raise UserError(f"{folder}: no adapter: it holds no {WEIGHTS_NAME}; {_trained_here()}")
    return folder


def _trained_here() -> str:
    here = ", ".join(map(str, sorted(Path().glob(TRAINED))[:MOST_NAMED])) or "none"
    return f"trained adapters here are: {here} ({TRAINED})"


def write_card(
    folder: Path, metrics: Path | None, intervals: Path | None, corpus: Dataset | None, backbone: Backbone | None
) -> None:
    """Write README.md of an adapter: what it was trained on, how good it is, how to load it.

    Args:
        folder: of the adapter.
        metrics: metrics.csv of its experiment; None: the card says that it was not scored.
        intervals: intervals.csv of it.
        corpus: its description, for the licence and the source; None where it is not known here.
        backbone: likewise.

    Raises:
        UserError: the folder is no adapter with a pipeline, or a table is of another experiment.
    """
    adapter, pipeline = MSEAdapter.from_pretrained(folder), read_pipeline(folder)
    parts = [
        _front(pipeline, backbone),
        f"# {_plain(pipeline.corpus)}, {pipeline.llm}: an MSE-Adapter",
        _what(adapter, pipeline),
        "## How to use it",
        _use(pipeline),
        "## How good it is",
        _scores(metrics, intervals, adapter, pipeline.corpus) if metrics else "It was not scored.",
        "## What it was trained on",
        _trained(adapter, pipeline, corpus, backbone),
        "## What it reads",
        _features(pipeline),
        "## Limits",
        _limits(pipeline),
    ]
    with replacing(folder / CARD_NAME) as partial:
        partial.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _plain(text: str) -> str:
    """Names and words of others as Markdown that shows them: one line, no cell's end, tag, link or picture."""
    return html.escape(" ".join(text.split()), quote=False).replace("|", "&#124;").replace("[", "&#91;")


def _front(pipeline: Pipeline, backbone: Backbone | None) -> str:
    """What a hub reads of a card."""
    kind = "multimodal-sentiment-analysis" if isinstance(pipeline.task, Intensity) else "emotion-recognition"
    said: dict[str, Any] = {"library_name": "mse", "tags": [kind, "mse-adapter"]}
    if pipeline.language != "auto":
        said["language"] = pipeline.language
    if pipeline.backbone.hub:
        said["base_model"] = pipeline.backbone.hub
    return "---\n" + yaml.safe_dump(said, sort_keys=True, allow_unicode=True) + "---"


def _what(adapter: MSEAdapter, pipeline: Pipeline) -> str:
    size = sum(parameter.numel() for parameter in adapter.parameters())
    task = pipeline.task
    answer = (
        f"a sentiment from {task.low:g} to {task.high:g}"
        if isinstance(task, Intensity)
        else f"one of {_plain(', '.join(task.names))}"
    )
    return (
        f"{size:,} parameters that put {adapter.config.settings.pseudo_tokens} pseudo tokens made from voice and face "
        f"into what the frozen LLM {pipeline.llm} reads, so that it answers with {answer} (MSE-Adapter, arXiv "
        "2502.12478). The LLM's own weights are not in this folder."
    )


def _use(pipeline: Pipeline) -> str:
    """Commands that work elsewhere than where it was trained."""
    backbone, llm = pipeline.backbone, pipeline.llm
    # How others extracted features is not known, so such an adapter reads nothing of new recordings but their words.
    new = pipeline.extraction is not None
    wanted = [] if backbone.folder else [backbone.model or llm]
    wanted += pipeline.extractors(pipeline.transcribe.model) if new else []
    lines = [f"mse fetch {' '.join(shlex.quote(' '.join(name.split())) for name in wanted)}"] if wanted else []
    text, given, options = "", '"ADAPTER"', "--adapter ADAPTER"
    if backbone.hub:
        lines.append(f"mse backbone convert {CHECKPOINTS / llm} --out {MODELS / llm}")
        revision = f" at revision {_plain(backbone.revision)}" if backbone.revision else ""
        text = f"`config/backbones/{llm}.yaml` must name {backbone.hub}{revision}. "
    if backbone.folder:
        text = f"The LLM {llm} was in a folder of the author's; LLM is yours, as `mse backbone convert` made it. "
        given, options = f'{given}, llm="LLM"', f"{options} --llm LLM"
    lines.append(f"mse predict {'talk.mp4' if new else '--text TEXT'} {options}")
    call = f"Predictor({given})" + ('(["talk.mp4"])' if new else '.texts(["TEXT"])')
    return (
        "In a clone of `mse`, with this folder (or its name on a hub, after `mse fetch OWNER/NAME`) as ADAPTER. "
        f"{text}In a shell:\n\n"
        + "\n".join(f"    {line}" for line in lines)
        + f"\n\nor in Python:\n\n    from mse.predict import Predictor\n\n    {call}"
    )


def _scores(metrics: Path, intervals: Path | None, adapter: MSEAdapter, corpus: str) -> str:
    """The experiment's rows: the mean over all seeds, and this adapter's own."""
    texts = ("model", "run", "decoding", "corpus")
    table = read_table(metrics, texts, tuple(METRIC_NAMES), "mse score", required=(*texts, "n"))
    models = table[table["model"] == next(iter(table["model"]), "")]  # the first, which the others are compared with
    own, decoding = f"seed-{adapter.config.seed}", (adapter.config.train.decoding if adapter.config.train else "")
    rows = models[models["decoding"].isin([decoding, ""])]
    if {*table["corpus"]} != {corpus} or own not in {*rows["run"]}:
        held = f"{', '.join(rows['run']) or 'no run'} of the corpus {', '.join(sorted({*table['corpus']})) or 'none'}"
        raise UserError(f"{metrics}: holds {held}; expected {own} of the corpus {corpus}, as the adapter was trained")
    columns = [name for name in METRIC_NAMES if name in table]
    lines = ["| | " + " | ".join(METRIC_NAMES[name][0] for name in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for run, named in ((own, "this adapter"), ("mean", "mean over the seeds"), ("sd", "standard deviation over them")):
        for _, row in rows[rows["run"] == run].iterrows():
            lines.append(f"| {named} | " + " | ".join(_number(row[name], name) for name in columns) + " |")
    text = f"On the {table['n'].iloc[0]} test clips of the corpus:\n\n" + "\n".join(lines)
    return text + (_between(intervals, metrics, models, columns) if intervals else "")


def _number(value: float, metric: str) -> str:
    if pd.isna(value):
        return ""
    return f"{100 * value:.1f}" if metric in PERCENT else f"{value:.3f}"


def _between(intervals: Path, metrics: Path, scored: pd.DataFrame, columns: list[str]) -> str:
    """The intervals of the first model's means; its values, which stand in both tables, tell whether they belong."""
    table = read_intervals(intervals)
    rows = table[table["reference"] & table["metric"].isin(columns)]
    means = {(row["model"], row["decoding"]): row for _, row in scored[scored["run"] == "mean"].iterrows()}
    for row in rows.itertuples():
        place = (row.model, row.decoding)
        known = means[place][row.metric] if place in means else None
        if known is None or abs(known - row.value) > ROUNDING:
            raise UserError(
                f"{intervals}: holds {row.metric} {row.value} of {' '.join(place).strip()}; expected {known}, as in "
                f"{metrics}: give both tables of one experiment"
            )
    told = [
        f"{METRIC_NAMES[row.metric][0]} {_number(row.value, row.metric)} "
        f"({_number(row.low, row.metric)} to {_number(row.high, row.metric)})"
        for row in rows.itertuples()
        if pd.notna(row.low)
    ]
    return "\n\nWith 95 % bootstrap intervals over clips, mean of the seeds: " + "; ".join(told) + "." if told else ""


def _trained(adapter: MSEAdapter, pipeline: Pipeline, corpus: Dataset | None, backbone: Backbone | None) -> str:
    config = adapter.config
    rows = [
        ("corpus", pipeline.corpus),
        ("its source", corpus.source if corpus else ""),
        ("its licence", corpus.license if corpus else ""),
        ("LLM", pipeline.llm),
        ("where from", _source(config.llm_source, pipeline.backbone)),
        ("its licence", (backbone or pipeline.backbone).license),
        ("seed", str(config.seed)),
        ("made with", f"mse {pipeline.made_with}"),
        ("settings", json.dumps(config.train.model_dump(exclude_defaults=True)) if config.train else ""),
    ]
    return "| | |\n|---|---|\n" + "\n".join(f"| {name} | {_plain(text)} |" for name, text in rows if text)


def _source(made_from: Mapping[str, Any], backbone: Backbone) -> str:
    """Where the LLM came from that the adapter was trained with; config.json has the digests of its files."""
    hub = made_from.get("hub") or backbone.hub
    if hub:
        return f"{hub}@{made_from.get('commit') or made_from.get('revision') or backbone.revision or 'unknown'}"
    return f"the Python package {made_from['wheel']}" if made_from.get("wheel") else "a folder of the author's"


def _features(pipeline: Pipeline) -> str:
    """A line a set; the settings are whole in pipeline.json."""

    def line(what: str, made: FeatureSet) -> str:
        rate = f" {made.rate_hz:g} times a second" if made.rate_hz else ", as others released them"
        return f"- {what}: {len(made.feature_names)} numbers{rate}"

    lines = [
        line(f"sound, {_plain(str(made.settings.get('feature_set') or made.settings.get('model') or name))}", made)
        for name, made in pipeline.acoustic.items()
    ]
    lines += [line("face (MediaPipe)", pipeline.facial)] if pipeline.facial else []
    if pipeline.reads_text:
        lines.append(
            "- words: " + ("recognised by Whisper" if pipeline.text_from_speech else "as the corpus gives them")
        )
    return (
        "\n".join(lines)
        + f"\n\nAll settings, and the training clips' mean and deviation of each, are in `{PIPELINE_NAME}`."
    )


def _limits(pipeline: Pipeline) -> str:
    text = (
        f"It has learned from {_plain(pipeline.corpus)} alone: other people, languages, cameras and microphones are "
        "another matter, and what a face or a voice shows is not what somebody feels. Measure on data of your own "
        "before you rely on it."
    )
    if pipeline.reads_text and not pipeline.text_from_speech:
        text += (
            " In training it read written words; of a new recording it reads what "
            "Whisper recognises, with its mistakes."
        )
    return text


def push(folder: Path, name: str, private: bool, message: str) -> str:
    """Put an adapter's folder on a hub. Uses the network, and who you are by `hf auth login`.

    Args:
        folder: of the adapter, with its card.
        name: OWNER/NAME.
        private: whether nobody else may see it; a repository that is there already must be private then.
        message: of the commit.

    Returns:
        The commit's address.

    Raises:
        UserError: the folder is not whole, the repository is public against `private`, or the hub refuses or is out
            of reach.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # of whichever HTTP library it uses

    MSEAdapter.from_pretrained(folder)
    read_pipeline(folder)
    if not (folder / CARD_NAME).is_file():
        raise UserError(f"{folder}: no {CARD_NAME}; `mse adapter card` writes one, so that others know what it is")
    api = HfApi()
    try:
        api.create_repo(name, private=private, exist_ok=True)
        if private and not api.repo_info(name).private:  # one that was there stays as it was
            raise UserError(
                f"{name}: is there already, and public, against --private; nothing was uploaded: make it private in "
                "its settings on the hub, or give another name"
            )
        done = api.upload_folder(repo_id=name, folder_path=folder, allow_patterns=SHARED, commit_message=message)
    except (HTTPError, OSError, ValueError) as e:
        said = (str(e).strip() or type(e).__name__).splitlines()[0]
        raise UserError(f"{name}: can't be pushed ({said}); check the name, the network and `hf auth login`") from e
    return str(done.commit_url)
