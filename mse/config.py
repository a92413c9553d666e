"""One typed, closed definition of every configuration file.

`Config` is config/config.yaml, `Dataset` is a file in config/datasets/, `Backbone` one in config/backbones/.
Unknown keys, wrong types and impossible values raise a UserError that names file, key, value and choices.
"""

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from mse.errors import UserError

Fraction = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A closed, immutable group of settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SegmentSettings(Section):
    """Cutting the sound of clips out of their recordings."""

    min_s: PositiveFloat = Field(0.2, description="a shorter clip is unusable (seconds)")
    max_s: PositiveFloat = Field(60.0, description="a longer clip is cut here, with a note in quality.csv (seconds)")


class AcousticSettings(Section):
    """openSMILE descriptors."""

    feature_set: Literal["eGeMAPSv02", "GeMAPSv01b", "ComParE_2016", "emobase"] = Field(
        "eGeMAPSv02", description="openSMILE feature set; its low-level descriptors are taken"
    )
    rate_hz: PositiveFloat = Field(20.0, description="frames a second; openSMILE's 100 are averaged down to it")


class FacialSettings(Section):
    """MediaPipe's face landmarks, blendshapes and head pose."""

    rate_hz: PositiveFloat = Field(10.0, description="pictures looked at, a second")
    max_side_px: PositiveInt = Field(640, description="larger pictures are scaled down to this (pixels)")
    min_confidence: Fraction = Field(0.5, description="least confidence that a found face is a face")


class TranscribeSettings(Section):
    """Speech recognition with faster-whisper."""

    model: str = Field("whisper-tiny.en", description="a name in resources/models.yaml")
    beam_size: PositiveInt = Field(5, description="width of the beam search")
    compute_type: Literal["int8", "int8_float32", "float16", "float32"] = Field(
        "int8", description="arithmetic of the recogniser"
    )


class AssembleSettings(Section):
    """Putting the features of all clips together."""

    clip_sd: PositiveFloat = Field(5.0, description="normalised features are clipped to +- this many deviations")
    max_bad_fraction: Fraction = Field(0.1, description="the run stops when more of the clips are unusable")


class AdapterSettings(Section):
    """The MSE-Adapter (paper, section Method). README says why the defaults differ from it."""

    acoustic_hidden: PositiveInt = Field(64, description="LSTM units that listen (h_a)")
    facial_hidden: PositiveInt = Field(32, description="LSTM units that look (h_v)")
    fusion_width: PositiveInt = Field(256, description="width of the fused vector")
    pseudo_tokens: PositiveInt = Field(4, description="pseudo tokens put before the text (n)")
    pooling: Literal["last", "mean"] = Field(
        "mean", description="summary over time: the last LSTM state (paper) or the mean of its outputs"
    )
    match_embedding_rms: bool = Field(
        True,
        description="normalise the mixed vector, and pseudo tokens to the LLM's embeddings (paper: false)",
    )
    learned_absence: bool = Field(
        True, description="a learned vector stands for a modality that a clip lacks (paper: false, zeros)"
    )


class TrainSettings(Section):
    """The training of one adapter."""

    learning_rate: PositiveFloat = Field(3e-3, description="peak of the cosine schedule")
    batch_size: PositiveInt = Field(8, description="clips a step")
    schedule_epochs: PositiveInt = Field(14, description="length of the learning-rate schedule, and the most epochs")
    patience_epochs: PositiveInt = Field(6, description="stop after this many epochs without a better validation")
    warmup_fraction: Fraction = Field(0.1, description="share of the schedule that warms up linearly")
    adam_eps: PositiveFloat = Field(1e-8, description="epsilon of AdamW (paper: 1e-4)")
    weight_decay: float = Field(0.01, ge=0, description="weight decay of AdamW")
    max_grad_norm: PositiveFloat | None = Field(1.0, description="clip the gradient's norm here; null: never (paper)")
    max_text_tokens: PositiveInt = Field(50, description="a longer text is cut here (tokens)")
    threads: PositiveInt = Field(2, description="CPU threads; part of what makes numbers reproducible")


