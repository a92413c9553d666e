"""config/config.yaml: how features are made and adapters trained."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Discriminator, Field, NonNegativeInt, PositiveFloat, PositiveInt, Tag, model_validator

from mse.config.section import Section, parse, said
from mse.errors import UserError

Fraction = Annotated[float, Field(ge=0, le=1)]
ModalityName = Literal["acoustic", "facial", "text"]
Decoding = Literal["generate", "constrained", "expected"]
# Kept here, since reading a configuration must not load openSMILE; a test compares it with what openSMILE has.
OPENSMILE_SETS = (
    "ComParE_2016",
    "GeMAPS",
    "GeMAPSv01b",
    "eGeMAPS",
    "eGeMAPSv01b",
    "eGeMAPSv02",
    "emobase",
    "IS09",
    "IS10",
    "IS11",
    "IS12",
    "IS13",
)


class SegmentSettings(Section):
    """Cutting the sound of clips out of their recordings."""

    min_s: PositiveFloat = Field(0.2, description="a shorter clip is unusable (seconds)")
    max_s: PositiveFloat = Field(60.0, description="a longer clip is cut here, with a note in quality.csv (seconds)")
    audio_track: PositiveInt | None = Field(
        None, description="which audio track of the recordings, from 1; null: the one marked as default, else the first"
    )

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if self.min_s >= self.max_s:
            raise ValueError(f"min_s ({self.min_s:g}) must be less than max_s ({self.max_s:g})")
        return self


class OpenSmileSettings(Section):
    """One of openSMILE's feature sets."""

    variant: ClassVar[str] = "opensmile"

    kind: Literal["opensmile"] = "opensmile"
    feature_set: str = Field(
        "eGeMAPSv02", description="eGeMAPSv02, GeMAPSv01b, ComParE_2016, emobase, IS09 to IS13, ... (`mse acoustic -h`)"
    )
    level: Literal["descriptors", "functionals"] = Field(
        "descriptors", description="every 10 ms, averaged down to rate_hz; or their statistics over windows"
    )
    rate_hz: PositiveFloat = Field(20.0, description="frames a second")
    window_s: PositiveFloat | None = Field(
        None,
        description="functionals: window around each frame (seconds); null: the whole clip, one frame",
    )

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.feature_set not in OPENSMILE_SETS:
            raise ValueError(f"openSMILE has no feature_set {self.feature_set!r}; it has {', '.join(OPENSMILE_SETS)}")
        if self.window_s and self.level == "descriptors":
            raise ValueError("window_s is for functionals; descriptors have windows of their own")
        return self


class SpeechModelSettings(Section):
    """Hidden states of a pretrained speech model: wav2vec 2.0, HuBERT, WavLM, data2vec."""

    variant: ClassVar[str] = "speech_model"

    kind: Literal["speech_model"] = "speech_model"
    model: str = Field(min_length=1, description="hub id OWNER/NAME@REVISION (`mse fetch` gets it), or a folder")
    layers: list[int] = Field(
        [-1], min_length=1, description="layers to average, 0: the input of the first, -1: the output of the last"
    )
    weights: list[PositiveFloat] = Field([], description="a weight for each of the layers; []: all alike")
    rate_hz: PositiveFloat = Field(20.0, description="frames a second; the model's 50 are averaged down to it")
    half: bool = Field(False, description="the transformer's layers in float16 where there is a GPU; ignored on a CPU")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.weights and len(self.weights) != len(self.layers):
            raise ValueError(f"weights has {len(self.weights)} entries, layers {len(self.layers)}")
        if len(set(self.layers)) < len(self.layers):
            raise ValueError(f"layers = {self.layers}: one stands there twice")
        return self


def _acoustic_kind(values: Any) -> str:
    if not isinstance(values, dict):
        return getattr(values, "variant", "")
    return str(values.get("kind", SpeechModelSettings.variant if "model" in values else OpenSmileSettings.variant))


AcousticSettings = Annotated[
    Annotated[OpenSmileSettings, Tag(OpenSmileSettings.variant)]
    | Annotated[SpeechModelSettings, Tag(SpeechModelSettings.variant)],
    Discriminator(
        _acoustic_kind, custom_error_type="set_kind", custom_error_message="kind must be opensmile or speech_model"
    ),
]


def acoustic_settings(text: str | None) -> OpenSmileSettings | SpeechModelSettings:
    """Read the settings of one set of acoustic features from the command line.

    Args:
        text: JSON text, the path of a YAML file, or None for the defaults.
    """
    values, where = said("acoustic", text)
    kinds: dict[str, type[OpenSmileSettings] | type[SpeechModelSettings]] = {
        kind.variant: kind for kind in (OpenSmileSettings, SpeechModelSettings)
    }
    kind = _acoustic_kind(values)
    if kind not in kinds:
        raise UserError(f"{where}: kind = {kind!r}; expected {' or '.join(kinds)}")
    return parse(kinds[kind], values, where)


SetName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*$")]


