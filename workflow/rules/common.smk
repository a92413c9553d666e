# Everything that the rules ask of the configuration and the manifests. Rules themselves hold no logic.

import hashlib
import os
import re
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

from mse import config as mse_config
from mse.backbones import places
from mse.config.files import RELEASED_SUFFIX
from mse.corpus import EXTRACTION_COLUMNS, read_manifest
from mse.corpus.sources import media_names, table_files
from mse.errors import UserError
from mse.fetch import load_registry, model_folder
from mse.missing import missing_for
from mse.rows import read_rows
from mse.stages import SPEECH_MODEL_THREADS, STAGES


wildcard_constraints:
    dataset=r"[\w.-]+",
    backbone=r"[\w.-]+",
    model=r"[\w.@-]+",
    shard=r"\d+",
    seed=r"\d+",
    set=r"[A-Za-z0-9][\w.-]*",
    variant=r"(/variants/[\w.-]+)?",


# Released features come as a file, all others are made here; the name says which (mse/config/files.py).
RELEASED = rf"[\w.-]+{RELEASED_SUFFIX}"
RAW = rf"(?![\w.-]*{RELEASED_SUFFIX}/)[\w.-]+"


def checked(function, *arguments):
    """Call into mse; a mistake of the user's ends the run with its message alone."""
    try:
        return function(*arguments)
    except UserError as e:
        raise WorkflowError(str(e)) from e


# Snakemake reads whatever --config says as text, null too.
CONFIG = checked(
    mse_config.parse,
    mse_config.Config,
    mse_config.with_nulls(config),
    "config/config.yaml or --config",
)
# What --config and --configfile say for one run outweighs every file.
SAID = mse_config.with_nulls(workflow.config_settings.overwrite_config)
MODELS = str(places.MODELS)
DEMO = "demo"  # the one corpus that is made here
REGISTRY = checked(load_registry, Path("resources/models.yaml"))

# Snakemake would tell only the first thing that is missing, and only as a file that no rule makes.
MISSING = missing_for(sys.argv[1:], CONFIG, REGISTRY, made_here=[DEMO])
if MISSING:
    sys.exit("\n".join(f"error: {line}" for line in MISSING))


@cache
def dataset(name):
    return checked(mse_config.load_dataset, CONFIG, name)


@cache
def backbone(name):
    return checked(mse_config.load_backbone, CONFIG, name)


@cache
def variant(name):
    return checked(mse_config.load_variant, CONFIG, name)


def as_json(section, **limits):
    return section.model_dump_json(**limits)


def dataset_json(wildcards):
    """What a corpus is, without how to train on it."""
    beside = {"source", "license", "segment", "adapter", "train"}
    return as_json(dataset(wildcards.dataset), exclude=beside, exclude_defaults=True)


def backbone_json(wildcards):
    """How an LLM reads and writes; where it came from stands in its own folder."""
    beside = {"train", "corpora", "license", "size_gb", "files"}
    return as_json(backbone(wildcards.backbone), exclude=beside, exclude_defaults=True)


def experiment(wildcards, variant_name=None):
    """What settles how adapters are trained, by default in the variant of the wildcard; "" is the main experiment."""
    name = wildcards.dataset
    changes = variant_name
    if variant_name is None:  # the wildcard is /variants/NAME, or empty
        changes = Path(wildcards.get("variant", "")).name
    overlay = variant(changes) if changes else mse_config.Overlay()
    return mse_config.Experiment(
        CONFIG, name, dataset(name), backbone(wildcards.backbone), SAID, overlay
    )


def adapter_json(wildcards):
    return as_json(experiment(wildcards).adapter)


def train_json(wildcards):
    return as_json(experiment(wildcards).train)


def pretrain_json(wildcards):
    """What learning what the LLM must be shown depends on."""
    used = {"label_spread", "max_text_tokens", "fusion_steps", "batch_size"}
    used |= {"text_cache_gb", "gradient_checkpointing", "device", "threads"}
    return as_json(experiment(wildcards).train, include=used)


def answer_json(wildcards):
    """What the LLM's answers without an adapter depend on."""
    used = {"batch_size", "max_text_tokens", "decoding"}
    return as_json(experiment(wildcards).train, include=used | {"device", "threads"})


