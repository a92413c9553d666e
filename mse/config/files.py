"""Finding configuration files by name, and laying settings over each other."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from mse.config.backbone import Backbone
from mse.config.dataset import Dataset
from mse.config.section import parse, read_yaml
from mse.config.settings import AdapterSettings, Config, SegmentSettings, TrainSettings
from mse.errors import UserError

Said = Mapping[str, Mapping[str, Any]]
NOTHING: Said = {}
RELEASED_SUFFIX = "-released"  # so that no table of released features passes for one of our own


def find(config: Config, folder: Literal["datasets", "backbones"], name: str) -> Path:
    """The file that describes a dataset or backbone.

    Raises:
        UserError: no such file in any folder of config_path; the message lists the names there are.
    """
    for base in config.config_path:
        if (base / folder / f"{name}.yaml").is_file():
            return base / folder / f"{name}.yaml"
    known = known_names(config, folder)
    places = ", ".join(str(base / folder) for base in config.config_path)
    raise UserError(
        f"no {name}.yaml in {places}; there is {', '.join(known) or 'nothing'}. "
        f"Add the file, or name its folder's parent in config_path (config.yaml)."
    )


def load_dataset(config: Config, name: str) -> Dataset:
    """Find and validate config/datasets/NAME.yaml, its overrides included; `roots` says where it really lies.

    Raises:
        UserError: no such file, a mistake in it, or a name that hides where the features come from.
    """
    path = find(config, "datasets", name)
    dataset = parse(Dataset, read_yaml(path), str(path))
    parse(SegmentSettings, config.segment.model_dump() | dataset.segment, f"{path}: segment")
    parse(AdapterSettings, dataset.adapter, f"{path}: adapter")
    parse(TrainSettings, dataset.train, f"{path}: train")
    if (dataset.released is not None) != name.endswith(RELEASED_SUFFIX):
        raise UserError(
            f"{path}: a corpus of released features, and no other, has a name that ends in {RELEASED_SUFFIX}, "
            "so that its results are never taken for those of features made here; rename the file"
        )
    root = config.roots.get(name, dataset.root).expanduser()
    return dataset.model_copy(update={"root": root})


def known_names(config: Config, folder: Literal["datasets", "backbones"]) -> list[str]:
    """The names of all datasets or backbones that there are."""
    return sorted({path.stem for base in config.config_path for path in (base / folder).glob("*.yaml")})


def load_backbone(config: Config, name: str) -> Backbone:
    """Find and validate config/backbones/NAME.yaml, its overrides included.

    Raises:
        UserError: no such file, or a mistake in it.
    """
    path = find(config, "backbones", name)
    backbone = parse(Backbone, read_yaml(path), str(path))
    parse(TrainSettings, backbone.train, f"{path}: train")
    corpora = known_names(config, "datasets")
    for corpus, overrides in backbone.corpora.items():
        if corpus not in corpora:
            raise UserError(f"{path}: corpora: {corpus!r} is no corpus; there is {', '.join(corpora)}")
        parse(TrainSettings, overrides, f"{path}: corpora.{corpus}")
    return backbone


def segment_settings(config: Config, dataset: Dataset, said: Said = NOTHING) -> SegmentSettings:
    """config.yaml's section segment, overridden by the corpus's, and by what was said for this run."""
    return SegmentSettings(**config.segment.model_dump() | dataset.segment | dict(said.get("segment", {})))


def adapter_settings(config: Config, dataset: Dataset, said: Said = NOTHING) -> AdapterSettings:
    """config.yaml's section adapter, overridden by the corpus's, and by what was said for this run."""
    return AdapterSettings(**config.adapter.model_dump() | dataset.adapter | dict(said.get("adapter", {})))


def train_settings(
    config: Config, dataset_name: str, dataset: Dataset, backbone: Backbone, said: Said = NOTHING
) -> TrainSettings:
    """config.yaml's section train, overridden by the corpus's, the backbone's, the backbone's for this corpus, and by
    what was said for this run.

    Features that others released (NAME-released) are trained on as NAME's own are.

    Args:
        config: the run's configuration.
        dataset_name: of the corpus.
        dataset: the corpus.
        backbone: the LLM.
        said: sections of the command line's --config and --configfile.
    """
    corpus = backbone.corpora.get(dataset_name.removesuffix(RELEASED_SUFFIX), {})
    sections = (config.train.model_dump(), dataset.train, backbone.train, corpus, said.get("train", {}))
    return TrainSettings(**{key: value for section in sections for key, value in section.items()})


def write_schemas(folder: Path) -> None:
    """Write JSON schemas of the three kinds of configuration file, for editors."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, kind in (("config", Config), ("dataset", Dataset), ("backbone", Backbone)):
        text = json.dumps(kind.model_json_schema(), indent=2) + "\n"
        (folder / f"{name}.schema.json").write_text(text, encoding="utf-8")
