# Everything that the rules ask of the configuration and the manifests. Rules themselves hold no logic.

import hashlib
from functools import cache
from pathlib import Path

from mse import config as mse_config
from mse.corpus import EXTRACTION_COLUMNS, read_manifest
from mse.errors import UserError
from mse.fetch import load_registry
from mse.stages import STAGES


wildcard_constraints:
    dataset=r"[\w.-]+",
    backbone=r"[\w.-]+",
    model=r"[\w.-]+",
    shard=r"\d+",
    seed=r"\d+",


def checked(function, *arguments):
    """Call into mse; a mistake of the user's ends the run with its message alone."""
    try:
        return function(*arguments)
    except UserError as e:
        raise WorkflowError(str(e)) from e


CONFIG = checked(
    mse_config.parse, mse_config.Config, config, "config/config.yaml or --config"
)
MODELS = "resources/models"
REGISTRY = checked(load_registry, Path("resources/models.yaml"))


@cache
def dataset(name):
    return checked(mse_config.load_dataset, CONFIG, name)


@cache
def backbone(name):
    return checked(mse_config.load_backbone, CONFIG, name)


def as_json(section, **limits):
    return section.model_dump_json(**limits)


def dataset_json(wildcards):
    """What a corpus is, without how to train on it."""
    return as_json(dataset(wildcards.dataset), exclude={"adapter", "train"})


def backbone_json(wildcards):
    return as_json(backbone(wildcards.backbone), exclude={"train"})


def adapter_json(wildcards):
    return as_json(mse_config.adapter_settings(CONFIG, dataset(wildcards.dataset)))


def train_settings(wildcards):
    return mse_config.train_settings(
        CONFIG, dataset(wildcards.dataset), backbone(wildcards.backbone)
    )


def corpus_table(wildcards):
    described = dataset(wildcards.dataset)
    return str(described.root / described.table)


# --- the manifest, once it is there ---


@cache
def shards_of(path, modified):
    """A manifest's clips by shard; `modified` makes a new manifest a new entry."""
    return dict(tuple(checked(read_manifest, Path(path)).groupby("shard")))


def shards(dataset_name):
    path = checkpoints.manifest.get(dataset=dataset_name).output[0]
    return shards_of(path, Path(path).stat().st_mtime_ns)


def shard_media(wildcards):
    """Recordings of a shard. One that is missing is no missing input: its clips say so in quality.csv."""
    media = shards(wildcards.dataset)[wildcards.shard]["media"].unique()
    return [path for path in media if Path(path).exists()]


def shard_digest(wildcards):
    """What extraction depends on, so that a changed label or text extracts nothing again."""
    rows = shards(wildcards.dataset)[wildcards.shard][EXTRACTION_COLUMNS]
    return hashlib.sha256(rows.to_csv(index=False).encode()).hexdigest()[:16]


def of_all_shards(pattern):
    """Input function: a file a shard."""

    def files(wildcards):
        names = sorted(shards(wildcards.dataset))
        return expand(pattern, dataset=wildcards.dataset, shard=names)

    return files


def transcripts(wildcards):
    if dataset(wildcards.dataset).text_from == "corpus":
        return []
    return of_all_shards("work/{dataset}/transcripts/{shard}.csv")(wildcards)


def transcripts_option(wildcards):
    if dataset(wildcards.dataset).text_from == "corpus":
        return ""
    return f"--transcripts work/{wildcards.dataset}/transcripts"


def of_all_seeds(name):
    """Input function: a file a seed."""
    return lambda wildcards: expand(
        f"results/{{dataset}}/{{backbone}}/seed-{{seed}}/{name}",
        dataset=wildcards.dataset,
        backbone=wildcards.backbone,
        seed=CONFIG.seeds,
    )


def registry_entry(wildcards):
    """What a model's files are made from, so that another revision or checksum fetches them again."""
    if wildcards.model not in REGISTRY:
        raise WorkflowError(
            f"resources/models.yaml: no model {wildcards.model!r}; there is {', '.join(REGISTRY)}"
        )
    return as_json(REGISTRY[wildcards.model], exclude={"description"})


def llm_mark(wildcards):
    return f"{MODELS}/{backbone(wildcards.backbone).model}/fetched.json"
