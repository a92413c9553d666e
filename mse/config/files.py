"""Finding configuration files by name, and laying settings over each other."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from mse.config.backbone import Backbone
from mse.config.dataset import Classes, Dataset
from mse.config.section import Section, parse, read_yaml
from mse.config.settings import (
    AdapterSettings,
    Config,
    ModalityName,
    Overlay,
    SegmentSettings,
    TrainSettings,
    Variant,
)
from mse.errors import UserError

Said = Mapping[str, Mapping[str, Any]]
NOTHING: Said = {}
NO_OVERLAY = Overlay()
Folder = Literal["datasets", "backbones", "variants"]
BASELINES = {"linear", "zero-shot"}  # rows beside the variants that are no variants
RELEASED_SUFFIX = "-released"  # so that no table of released features passes for one of our own


def find(config: Config, folder: Folder, name: str) -> Path:
    """The file that describes a dataset or backbone.

    Raises:
        UserError: no such file in any folder of config_path; the message lists the names there are.
    """
    for base in config.config_path:
        if (base / folder / f"{name}.yaml").is_file():
            return base / folder / f"{name}.yaml"
    known = known_names(config, folder)
    if folder == "variants":
        known += sorted(BASELINES)
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
    try:
        root = config.roots.get(name, dataset.root).expanduser()
    except RuntimeError as e:  # ~somebody, who is not here
        raise UserError(f"{path}: root = {str(dataset.root)!r}: {e}; write the whole path") from e
    return dataset.model_copy(update={"root": root})


def known_names(config: Config, folder: Folder) -> list[str]:
    """The names of all datasets, backbones or variants that there are."""
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
        if corpus.endswith(RELEASED_SUFFIX):
            raise UserError(
                f"{path}: corpora: say {corpus.removesuffix(RELEASED_SUFFIX)!r}; it holds of {corpus!r} too"
            )
        _check_overlay(overrides, f"{path}: corpora.{corpus}.")
    return backbone


def segment_settings(config: Config, dataset: Dataset, said: Said = NOTHING) -> SegmentSettings:
    """config.yaml's section segment, overridden by the corpus's, and by what was said for this run."""
    return SegmentSettings(**config.segment.model_dump() | dataset.segment | dict(said.get("segment", {})))


def load_variant(config: Config, name: str) -> Variant:
    """Find and validate config/variants/NAME.yaml, its overrides included.

    Raises:
        UserError: no such file, a mistake in it, or a name that is taken.
    """
    path = find(config, "variants", name)
    if name in {*BASELINES, "constant"}:
        raise UserError(
            f"{path}: a variant can't be named {name}, which is a row of its own in tables; rename the file"
        )
    variant = parse(Variant, read_yaml(path), str(path))
    _check_overlay(variant, f"{path}: ")
    return variant


def _check_overlay(overlay: Overlay, prefix: str) -> None:
    parse(AdapterSettings, overlay.adapter, f"{prefix}adapter")
    parse(TrainSettings, overlay.train, f"{prefix}train")


@dataclass(frozen=True)
class Experiment:
    """What settles how adapters are trained.

    Attributes:
        config: the run's configuration.
        name: of the corpus.
        dataset: the corpus.
        backbone: the LLM.
        said: sections of the command line's --config and --configfile.
        variant: what this experiment changes.
    """

    config: Config
    name: str
    dataset: Dataset
    backbone: Backbone
    said: Said = field(default_factory=dict)
    variant: Overlay = NO_OVERLAY

    @property
    def adapter(self) -> AdapterSettings:
        """The section adapter: config.yaml, overridden as `train` is.

        Raises:
            UserError: it names a set of acoustic features that is not made.
        """
        chosen = AdapterSettings(**self._laid_over("adapter", {}))
        unknown = sorted({*chosen.acoustic_sets} - {*self.config.acoustic_sets})
        if unknown and not self.dataset.released:
            raise UserError(
                f"adapter.acoustic_sets: no set {', '.join(unknown)} in the section acoustic of the configuration; "
                f"there is {', '.join(self.config.acoustic_sets)}"
            )
        return chosen

    @property
    def train(self) -> TrainSettings:
        """The section train: config.yaml, overridden by the corpus's, the backbone's, the backbone's for this corpus,
        by what was said for this run, and by the variant.

        Features that others released (NAME-released) are trained on as NAME's own are.
        """
        return TrainSettings(**self._laid_over("train", self.backbone.train))

    @property
    def fusion(self) -> dict[str, Any]:
        """What settles what the adapter's fusion begins with; adapters that agree in it can share that."""
        return self.adapter.fusion | self.train.model_dump(include={"label_spread", "max_text_tokens", "fusion_steps"})

    @property
    def applies(self) -> bool:
        """Whether the variant changes anything here, and leaves some modality.

        A corpus without a picture needs no trial of leaving it out.
        """
        main = replace(self, variant=NO_OVERLAY)
        of_no_effect = {"label_spread"} if isinstance(self.dataset.task, Classes) else set()
        return bool(self._modalities) and (
            self.train.model_dump(exclude=of_no_effect) != main.train.model_dump(exclude=of_no_effect)
            or self._modalities != main._modalities
            or self.adapter.model_dump(exclude={"modalities"}) != main.adapter.model_dump(exclude={"modalities"})
        )

    @property
    def _modalities(self) -> set[ModalityName]:
        return {*self.dataset.modalities} & {*self.adapter.modalities}

    def _laid_over(self, section: str, backbone: Mapping[str, Any]) -> dict[str, Any]:
        kin = self.backbone.corpora.get(self.name.removesuffix(RELEASED_SUFFIX), NO_OVERLAY)
        whole: dict[str, Any] = getattr(self.config, section).model_dump()
        for over in (getattr(self.dataset, section), backbone, getattr(kin, section), self.said.get(section, {})):
            whole |= over
        return whole | getattr(self.variant, section)


def write_schemas(folder: Path) -> None:
    """Write JSON schemas of the kinds of configuration files, for editors."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds: dict[str, type[Section]] = {"config": Config, "dataset": Dataset, "backbone": Backbone, "variant": Variant}
    for name, kind in kinds.items():
        text = json.dumps(kind.model_json_schema(), indent=2) + "\n"
        (folder / f"{name}.schema.json").write_text(text, encoding="utf-8")