class Config(Section):
    """config/config.yaml."""

    config_path: list[Path] = Field(
        [Path("config")],
        description="folders searched in this order for datasets/NAME.yaml and backbones/NAME.yaml",
    )
    seeds: list[NonNegativeInt] = Field([1111, 2222, 3333], min_length=1, description="one adapter is trained for each")
    segment: SegmentSettings = SegmentSettings()
    acoustic: AcousticSettings = AcousticSettings()
    facial: FacialSettings = FacialSettings()
    transcribe: TranscribeSettings = TranscribeSettings()
    assemble: AssembleSettings = AssembleSettings()
    adapter: AdapterSettings = AdapterSettings()
    train: TrainSettings = TrainSettings()

    @model_validator(mode="after")
    def _seeds_differ(self) -> Self:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds = {self.seeds}: a seed stands there twice and would count twice in the mean")
        return self


class Columns(Section):
    """Which column of the corpus's table holds what; null: the corpus has no such column."""

    clip_id: str = Field("clip_id", description="a name for each clip, unique in the corpus")
    media: str = Field("media", description="path of the video or sound file, from the corpus's root")
    start_s: str | None = Field(None, description="where the clip starts in the file (seconds); empty: its start")
    end_s: str | None = Field(None, description="where it ends (seconds); empty: the file's end")
    split: str | None = Field(None, description="train, valid or test; without it all clips are test clips")
    speaker: str | None = Field(None, description="who speaks")
    text: str | None = Field(None, description="what is said")
    label: str | None = Field(None, description="the truth; a corpus without it has features only")


class Intensity(Section):
    """Regression of a sentiment intensity."""

    kind: Literal["intensity"] = "intensity"
    low: float = Field(-3.0, description="least label")
    high: float = Field(3.0, description="greatest label")
    decimals: Annotated[int, Field(ge=0, le=2)] = Field(1, description="decimals of a written answer")
    metrics: Literal["mosei"] = Field("mosei", description="the family of metrics that is reported")

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be less than high ({self.high})")
        return self


class Dataset(Section):
    """A corpus: config/datasets/NAME.yaml."""

    root: Path = Field(description="folder of the corpus; a relative path starts at the working directory")
    table: Path = Field(Path("clips.csv"), description="CSV table of the clips, from the root")
    columns: Columns = Columns()
    language: str = Field("en", description="spoken language, as an ISO 639-1 code")
    text_from: Literal["corpus", "asr"] = Field("corpus", description="the corpus's own text, or speech recognition")
    shard_clips: PositiveInt = Field(100, description="clips a shard; those of one recording stay together")
    task: Intensity | None = Field(None, description="what is to be predicted; null: nothing, features only")
    preamble: str = Field("", description="what the LLM reads before each clip, such as examples (paper: nothing)")
    prompt: str = Field("", description="the question put to the LLM after the clip, in the corpus's language")
    adapter: dict[str, Any] = Field({}, description="overrides of the section adapter for this corpus")
    train: dict[str, Any] = Field({}, description="overrides of the section train for this corpus")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.task and not self.columns.label:
            raise ValueError("task is given, but columns.label does not say which column holds the labels")
        if self.task and not self.prompt:
            raise ValueError("task is given, but no prompt")
        if self.text_from == "corpus" and not self.columns.text:
            raise ValueError("text_from is 'corpus', but columns.text does not say which column holds the text")
        return self


class Backbone(Section):
    """A frozen LLM: config/backbones/NAME.yaml."""

    model: str = Field(description="a name in resources/models.yaml")
    license: str = Field(description="the weights' licence, for the record")
    open_mark: str = Field(description="text before the clip")
    close_mark: str = Field(description="text after the clip, before the prompt")
    answer_prefix: str = Field("", description="what joins prompt and answer; a space, where words carry theirs")
    explicit_plus: bool = Field(False, description="write positive intensities with a plus sign")
    train: dict[str, Any] = Field({}, description="overrides of the section train for this LLM")


S = TypeVar("S", bound=Section)