def fusion_file(wildcards):
    """What the fusion begins with, if it does not begin at random: the main experiment's, where the shape is the same."""
    main, chosen = experiment(wildcards, ""), experiment(wildcards)
    if not chosen.train.pretrain_epochs:
        return []
    own = "" if chosen.fusion == main.fusion else wildcards.get("variant", "")
    return f"results/{wildcards.dataset}/{wildcards.backbone}{own}/fusion.safetensors"


def fusion_option(wildcards):
    path = fusion_file(wildcards)
    return [f"--fusion={path}"] if path else []


def decoding(wildcards):
    return experiment(wildcards).train.decoding


def threads_of(wildcards):
    return experiment(wildcards).train.threads


def segment_settings(wildcards):
    return mse_config.segment_settings(CONFIG, dataset(wildcards.dataset), SAID)


def segment_json(wildcards):
    return as_json(segment_settings(wildcards))


def audio_track_option(wildcards):
    track = segment_settings(wildcards).audio_track
    return ["--audio-track", str(track)] if track else []


def extraction_option(wildcards):
    """What an adapter must know to extract the same from new recordings; released features were made elsewhere."""
    described = dataset(wildcards.dataset)
    if not described.needs_media:
        return []
    noted = mse_config.Extraction(
        cut=described.cut,
        quality=CONFIG.quality,
        segment=mse_config.segment_settings(CONFIG, described, SAID),
        transcribe=CONFIG.transcribe if described.needs_asr else None,
    )
    return [f"--extraction={as_json(noted)}"]


def as_inputs(paths):
    """Files that Snakemake watches; it takes {braces} in a name for a wildcard, so such a file is read unwatched."""
    return [path for path in paths if "{" not in path]


def corpus_tables(wildcards):
    return as_inputs(map(str, checked(table_files, dataset(wildcards.dataset))))


def corpus_media(wildcards):
    """Names of the files that are clips by their names, so that a new one is noticed."""
    names = checked(media_names, dataset(wildcards.dataset))
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]


# --- the manifest, once it is there ---


@cache
def shards_of(path, modified):
    """A manifest's clips by shard; `modified` makes a new manifest a new entry."""
    return dict(tuple(checked(read_manifest, Path(path)).groupby("shard")))


def shards(dataset_name, table="manifest"):
    """Clips by shard, once the checkpoint of that name has run."""
    if dataset(dataset_name).released:
        table = "released"
    path = getattr(checkpoints, table).get(dataset=dataset_name).output[0]
    return shards_of(path, Path(path).stat().st_mtime_ns)


def media_of(clips):
    """Recordings of some clips. One that is missing or out of reach is no input: its clips say so in quality.csv."""
    paths = clips["media"].unique()
    return as_inputs(p for p in paths if os.path.isfile(p) and os.access(p, os.R_OK))


