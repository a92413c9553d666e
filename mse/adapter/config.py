"""What an adapter must know to be built: the widths around it and its own settings."""

from typing import Any

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from mse.config import AdapterSettings, Section, TrainSettings


class AdapterConfig(Section):
    """config.json of a saved adapter."""

    acoustic_width: NonNegativeInt = Field(description="features of an acoustic frame; 0: the corpus has no sound")
    facial_width: NonNegativeInt = Field(description="features of a facial frame; 0: the corpus has no picture")
    text_width: PositiveInt = Field(description="the LLM's hidden size (d)")
    embedding_rms: PositiveFloat = Field(1.0, description="root mean square of the LLM's embedding matrix")
    backbone: str = Field("", description="the LLM it was trained with")
    reading: dict[str, Any] = Field({}, description="the LLM's dtype, quantisation, marks and style of answers")
    llm_source: dict[str, Any] = Field({}, description="where the LLM's weights came from, with checksums")
    dataset: str = Field("", description="the corpus it was trained on")
    feature_digests: dict[str, str] = Field({}, description="settings of the features it was trained on, by modality")
    standardised: bool = Field(True, description="reads features standardised by the train split (published code: no)")
    seed: int | None = Field(None, description="seed of its training")
    train: TrainSettings | None = Field(None, description="settings of its training")
    settings: AdapterSettings = AdapterSettings()