def parse(kind: type[S], values: Mapping[str, Any], source: str) -> S:
    """Validate a mapping against a section.

    Args:
        kind: the section's class.
        values: what a file (or the command line) says.
        source: where it was said, for the message.

    Raises:
        UserError: every unknown key, wrong type and impossible value, one a line.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as e:
        lines = [_explain(kind, problem) for problem in e.errors()]
        raise UserError(f"{source}: " + f"\n{source}: ".join(lines)) from e


def _explain(kind: type[Section], problem: Any) -> str:
    location = [str(part) for part in problem["loc"]]
    key = ".".join(location)
    if problem["type"] == "extra_forbidden":
        known = _keys(kind, location[:-1])
        close = difflib.get_close_matches(location[-1], known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known)}"
        return f"unknown key {key!r}; {hint}"
    if problem["type"] == "missing":
        return f"key {key!r} is missing"
    reason = problem["msg"].removeprefix("Value error, ")
    return f"{key} = {problem['input']!r}: {reason}" if key else reason


def _keys(kind: type[Section], location: list[str]) -> list[str]:
    """The legal keys of the sub-section at a location."""
    for part in location:
        annotation: Any = kind.model_fields[part].annotation if part in kind.model_fields else kind
        options = [annotation, *getattr(annotation, "__args__", ())]
        kind = next((o for o in options if isinstance(o, type) and issubclass(o, Section)), kind)
    return list(kind.model_fields)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        UserError: the file is missing, no YAML, or no mapping.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as e:
        raise UserError(f"{path}: no such file") from e
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise UserError(f"{path}: not valid YAML: {e}") from e
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected keys with values, found {type(values).__name__}")
    return values


def settings(kind: type[S], text: str | None) -> S:
    """Read one section from the command line.

    Args:
        kind: the section's class.
        text: JSON text, the path of a YAML file, or None for the defaults.
    """
    if text is None:
        return kind()
    if text.lstrip().startswith("{"):
        try:
            return parse(kind, json.loads(text), f"{kind.__name__} (JSON)")
        except json.JSONDecodeError as e:
            raise UserError(f"{kind.__name__}: not valid JSON: {e}") from e
    return parse(kind, read_yaml(Path(text)), text)


def find(config: Config, folder: Literal["datasets", "backbones"], name: str) -> Path:
    """The file that describes a dataset or backbone.

    Raises:
        UserError: no such file in any folder of config_path; the message lists the names there are.
    """
    for base in config.config_path:
        if (base / folder / f"{name}.yaml").is_file():
            return base / folder / f"{name}.yaml"
    known = sorted(path.stem for base in config.config_path for path in (base / folder).glob("*.yaml"))
    places = ", ".join(str(base / folder) for base in config.config_path)
    raise UserError(
        f"no {name}.yaml in {places}; there is {', '.join(known) or 'nothing'}. "
        f"Add the file, or name its folder's parent in config_path (config.yaml)."
    )


def load_dataset(config: Config, name: str) -> Dataset:
    """Find and validate config/datasets/NAME.yaml, its overrides included."""
    path = find(config, "datasets", name)
    dataset = parse(Dataset, read_yaml(path), str(path))
    parse(AdapterSettings, dataset.adapter, f"{path}: adapter")
    parse(TrainSettings, dataset.train, f"{path}: train")
    return dataset


def load_backbone(config: Config, name: str) -> Backbone:
    """Find and validate config/backbones/NAME.yaml, its overrides included."""
    path = find(config, "backbones", name)
    backbone = parse(Backbone, read_yaml(path), str(path))
    parse(TrainSettings, backbone.train, f"{path}: train")
    return backbone


def adapter_settings(config: Config, dataset: Dataset) -> AdapterSettings:
    """config.yaml's section adapter, overridden by the corpus's."""
    return AdapterSettings(**config.adapter.model_dump() | dataset.adapter)


def train_settings(config: Config, dataset: Dataset, backbone: Backbone) -> TrainSettings:
    """config.yaml's section train, overridden by the corpus's, then by the backbone's."""
    return TrainSettings(**config.train.model_dump() | dataset.train | backbone.train)


def write_schemas(folder: Path) -> None:
    """Write JSON schemas of the three kinds of configuration file, for editors."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, kind in (("config", Config), ("dataset", Dataset), ("backbone", Backbone)):
        text = json.dumps(kind.model_json_schema(), indent=2) + "\n"
        (folder / f"{name}.schema.json").write_text(text, encoding="utf-8")
