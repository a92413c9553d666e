"""config/datasets/NAME.yaml: a corpus as it lies on the disk, and what is to be learned from it."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Tag,
    model_validator,
)

from mse.config.section import Section
from mse.config.settings import Fraction, ModalityName, QualitySettings, SegmentSettings, TranscribeSettings
from mse.templates import Pattern, Template, clean_name

SplitName = Literal["train", "valid", "test"]


def _fills(text: str) -> str:
    Template(text).columns  # noqa: B018 (raises ValueError where the template is none)
    return text


def _reads(text: str) -> str:
    Pattern(text).names  # noqa: B018
    return text


ColumnOrTemplate = Annotated[str, Field(min_length=1), AfterValidator(_fills)]
ColumnName = Annotated[str, AfterValidator(clean_name)]
PatternText = Annotated[str, Field(min_length=1), AfterValidator(_reads)]


class Table(Section):
    """A table of clips: CSV, TSV, JSON (a list of objects, or one by name), JSON lines, or lines of plain text."""

    file: PatternText = Field(description="path from the root; a pattern such as Session{n}/{scene}.txt takes several")
    lines: PatternText | None = Field(
        None, description="pattern of a line of plain text; lines that do not fit are no clips"
    )
    encoding: str = Field("utf-8", description="how the file's characters are written")
    delimiter: str | None = Field(
        None, min_length=1, max_length=1, description="what separates cells; null: a comma, in .tsv and .tab a tab"
    )
    header: list[ColumnName] = Field(
        [], description="names of the columns of a CSV or TSV file that has no line with them"
    )
    values: dict[ColumnName, str] = Field(
        {}, description="columns that are the same in the whole table, such as its split"
    )
    join: list[ColumnName] = Field(
        [], description="this table adds columns to the rows of those before it, matched by these columns"
    )


class Columns(Section):
    """Where a clip's facts stand: a column's name, or a {template} of several; null: the corpus has no such thing."""

    clip_id: ColumnOrTemplate = Field("clip_id", description="a name for each clip, unique in the corpus")
    media: ColumnOrTemplate | None = Field(
        "media",
        description="path of the recording, from the corpus's root; may lack its ending; null: text only",
    )
    start: ColumnOrTemplate | None = Field(
        None, description="where the clip starts in the file (seconds, or h:mm:ss,mmm); empty: its start"
    )
    end: ColumnOrTemplate | None = Field(None, description="where it ends; empty: the file's end")
    speaker: ColumnOrTemplate | None = Field(None, description="who speaks")
    text: ColumnOrTemplate | None = Field(None, description="what is said")
    label: ColumnOrTemplate | None = Field(None, description="the truth; a corpus without it has features only")
    extra: list[ColumnName] = Field(
        [], description="more columns to keep beside the label, such as one for each modality"
    )


class ValueSplit(Section):
    """Splits by the values of a column; what is in none of the lists is a mistake, or goes to `others`."""

    variant: ClassVar[str] = "values"

    by: ColumnOrTemplate = Field(description="column or template: a split's name, a speaker, a session")
    train: list[str] = Field(["train"], description="values of training clips")
    valid: list[str] = Field(["valid", "dev", "val"], description="values of validation clips")
    test: list[str] = Field(["test"], description="values of test clips")
    others: SplitName | None = Field(None, description="where clips of any other value go; null: that is a mistake")

    @model_validator(mode="after")
    def _apart(self) -> Self:
        every = [*self.train, *self.valid, *self.test]
        twice = sorted({value for value in every if every.count(value) > 1})
        if twice:
            raise ValueError(f"{', '.join(map(repr, twice))}: listed for two splits")
        return self


class HashSplit(Section):
    """Splits drawn by a hash of a column: clips that share its value stay together, and stay when others are added."""

    variant: ClassVar[str] = "hash"

    hash_of: ColumnOrTemplate = Field(description="column or template that must not be torn apart, such as the speaker")
    valid: Fraction = Field(0.1, description="share of the values that goes to the validation split")
    test: Fraction = Field(0.2, description="share that goes to the test split")
    seed: int = Field(0, description="another number draws anew")

    @model_validator(mode="after")
    def _some_left(self) -> Self:
        if self.valid + self.test >= 1:
            raise ValueError(f"valid ({self.valid:g}) and test ({self.test:g}) leave nothing to train on")
        return self


def _split_kind(values: Any) -> str:
    hashed = "hash_of" in values if isinstance(values, dict) else isinstance(values, HashSplit)
    return HashSplit.variant if hashed else ValueSplit.variant


Split = Annotated[
    Annotated[ValueSplit, Tag(ValueSplit.variant)] | Annotated[HashSplit, Tag(HashSplit.variant)],
    Discriminator(_split_kind),
]


class Exclusion(Section):
    """Rows that are left out, with the reason; they stay visible in quality.csv."""

    where: ColumnOrTemplate = Field(description="column or template to look at")
    values: list[str] = Field(min_length=1, description="rows with one of these values are left out")
    reason: str = Field(min_length=1, description="why")


class Cut(Section):
    """Cutting recordings without known times into utterances, at pauses found by a voice-activity detector."""

    at: Literal["pauses", "sentences"] = Field(
        "pauses", description="end an utterance at a pause, or at the end of a recognised sentence too"
    )
    pause_s: PositiveFloat = Field(0.5, description="silence that ends an utterance (seconds)")
    min_s: PositiveFloat = Field(1.0, description="a shorter utterance is joined to a neighbour that is near (seconds)")
    max_s: PositiveFloat = Field(20.0, description="a longer one is cut at its quietest place (seconds)")
    pad_s: NonNegativeFloat = Field(0.3, description="kept before and after what was found (seconds)")

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if 2 * self.min_s > self.max_s:
            raise ValueError(f"max_s ({self.max_s:g}) must be at least twice min_s ({self.min_s:g}), to be cut in two")
        return self


class Intensity(Section):
    """Regression of a sentiment intensity."""

    variant: ClassVar[str] = "intensity"

    kind: Literal["intensity"] = "intensity"
    low: float = Field(-3.0, description="least label")
    high: float = Field(3.0, description="greatest label")
    decimals: Annotated[int, Field(ge=0, le=2)] = Field(1, description="decimals of a written answer")
    metrics: Literal["mosei", "sims"] = Field("mosei", description="the family of metrics that is reported")
    key_metric: Literal["mae", "corr"] = Field("mae", description="what chooses the best epoch on the validation split")

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be less than high ({self.high})")
        if self.metrics == "sims" and (self.low < -1 or self.high > 1):
            raise ValueError(f"the metrics of sims are for labels from -1 to 1, not {self.low:g} to {self.high:g}")
        return self


class Classes(Section):
    """Classification, such as of emotions."""

    variant: ClassVar[str] = "classes"

    kind: Literal["classes"] = "classes"
    classes: dict[str, list[str]] = Field(
        min_length=2, description="each class, in order, with the values of columns.label that mean it"
    )
    answer: Literal["name", "index"] = Field(
        "name", description="the LLM writes the class's name, or its number in the order (paper: index)"
    )
    key_metric: Literal["weighted_f1", "macro_f1", "accuracy"] = Field(
        "weighted_f1", description="what chooses the best epoch on the validation split"
    )

    @model_validator(mode="after")
    def _one_class_a_value(self) -> Self:
        every = [value for values in self.classes.values() for value in values]
        twice = sorted({value for value in every if every.count(value) > 1})
        if twice:
            raise ValueError(f"classes: {', '.join(map(repr, twice))} means two of them")
        empty = [name for name, values in self.classes.items() if not values]
        if empty:
            raise ValueError(f"classes.{empty[0]}: no value of columns.label means it")
        return self

    @property
    def names(self) -> list[str]:
        """The classes in order."""
        return list(self.classes)

    @property
    def index_of(self) -> dict[str, int]:
        """The class's number for each value that a table may hold."""
        return {value: index for index, values in enumerate(self.classes.values()) for value in values}


