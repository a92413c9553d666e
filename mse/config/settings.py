"""config/config.yaml: how features are made and adapters trained."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from mse.config.section import Section

Fraction = Annotated[float, Field(ge=0, le=1)]
ModalityName = Literal["acoustic", "facial", "text"]
Decoding = Literal["generate", "constrained", "expected"]


class SegmentSettings(Section):
    """Cutting the sound of clips out of their recordings."""

    min_s: PositiveFloat = Field(0.2, description="a shorter clip is unusable (seconds)")
    max_s: PositiveFloat = Field(60.0, description="a longer clip is cut here, with a note in quality.csv (seconds)")

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if self.min_s >= self.max_s:
            raise ValueError(f"min_s ({self.min_s:g}) must be less than max_s ({self.max_s:g})")
        return self


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

    modalities: list[ModalityName] = Field(
        ["acoustic", "facial", "text"], min_length=1, description="what it takes of that which the corpus has"
    )
    acoustic_hidden: PositiveInt = Field(64, description="LSTM units that listen (h_a)")
    facial_hidden: PositiveInt = Field(32, description="LSTM units that look (h_v)")
    fusion_width: PositiveInt = Field(256, description="width of the fused vector")
    mixer: Literal["text_guided", "residual", "sum"] = Field(
        "residual",
        description="sound and picture multiplied by the text (text_guided, paper), these products and all three added "
        "(residual), or sound and picture added (sum)",
    )
    scales: list[PositiveInt] = Field(
        [8, 32, 16], description="the fusion's bottlenecks: the LLM's hidden size over these; []: no bottleneck"
    )
    pseudo_tokens: PositiveInt = Field(4, description="pseudo tokens put before or after the text (n)")
    placement: Literal["before_text", "after_text"] = Field(
        "after_text",
        description="pseudo tokens before the text (paper), or behind it, before the prompt's last token",
    )
    pooling: Literal["last", "mean", "attention"] = Field(
        "mean",
        description="summary over time: the last LSTM state (paper), the mean of its outputs, or their weighted mean",
    )
    bidirectional: bool = Field(
        False, description="a second LSTM reads each sequence backwards: twice the units (paper: false)"
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
    pretrain_epochs: NonNegativeInt = Field(
        0, description="epochs beforehand, without the LLM: pseudo tokens are drawn to the right answers (paper: 0)"
    )
    schedule_epochs: PositiveInt = Field(
        20, description="epochs with the LLM at most, and the length of their schedule"
    )
    patience_epochs: PositiveInt = Field(20, description="stop after this many epochs without a better validation")
    warmup_fraction: Fraction = Field(0.1, description="share of each schedule that warms up linearly")
    adam_eps: PositiveFloat = Field(1e-8, description="epsilon of AdamW (paper: 1e-4)")
    weight_decay: float = Field(0.01, ge=0, description="weight decay of AdamW")
    max_grad_norm: PositiveFloat | None = Field(1.0, description="clip the gradient's norm here; null: never (paper)")
    input_noise: float = Field(0.0, ge=0, description="deviation of noise added to normalised features (paper: 0)")
    modality_dropout: Fraction = Field(0.0, description="share of clips that lose one of their modalities (paper: 0)")
    label_spread: Fraction = Field(
        0.08,
        description="neighbours of an intensity that count as nearly right in training: deviation of a Gaussian, as a "
        "share of the intensities' range (paper: 0)",
    )
    decoding: Decoding = Field("expected", description="what is validated, and predicted first (paper: generate)")
    max_text_tokens: PositiveInt = Field(50, description="a longer text is cut here (tokens)")
    text_cache_gb: float = Field(
        2.0, ge=0, description="memory for what the LLM read before the pseudo tokens, with placement: after_text (GB)"
    )
    gradient_checkpointing: bool = Field(
        False, description="compute the LLM's layers anew for the gradient: far less memory, a third more time"
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: a GPU where there is one")
    threads: PositiveInt = Field(2, description="CPU threads; part of what makes numbers reproducible")


class Overlay(Section):
    """Settings of adapter and training that differ from what else would hold."""

    adapter: dict[str, Any] = Field({}, description="overrides of the section adapter")
    train: dict[str, Any] = Field({}, description="overrides of the section train")


class Variant(Overlay):
    """config/variants/NAME.yaml: what an experiment beside the main one changes."""

    description: str = Field(min_length=1, description="what it is, in a line")


class Config(Section):
    """config/config.yaml."""

    config_path: list[Path] = Field(
        [Path("config")],
        description="folders searched in this order for datasets/, backbones/ and variants/NAME.yaml",
    )
    roots: dict[str, Path] = Field(
        {}, description="where corpora lie, by name, instead of the folder that their own file gives as root"
    )
    checkpoints: dict[str, Path] = Field(
        {}, description="where LLMs lie, by the backbone's name, instead of resources/checkpoints/NAME"
    )
    seeds: list[NonNegativeInt] = Field([1111, 2222, 3333], min_length=1, description="one adapter is trained for each")
    baselines: list[str] = Field(
        ["text-only", "sound-only", "picture-only", "zero-shot", "linear"],
        description="rows beside the adapters': variants, the LLM without adapter, a linear model",
    )
    ablations: list[str] = Field(
        [
            "without-tgm",
            "without-msf",
            "scale-8",
            "scale-16",
            "scale-32",
            "without-sound",
            "without-picture",
            "tokens-1",
            "tokens-2",
            "tokens-8",
        ],
        description="variants in results/CORPUS/BACKBONE/ablations/metrics.csv",
    )
    bootstrap_samples: PositiveInt = Field(2000, description="draws of clips for intervals and tests")
    segment: SegmentSettings = SegmentSettings()
    acoustic: AcousticSettings = AcousticSettings()
    facial: FacialSettings = FacialSettings()
    transcribe: TranscribeSettings = TranscribeSettings()
    assemble: AssembleSettings = AssembleSettings()
    adapter: AdapterSettings = AdapterSettings()
    train: TrainSettings = TrainSettings()

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        for key in ("baselines", "ablations"):
            names = getattr(self, key)
            if len(set(names)) < len(names):
                raise ValueError(f"{key} = {names}: a name stands there twice")
        return self

    @model_validator(mode="after")
    def _seeds_differ(self) -> Self:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds = {self.seeds}: a seed stands there twice and would count twice in the mean")
        return self
