"""config/backbones/NAME.yaml: a frozen LLM."""

from typing import Any

from pydantic import Field

from mse.config.section import Section


class Backbone(Section):
    """A frozen LLM: config/backbones/NAME.yaml."""

    model: str = Field(description="a name in resources/models.yaml")
    license: str = Field(description="the weights' licence, for the record")
    open_mark: str = Field(description="text before the clip")
    close_mark: str = Field(description="text after the clip, before the prompt")
    answer_prefix: str = Field("", description="what joins prompt and answer; a space, where words carry theirs")
    explicit_plus: bool = Field(False, description="write positive intensities with a plus sign")
    train: dict[str, Any] = Field({}, description="overrides of the section train for this LLM")