def digest_of(clips):
    """What extraction depends on, so that a changed label or text extracts nothing again."""
    text = clips[EXTRACTION_COLUMNS].to_csv(index=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def shard_media(wildcards):
    return media_of(shards(wildcards.dataset)[wildcards.shard])


def shard_digest(wildcards):
    return digest_of(shards(wildcards.dataset)[wildcards.shard])


def recording_media(wildcards):
    return media_of(shards(wildcards.dataset, "recordings")[wildcards.shard])


def recording_digest(wildcards):
    return digest_of(shards(wildcards.dataset, "recordings")[wildcards.shard])


def fetched(model):
    """The mark of a pretrained model that is fetched by name; none for a folder that was put there by hand."""
    folder = checked(model_folder, model, places.MODELS, REGISTRY)
    mark = folder / places.FETCHED
    by_hand = (folder / "config.json").is_file() and not mark.is_file()
    return [] if by_hand or folder.parent != places.MODELS else str(mark)


# Sets of acoustic features that a speech model makes, not openSMILE.
HEARD_BY_MODEL = "|".join(
    re.escape(name)
    for name, made_by in CONFIG.acoustic_sets.items()
    if isinstance(made_by, mse_config.SpeechModelSettings)
)


def acoustic_set(wildcards):
    return CONFIG.acoustic_sets[wildcards.set]


def acoustic_json(wildcards):
    return as_json(acoustic_set(wildcards))


def speech_model(wildcards):
    return fetched(acoustic_set(wildcards).model)


def has_cut_words(dataset_name):
    """Whether the words of its clips were recognised when its recordings were cut."""
    cut = dataset(dataset_name).cut
    return bool(cut and cut.at == "sentences")


def cut_model(wildcards):
    return fetched(CONFIG.transcribe.model) if has_cut_words(wildcards.dataset) else []


def transcribe_model(wildcards):
    return [] if has_cut_words(wildcards.dataset) else fetched(CONFIG.transcribe.model)


def cut_words(wildcards):
    return utterances(wildcards) if has_cut_words(wildcards.dataset) else []


def cut_words_option(wildcards):
    return recordings_option(wildcards) if has_cut_words(wildcards.dataset) else []


def utterances(wildcards):
    if not dataset(wildcards.dataset).cut:
        return []
    names = sorted(shards(wildcards.dataset, "recordings"))
    return expand(f"work/{wildcards.dataset}/recordings/{{shard}}.csv", shard=names)


def recordings_option(wildcards):
    cut = dataset(wildcards.dataset).cut
    return [f"--recordings=work/{wildcards.dataset}/recordings"] if cut else []


def stage_folder(dataset_name, stage):
    """Where a stage's shards lie, or "" where the corpus needs no such stage."""
    described = dataset(dataset_name)
    folders = {
        "facts": ("segments", described.needs_media),
        "facial": ("features/facial", "facial" in described.modalities),
        "transcripts": ("transcripts", described.hears_words(CONFIG.transcribe)),
    }
    folder, needed = folders[stage]
    return f"work/{dataset_name}/{folder}" if needed else ""


def of_all_shards(stage, suffix):
    """Input function: a file a shard, or none where the corpus needs no such stage."""

    def files(wildcards):
        folder = stage_folder(wildcards.dataset, stage)
        names = sorted(shards(wildcards.dataset)) if folder else []
        return [f"{folder}/{shard}{suffix}" for shard in names]

    return files


def stage_options(*stages):
    """Params function: the options that name the folders of these stages."""

    def options(wildcards):
        folders = {stage: stage_folder(wildcards.dataset, stage) for stage in stages}
        return [f"--{stage}={folder}" for stage, folder in folders.items() if folder]

    return options


def set_folders(dataset_name):
    """The folder of each set of acoustic features by name; released ones come as a single set."""
    described = dataset(dataset_name)
    folder = f"work/{dataset_name}/features/acoustic"
    if "acoustic" not in described.modalities:
        return {}
    if described.released:
        return {"released": folder}
    return {name: f"{folder}/{name}" for name in CONFIG.acoustic_sets}


def of_all_sets(wildcards):
    folders = set_folders(wildcards.dataset).values()
    names = sorted(shards(wildcards.dataset)) if folders else []
    return [f"{folder}/{shard}.h5" for folder in folders for shard in names]


def set_options(wildcards):
    folders = set_folders(wildcards.dataset)
    return [f"--acoustic={name}={folder}" for name, folder in folders.items()]


def text_from(wildcards):
    return dataset(wildcards.dataset).text_used


def registry_entry(wildcards):
    """What a model's files are made from, so that another revision or checksum fetches them again."""
    if (
        "--" in wildcards.model
    ):  # of a hub, whose name says it all: OWNER--NAME@REVISION
        return wildcards.model
    if wildcards.model not in REGISTRY:
        raise WorkflowError(
            f"resources/models.yaml: no model {wildcards.model!r}; there is {', '.join(REGISTRY)}"
        )
    return as_json(REGISTRY[wildcards.model], exclude={"description"})


# --- LLMs ---

# A checkpoint that is not here any more needs no conversion: what was made of it is enough.
CHECKPOINTS = places.checkpoints_here(CONFIG)
CONVERTIBLE = "|".join(map(re.escape, CHECKPOINTS)) or "(?!)"


def checkpoint_files(wildcards):
    return [
        str(path) for path in places.checkpoint_files(CHECKPOINTS[wildcards.backbone])
    ]


def llm_mark(wildcards):
    return str(places.model_mark(wildcards.backbone, backbone(wildcards.backbone)))


def llm_folder(wildcards):
    return str(places.model_folder(wildcards.backbone, backbone(wildcards.backbone)))
