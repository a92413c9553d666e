"""What an adapter must know to be built: the widths around it and its own settings."""

from pydantic import Field, PositiveFloat, PositiveInt

from mse.config import AdapterSettings, Section


class AdapterConfig(Section):
    """config.json of a saved adapter."""

    acoustic_width: PositiveInt = Field(description="features of an acoustic frame")
    facial_width: PositiveInt = Field(description="features of a facial frame")
    text_width: PositiveInt = Field(description="the LLM's hidden size (d)")
    embedding_rms: PositiveFloat = Field(1.0, description="root mean square of the LLM's embedding matrix")
    backbone: str = Field("", description="the LLM it was trained with")
    dataset: str = Field("", description="the corpus it was trained on")
    settings: AdapterSettings = AdapterSettings()