def _task_kind(values: Any) -> str:
    if not isinstance(values, dict):
        return getattr(values, "variant", "")
    return str(values.get("kind", Classes.variant if "classes" in values else Intensity.variant))


Task = Annotated[
    Annotated[Intensity, Tag(Intensity.variant)] | Annotated[Classes, Tag(Classes.variant)],
    Discriminator(_task_kind, custom_error_type="task_kind", custom_error_message="kind must be intensity or classes"),
]


class Released(Section):
    """Features that others extracted, instead of media: read with `mse import`."""

    format: Literal["mmsa", "records"] = Field(
        description="mmsa: one file, a dict by split; records: a file a split, each a list of clips"
    )
    files: dict[Literal["all", "train", "valid", "test"], Path] = Field(
        min_length=1, description="paths from the root: `all` for mmsa, one for each split for records"
    )

    @model_validator(mode="after")
    def _files_fit(self) -> Self:
        wanted = {"all"} if self.format == "mmsa" else {"train", "valid", "test"}
        if set(self.files) != wanted:
            raise ValueError(
                f"files has the keys {', '.join(self.files)}; {self.format} has {', '.join(sorted(wanted))}"
            )
        return self


class Dataset(Section):
    """A corpus."""

    root: Path = Field(description="folder of the corpus; `roots` in config.yaml may say another")
    source: str = Field("", description="where to ask for the corpus, for the message when it is not there")
    license: str = Field("", description="the corpus's licence, for the record")
    tables: list[Table] = Field([], description="tables of the clips")
    files: PatternText | None = Field(
        None,
        description="instead of tables: a pattern of media files from the root, each a clip; {ending}: of any medium, "
        "{path}: through folders; {file} is its path, {name} the path without the ending",
    )
    released: Released | None = Field(None, description="instead of media: features that others extracted")
    columns: Columns = Columns()
    recode: dict[ColumnName, dict[str, str]] = Field({}, description="for each column named here: replace these values")
    exclude: list[Exclusion] = Field([], description="rows to leave out, with the reason")
    split: Split | None = Field(None, description="train, valid and test; null: all clips are test clips")
    cut: Cut | None = Field(None, description="cut long recordings into utterances; null: a row of the table is a clip")
    modalities: list[ModalityName] = Field(
        ["acoustic", "facial", "text"], min_length=1, description="what the corpus has, or what is to be used of it"
    )
    language: str = Field(
        "en",
        pattern=r"^([a-z]{2,3}|auto)$",
        description="spoken language, as an ISO 639-1 code; auto: heard clip by clip",
    )
    text_from: Literal["corpus", "asr"] = Field("corpus", description="the corpus's own text, or speech recognition")
    shard_clips: PositiveInt = Field(100, description="clips a shard; those of one recording stay together")
    task: Task | None = Field(None, description="what is to be predicted; null: nothing, features only")
    preamble: str = Field("", description="what the LLM reads before each clip, such as examples (paper: nothing)")
    prompt: str = Field("", description="the question put to the LLM after the clip, in the corpus's language")
    segment: dict[str, Any] = Field({}, description="overrides of the section segment for this corpus")
    adapter: dict[str, Any] = Field({}, description="overrides of the section adapter for this corpus")
    train: dict[str, Any] = Field({}, description="overrides of the section train for this corpus")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        given = [name for name in ("tables", "files", "released") if getattr(self, name)]
        if len(set(self.modalities)) < len(self.modalities):
            raise ValueError(f"modalities = {self.modalities}: one stands there twice")
        if not given or {"files", "released"} <= set(given) or {"tables", "released"} <= set(given):
            raise ValueError(f"give tables, files or released; found {', '.join(given) or 'none of them'}")
        if "files" in given and any(not table.join for table in self.tables):
            raise ValueError("with files, a table can only add columns: say which ones match (join)")
        if self.tables and not self.files and self.tables[0].join:
            raise ValueError("the first table has nothing to be joined to; leave out its join")
        if self.task and not self.prompt:
            raise ValueError("task is given, but no prompt")
        if self.released:
            return self
        if self.task and not self.columns.label:
            raise ValueError("task is given, but columns.label does not say which column holds the labels")
        if self.cut and (self.task or self.columns.start or self.columns.end or self.split):
            raise ValueError("cut makes clips of its own: the corpus can have no task, split, start or end")
        if "text" in self.modalities and self.text_from == "corpus" and not self.columns.text:
            raise ValueError("text_from is 'corpus', but columns.text does not say which column holds the text")
        if self.needs_media and not self.columns.media:
            raise ValueError(
                "columns.media is null, so the corpus has text alone: modalities: [text], text_from: corpus"
            )
        return self

    @property
    def needs_media(self) -> bool:
        """Whether any recording is read."""
        return not self.released and (set(self.modalities) != {"text"} or self.text_from == "asr")

    @property
    def needs_asr(self) -> bool:
        """Whether speech is recognised."""
        return not self.released and "text" in self.modalities and self.text_from == "asr"

    @property
    def text_used(self) -> Literal["corpus", "asr", "none"]:
        """Whose text adapters read."""
        if "text" not in self.modalities:
            return "none"
        return "asr" if self.needs_asr else "corpus"

    def hears_words(self, settings: TranscribeSettings) -> bool:
        """Whether speech is recognised, as the corpus's text or to be compared with it."""
        has_own = self.needs_media and "text" in self.modalities and self.columns.media is not None
        return self.needs_asr or (settings.beside_text and has_own)


class Extraction(Section):
    """How clips were cut, heard and judged, noted for those who extract the same from new recordings."""

    cut: Cut | None = Field(None, description="null: the corpus's clips were utterances")
    segment: SegmentSettings = SegmentSettings()
    transcribe: TranscribeSettings | None = Field(None, description="null: the corpus's own text was used")
    quality: QualitySettings = QualitySettings()
