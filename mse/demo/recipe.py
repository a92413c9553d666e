"""The recipe of the demo corpus: one typed, closed definition of resources/demo.yaml."""

import math
from collections import Counter
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from mse.config import Section, parse, read_yaml
from mse.errors import UserError

Positive = Annotated[float, Field(gt=0)]
Level = Annotated[float, Field(ge=-1, le=1)]
Interval = tuple[Positive, Positive]  # shortest and longest, drawn evenly between them


class Picture(Section):
    """How the videos look."""

    size_px: int = Field(ge=160, le=640, multiple_of=2)  # width and height
    rate_hz: int = Field(ge=10, le=60)  # frames a second
    crf: int = Field(ge=0, le=51)  # x264's rate factor; lower is better and larger
    noise: float = Field(ge=0, le=30)  # sensor noise, standard deviation in grey levels of 0..255


class Sound(Section):
    """How the speech sounds before the voice component changes it."""

    rms_dbfs: float = Field(ge=-40, le=-20)  # level of the speech, relative to full scale
    floor_dbfs: float = Field(ge=-90, le=-40)  # level of the room noise
    rate_wpm: int = Field(ge=120, le=300)  # espeak-ng's words a minute


class Voice(Section):
    """What a voice component of +1 does; -1 does the opposite."""

    pitch: float = Field(ge=0, le=40)  # added steps of espeak-ng's pitch (0..99), about 0.17 semitones each
    rate: float = Field(ge=1, le=1.5)  # factor on the speech rate
    level_db: float = Field(ge=0, le=12)  # added to the level


class Mixture(Section):
    """label = clip(round(scale * (word + voice + face), 1), -3, 3)."""

    levels: tuple[Level, ...] = Field(min_length=2)  # of each component, used equally often
    scale: Positive
    draws: int = Field(ge=1)  # shuffles tried a split, to find one with nearly uncorrelated components


class Timing(Section):
    """Lengths in seconds, and the share of clips that are parts of recordings."""

    clip_s: Interval
    pause_s: Interval  # between the clips of one recording
    recorded_share: float = Field(ge=0, le=1)  # of a speaker's clips; the others are files of their own


class Speaker(Section):
    """A face shape and colour with a voice."""

    name: str = Field(pattern=r"^[a-z]+$")
    timbre: str  # one of espeak-ng's voice variants, e.g. "f1" or "m3"
    pitch: float = Field(ge=0, le=99)  # espeak-ng's pitch of a voice component of 0
    mirror: bool  # swap left and right
    head: float = Field(ge=0.8, le=1.2)  # factor on the width of the head
    jaw: float = Field(ge=0.8, le=1.2)  # factor on the width of the jaw alone
    length: float = Field(ge=0.8, le=1.2)  # factor on the length of the face below the eyes
    tint: tuple[Positive, Positive, Positive]  # factors on red, green and blue
    gamma: Positive  # above 1: darker


class Split(Section):
    """Clips of one split: its speakers and sentences are in no other split."""

    clips: int = Field(ge=1)
    speakers: tuple[Speaker, ...] = Field(min_length=1)
    sentences: dict[Level, tuple[str, ...]]  # sentiment level -> sentences

    @property
    def texts(self) -> list[tuple[str, float]]:
        """Sentences with their levels; any first few of them cover the levels as evenly as can be."""
        most = max(map(len, self.sentences.values()))
        return [(texts[i], level) for i in range(most) for level, texts in self.sentences.items() if i < len(texts)]

    def cut_down(self, clips: int) -> Self:
        """Fewer clips of proportionally fewer speakers and sentences, at least one a level."""
        share = clips / self.clips
        return self.model_copy(
            update={
                "clips": clips,
                "speakers": self.speakers[: math.ceil(share * len(self.speakers))],
                "sentences": {level: texts[: math.ceil(share * len(texts))] for level, texts in self.sentences.items()},
            }
        )


class Recipe(Section):
    """Everything that decides what the demo corpus is, besides the code."""

    seed: int = Field(ge=0)
    picture: Picture
    sound: Sound
    voice: Voice
    mixture: Mixture
    timing: Timing
    splits: dict[str, Split] = Field(min_length=1)

    @model_validator(mode="after")
    def _splits_are_disjoint(self) -> Self:
        for what, names in {
            "speaker": [speaker.name for split in self.splits.values() for speaker in split.speakers],
            "sentence": [text for split in self.splits.values() for text, _ in split.texts],
        }.items():
            twice = [name for name, count in Counter(names).items() if count > 1]
            if twice:
                raise ValueError(f"{what} {twice[0]!r} occurs twice; every {what} belongs to one split")
        return self

    @model_validator(mode="after")
    def _levels_agree(self) -> Self:
        for name, split in self.splits.items():
            if sorted(split.sentences) != sorted(self.mixture.levels):
                raise ValueError(
                    f"splits.{name}.sentences has levels {sorted(split.sentences)}, "
                    f"but mixture.levels are {sorted(self.mixture.levels)}"
                )
        return self

    def cut_down(self, clips_per_split: dict[str, int]) -> "Recipe":
        """A smaller corpus of the same kind, for trials and tests.

        Args:
            clips_per_split: clips to make for each split, none above the recipe's own number.

        Returns:
            The recipe with only these splits, their speakers and sentences cut in proportion.

        Raises:
            UserError: a split is unknown or asked for more clips than the recipe has.
        """
        splits = {}
        for name, clips in clips_per_split.items():
            if name not in self.splits:
                raise UserError(f"split {name!r} is not in the recipe; it has {', '.join(self.splits)}")
            if not 1 <= clips <= self.splits[name].clips:
                raise UserError(f"{clips} clips asked for split {name!r}; choose 1 to {self.splits[name].clips}")
            splits[name] = self.splits[name].cut_down(clips)
        return self.model_copy(update={"splits": splits})


def load_recipe(path: Path) -> Recipe:
    """Read and check a recipe.

    Args:
        path: a YAML file such as resources/demo.yaml.

    Raises:
        UserError: the file is missing, no YAML, or breaks a rule of the recipe.
    """
    return parse(Recipe, read_yaml(path), str(path))