class FacialSettings(Section):
    """MediaPipe's face landmarks, blendshapes and head pose, of the one who speaks."""

    rate_hz: PositiveFloat = Field(10.0, description="pictures looked at, a second")
    max_side_px: PositiveInt = Field(1280, description="larger pictures are scaled down to this (pixels)")
    min_confidence: Fraction = Field(0.5, description="least confidence that a found face is a face")
    max_faces: PositiveInt = Field(3, description="faces that are followed at once")
    who: Literal["speaker", "largest"] = Field(
        "speaker", description="of several people, describe the one whose mouth moves with the sound, or the largest"
    )
    min_speaking: Fraction = Field(
        0.9,
        description="least confidence that a mouth moves with the sound; if none does, the largest face is described",
    )
    small_faces: bool = Field(True, description="look again at parts of a picture in which no face was found")


class TranscribeSettings(Section):
    """Speech recognition with faster-whisper."""

    model: str = Field(
        "whisper-tiny.en", description="a name in resources/models.yaml, a hub id OWNER/NAME@REVISION, or a folder"
    )
    beam_size: PositiveInt = Field(5, description="width of the beam search")
    compute_type: Literal["int8", "int8_float32", "float16", "float32"] = Field(
        "int8", description="arithmetic of the recogniser"
    )
    guards: bool = Field(
        True, description="leave out what was most likely not said: text for silence, endless repetition"
    )
    beside_text: bool = Field(
        False, description="recognise speech also where the corpus has its own text, to tell the word error rate"
    )


class QualitySettings(Section):
    """From where on a clip's sound, picture or text is not used; null: whatever it is like."""

    min_loudness_dbfs: float | None = Field(None, description="sound: least loudness (dB relative to full scale)")
    max_clipping: Fraction | None = Field(None, description="sound: largest share of samples at full scale")
    min_snr_db: float | None = Field(None, description="sound: least signal-to-noise ratio, as estimated (dB)")
    min_face_share: Fraction | None = Field(None, description="picture: least share of pictures with the face")
    min_speaking: Fraction | None = Field(
        None, description="picture: least confidence that the face is the speaker's, where it is known"
    )
    min_asr_confidence: Fraction | None = Field(
        None, description="recognised text: least mean probability of its words"
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
    acoustic_sets: list[SetName] = Field([], description="which sets of acoustic features, side by side; []: all")
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

    @property
    def fusion(self) -> dict[str, Any]:
        """What a fusion that the LLM has taught depends on."""
        return self.model_dump(include={"fusion_width", "scales", "pseudo_tokens", "placement", "match_embedding_rms"})


class TrainSettings(Section):
    """The training of one adapter."""

    learning_rate: PositiveFloat = Field(3e-4, description="peak of the cosine schedule")
    batch_size: PositiveInt = Field(4, description="clips a step")
    pretrain_epochs: NonNegativeInt = Field(
        40,
        description="epochs beforehand, without the LLM: encoders learn to tell what the LLM must be shown (paper: 0)",
    )
    fusion_steps: PositiveInt = Field(
        100, description="batches from which the fusion learns before them what the LLM must be shown"
    )
    pretrain_learning_rate: PositiveFloat = Field(1e-3, description="peak of their schedule")
    pretrain_batch_size: PositiveInt = Field(8, description="clips a step of theirs")
    pretrain_weight_decay: float = Field(
        3.0, ge=0, description="weight decay of AdamW in them: strong, for few clips teach much too well"
    )
    schedule_epochs: PositiveInt = Field(1, description="epochs with the LLM at most, and the length of their schedule")
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
    experiments: list[Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]] = Field(
        ["demo/smollm2"],
        description="CORPUS/BACKBONE: what `snakemake` without a target makes, with all pages and figures",
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
    container: str = Field(
        "mse.sif", description="image that `snakemake --sdm apptainer` runs the rules in: a file, or docker://..."
    )
    bootstrap_samples: PositiveInt = Field(2000, description="draws of clips for intervals and tests")
    segment: SegmentSettings = SegmentSettings()
    acoustic: dict[SetName, AcousticSettings | None] = Field(
        {"egemaps": OpenSmileSettings()},
        description="sets of acoustic features by name, each made into files of its own; NAME: null takes one away",
    )
    facial: FacialSettings = FacialSettings()
    transcribe: TranscribeSettings = TranscribeSettings()
    quality: QualitySettings = QualitySettings()
    assemble: AssembleSettings = AssembleSettings()
    adapter: AdapterSettings = AdapterSettings()
    train: TrainSettings = TrainSettings()

    @property
    def acoustic_sets(self) -> dict[str, OpenSmileSettings | SpeechModelSettings]:
        """The sets of acoustic features that are made."""
        return {name: made for name, made in self.acoustic.items() if made is not None}

    @model_validator(mode="after")
    def _some_sound(self) -> Self:
        if not self.acoustic_sets:
            raise ValueError("acoustic: no set is left; a corpus without sound says so by its own key modalities")
        return self

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
