"""Training clips made harder: noise on their features, and modalities that are missing now and then."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from mse.config import TrainSettings
from mse.data import Example

Frames = npt.NDArray[np.float32]  # (T, D)


def augmented(example: Example, settings: TrainSettings, generator: torch.Generator) -> Example:
    """A clip as it is trained on; nothing is drawn for what the settings leave out.

    Args:
        example: normalised features and text.
        settings: `input_noise` is the deviation of Gaussian noise on each feature of each frame; `modality_dropout`
            the share of clips that lose one of their modalities, where they have several.
        generator: source of randomness.
    """
    if settings.input_noise:
        example = replace(
            example,
            acoustic=_noisy(example.acoustic, settings.input_noise, generator),
            facial=_noisy(example.facial, settings.input_noise, generator),
        )
    if settings.modality_dropout and float(torch.rand((), generator=generator)) < settings.modality_dropout:
        without = [
            replace(example, acoustic=example.acoustic[:0]),
            replace(example, facial=example.facial[:0]),
            replace(example, text=""),
        ]
        has = [len(example.acoustic), len(example.facial), len(example.text)]
        poorer = [other for other, length in zip(without, has, strict=True) if length]
        if len(poorer) > 1:
            example = poorer[int(torch.randint(len(poorer), (), generator=generator))]
    return example


def _noisy(values: Frames, deviation: float, generator: torch.Generator) -> Frames:
    noise: Frames = torch.randn(values.shape, generator=generator).numpy()
    return values + np.float32(deviation) * noise
