"""What a target needs and does not find here, said in one message before anything runs."""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from mse.backbones.checkpoint import Checkpoint
from mse.backbones.places import MODELS, checkpoint_folder, how_to_get, is_ready, model_folder
from mse.config import Config, Dataset, SpeechModelSettings, known_names, load_backbone, load_dataset
from mse.corpus import read_corpus, require_root
from mse.corpus.sources import media_names, table_files
from mse.errors import UserError
from mse.fetch import Model, source_of
from mse.fetch import model_folder as fetched_folder

WORK = Path("work")  # where the workflow keeps a corpus's manifest and features
TARGET = re.compile(
    r"(?:\./)?(?:work/(?P<work>[\w.-]+)|results/(?P<dataset>[\w.-]+)/(?P<backbone>(?!baselines/)[\w.-]+))/.+"
)


def missing_for(
    targets: Iterable[str], config: Config, registry: Mapping[str, Model], made_here: Iterable[str] = ()
) -> list[str]:
    """Everything that these targets need from outside and that is not there, a line each.

    A corpus that was not read before is read, so that mistakes in its tables are told here too.

    Args:
        targets: words of the command line; those that are no files of ours are passed over.
        config: the run's configuration.
        registry: models that can be fetched by name.
        made_here: corpora that the workflow makes itself.
    """
    found: dict[str, None] = {}  # keeps the order and drops repetitions
    corpora = known_names(config, "datasets")
    backbones = known_names(config, "backbones")
    for key, what, given, known in (
        ("roots", "corpus", config.roots, corpora),
        ("checkpoints", "backbone", config.checkpoints, backbones),
    ):
        for name in given:
            if name not in known:
                found[f"{key}: {name!r} is no {what}; there is {', '.join(known)}"] = None

    def note(check: Callable[[], None]) -> None:
        try:
            check()
        except UserError as e:
            found[str(e)] = None

    for target in map(TARGET.fullmatch, targets):
        if target is None:
            continue
        name, backbone = target["work"] or target["dataset"], target["backbone"]
        if name not in made_here:
            note(partial(_check_corpus, name, config, registry))
        if backbone:
            note(partial(_check_backbone, backbone, config, registry))
    return list(found)


def _check_corpus(name: str, config: Config, registry: Mapping[str, Model]) -> None:
    dataset = load_dataset(config, name)
    require_root(name, dataset)
    _check_recogniser(name, dataset, config, registry)
    if "acoustic" in dataset.modalities and not dataset.released:
        _check_speech_models(config, registry)
    media_names(dataset)
    absent = [str(path) for path in table_files(dataset) if not path.is_file()]
    if absent:
        ask = f" The corpus comes from {dataset.source}." if dataset.source else ""
        raise UserError(
            f"the corpus {name} is not as its YAML says: {dataset.root} lacks {', '.join(absent)}.{ask} "
            f"Put these files there, or mend `tables` or `root`; `mse corpus check {name}` looks closer"
        )
    # Later on the manifest's rule says the same, but in the midst of Snakemake's own lines about a failed job.
    if not dataset.released and not (WORK / name / "manifest.csv").exists():
        read_corpus(dataset)


def _check_recogniser(name: str, dataset: Dataset, config: Config, registry: Mapping[str, Model]) -> None:
    model = config.transcribe.model
    if not dataset.hears_words(config.transcribe):
        return
    try:
        fetched_folder(model, MODELS, registry)
    except UserError as e:
        raise UserError(f"transcribe.{e}") from e
    if dataset.language not in ("en", "auto") and model.endswith(".en"):
        lacks = " and has no text" if dataset.needs_asr else ""
        raise UserError(
            f"the corpus {name} is spoken in {dataset.language!r}{lacks}, but transcribe.model = {model!r} "
            "knows English alone; say transcribe: {model: whisper-base} in config/config.yaml, or for one run --config "
            "'transcribe={model: whisper-base}'"
        )


def _check_speech_models(config: Config, registry: Mapping[str, Model]) -> None:
    for name, made_by in config.acoustic_sets.items():
        if isinstance(made_by, SpeechModelSettings):
            try:
                fetched_folder(made_by.model, MODELS, registry)
            except UserError as e:
                raise UserError(f"acoustic.{name}.{e}") from e


def _check_backbone(name: str, config: Config, registry: Mapping[str, Model]) -> None:
    backbone = load_backbone(config, name)
    if backbone.model:
        if backbone.model not in registry:
            raise UserError(
                f"the backbone {name} wants the model {backbone.model!r}, which resources/models.yaml does not have; "
                f"there is {', '.join(registry)}"
            )
        return
    if name in registry:
        raise UserError(
            f"the backbone {name} has the name of a model in resources/models.yaml, whose folder it would take; "
            "rename its YAML file"
        )
    folder = checkpoint_folder(config, name, backbone)
    ready = is_ready(name, backbone)
    if not (folder / "config.json").is_file() and not ready:
        raise UserError(
            f"the LLM of the backbone {name} is not here: no config.json in {folder}; "
            f"{how_to_get(name, backbone, folder)}"
        )
    if not ready:
        Checkpoint(folder)  # tells of files that are missing
    made_from = source_of(folder) or source_of(model_folder(name, backbone)).get("fetched") or {}
    pinned = backbone.revision if re.fullmatch("[0-9a-f]{40}", backbone.revision or "") else None
    for key, wanted in (("hub", backbone.hub), ("commit", pinned)):
        if wanted and key in made_from and made_from[key] != wanted:
            raise UserError(
                f"the backbone {name} wants {backbone.hub} at revision {backbone.revision}, but what lies here was "
                f"fetched from {made_from['hub']} at {made_from['commit']}; fetch it anew with `mse fetch {name}`"
            )
