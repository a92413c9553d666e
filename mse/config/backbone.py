"""config/backbones/NAME.yaml: a frozen LLM."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from mse.config.section import Section
from mse.config.settings import Overlay

DType = Literal["float32", "bfloat16", "float16"]


class Backbone(Section):
    """A frozen LLM: config/backbones/NAME.yaml."""

    model: str | None = Field(
        None, pattern=r"^\w[\w.@-]*$", description="a name in resources/models.yaml, where the model comes ready to use"
    )
    hub: str | None = Field(
        None, pattern=r"^[\w.-]+/[\w.-]+$", description="or OWNER/NAME of a Hugging Face repository"
    )
    revision: str | None = Field(None, description="commit of the hub's repository, so that it can't change")
    folder: Path | None = Field(None, description="or a folder on this machine that holds the checkpoint")
    files: list[str] = Field(
        ["*.json", "*.safetensors", "tokenizer.model"],
        description="files of the hub's repository that make up the checkpoint; * stands for anything",
    )
    size_gb: float | None = Field(None, gt=0, description="size of these files in GB, for the record")
    license: str = Field("", description="the weights' licence, for the record")
    dtype: DType = Field("bfloat16", description="of the weights in memory; float16 for GPUs that lack bfloat16")
    quantise: Literal["8bit", "4bit"] | None = Field(
        None, description="hold the weights in 8 or 4 bits (bitsandbytes): less memory, other numbers"
    )
    open_mark: str = Field(description="text before the clip")
    close_mark: str = Field(description="text after the clip, before the prompt")
    answer_prefix: str = Field("", description="what joins prompt and answer; a space, where words carry theirs")
    explicit_plus: bool = Field(False, description="write positive intensities with a plus sign")
    train: dict[str, Any] = Field({}, description="overrides of the section train for this LLM")
    corpora: dict[str, Overlay] = Field(
        {}, description="overrides of train and adapter for this LLM on one corpus (and on NAME-released)"
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [name for name in ("model", "hub", "folder") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of model, hub or folder; found {' and '.join(given) or 'none of them'}")
        if self.revision and not self.hub:
            raise ValueError("revision is given, but no hub")
        return self

    @property
    def reading(self) -> dict[str, Any]:
        """What decides how the LLM reads and writes: an adapter trained with one such set fits no other."""
        return self.model_dump(
            include={"dtype", "quantise", "open_mark", "close_mark", "answer_prefix", "explicit_plus"}
        )
