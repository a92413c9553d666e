"""What a recording goes through before an adapter sees it: pipeline.json in the adapter's folder.

With it the adapter answers for new recordings wherever its folder is taken: how sound, faces and words are extracted,
the training clips' mean and deviation of each feature, the question put to the LLM, and which LLM that is.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

import mse
from mse.atomic import replacing
from mse.config import Backbone, Extraction, Section, Task, TranscribeSettings, parse
from mse.data import ClipDataset, Normaliser, task_of
from mse.errors import UserError

PIPELINE_NAME = "pipeline.json"  # beside config.json and adapter.safetensors
FORMAT_VERSION = 1
WORDS_BY = {"en": "whisper-tiny.en"}  # where the adapter's own clips came with text
ANY_LANGUAGE = "whisper-base"
Name = Annotated[str, Field(pattern=r"^[^/\\\x00.][^/\\\x00]*$")]  # of a folder, within the one that is meant


class FeatureSet(Section):
    """One set of features: how it is extracted, and what the training clips' were like."""

    settings: dict[str, Any]
    settings_digest: str
    feature_names: list[str]
    rate_hz: float | None = Field(description="null: released features of others do not tell")
    mean: list[float]
    deviation: list[float]


class Pipeline(Section):
    """pipeline.json of an adapter."""

    format_version: Literal[1]
    made_with: str
    corpus: str
    language: str
    task: Task
    preamble: str
    prompt: str
    reads_text: bool
    extraction: Extraction | None
    acoustic: dict[Name, FeatureSet]
    facial: FeatureSet | None
    standardised: bool
    clip_sd: float
    llm: Name
    backbone: Backbone
    sha256: str = Field("", description="of everything else")

    @property
    def text_from_speech(self) -> bool:
        """Whether the training clips' words were recognised, not given."""
        return self.extraction is not None and self.extraction.transcribe is not None

    @property
    def transcribe(self) -> TranscribeSettings:
        """How words are recognised: as in training, or, where the corpus gave them, by a model for its language."""
        if self.extraction and self.extraction.transcribe:
            return self.extraction.transcribe
        return TranscribeSettings(model=WORDS_BY.get(self.language, ANY_LANGUAGE))

    def extractors(self, recogniser: str) -> list[str]:
        """Names of the models that extract what it reads; `recogniser` is that of words, "" where none is needed."""
        heard = [str(made.settings["model"]) for made in self.acoustic.values() if "model" in made.settings]
        return [*(["face_landmarker"] if self.facial else []), *([recogniser] if recogniser else []), *heard]

    def sets(self, modality: str) -> list[FeatureSet]:
        """Its sets of a modality, in the order in which the adapter reads them."""
        if modality == "acoustic":
            return list(self.acoustic.values())
        return [self.facial] if self.facial else []

    def normaliser(self, modality: str) -> Normaliser:
        """What the adapter reads of features as they are extracted."""
        sets = self.sets(modality)
        if not (self.standardised and sets):
            return Normaliser(None, None, self.clip_sd)
        mean, deviation = (
            np.concatenate([np.array(getattr(each, name), np.float32) for each in sets])
            for name in ("mean", "deviation")
        )
        return Normaliser(mean, deviation, self.clip_sd)


def pipeline_of(dataset: ClipDataset, llm: str, backbone: Backbone) -> Pipeline:
    """What the clips of a dataset went through.

    Args:
        dataset: opened with the modalities and sets that the adapter takes.
        llm: the backbone's name.
        backbone: its description.
    """
    sets = {modality: _described(dataset, modality) for modality in ("acoustic", "facial")}
    return Pipeline(
        format_version=FORMAT_VERSION,
        made_with=mse.__version__,
        corpus=dataset.name,
        language=dataset.language,
        task=task_of(dataset),
        preamble=dataset.preamble,
        prompt=dataset.prompt,
        reads_text=any(dataset.texts),
        extraction=dataset.extraction,
        acoustic=sets["acoustic"],
        facial=sets["facial"].get("facial"),
        standardised=dataset.standardised,
        clip_sd=dataset.clip_sd,
        llm=llm,
        backbone=backbone.model_copy(update={"corpora": {}, "train": {}, "folder": _name_of(backbone.folder)}),
    )


def _name_of(folder: Path | None) -> Path | None:
    """Where an LLM lies on one machine is nobody else's business."""
    return folder and Path(folder.name)


def _described(dataset: ClipDataset, modality: str) -> Mapping[str, FeatureSet]:
    return {
        name: FeatureSet(
            settings=dict(made.settings),
            settings_digest=made.settings_digest,
            feature_names=made.feature_names,
            rate_hz=None if math.isnan(made.rate_hz) else made.rate_hz,
            mean=mean.tolist(),  # float32 has an exact form in JSON's numbers, and comes back as it was
            deviation=deviation.tolist(),
        )
        for name, (made, mean, deviation) in dataset.sets(modality).items()
    }


def write_pipeline(pipeline: Pipeline, folder: Path) -> None:
    """Write pipeline.json into an adapter's folder."""
    values = pipeline.model_dump(mode="json", exclude={"sha256"})
    with replacing(folder / PIPELINE_NAME) as partial:
        partial.write_text(json.dumps(values | {"sha256": _digest(values)}, indent=1) + "\n", encoding="utf-8")


def read_pipeline(folder: Path) -> Pipeline:
    """Read it.

    Raises:
        UserError: the folder has none, or one of another version, or one that was changed or damaged.
    """
    path = folder / PIPELINE_NAME
    if not path.is_file():
        raise UserError(
            f"{folder}: no {PIPELINE_NAME}, which says how to extract features; `mse train` writes one, an adapter of "
            "the published code has none: extract with the workflow, and answer with `mse answer`"
        )
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as e:
        raise UserError(f"{path}: can't be read as JSON ({e}); copy it again, or train anew") from e
    version = values.get("format_version") if isinstance(values, dict) else None
    if version != FORMAT_VERSION:
        raise UserError(
            f"{path}: format version {version}, expected {FORMAT_VERSION}: made by another version of mse, or damaged; "
            "train anew, or use the version that made it"
        )
    pipeline = parse(Pipeline, values, str(path))
    if _digest({name: value for name, value in values.items() if name != "sha256"}) != pipeline.sha256:
        raise UserError(
            f"{path}: not what was saved with the adapter: damaged, or changed; copy it again, or train anew"
        )
    return pipeline


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
