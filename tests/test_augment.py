"""Noise and missing modalities in training."""

import numpy as np
import torch

from mse.augment import augmented
from mse.config import TrainSettings
from mse.data import Example

CLIP = Example("c", "words", 1.0, np.zeros((400, 5), np.float32), np.zeros((300, 6), np.float32))


def test_nothing_changes_and_nothing_is_drawn_by_default() -> None:
    generator = torch.Generator().manual_seed(1)
    before = generator.get_state()
    assert augmented(CLIP, TrainSettings(input_noise=0, modality_dropout=0), generator) is CLIP
    assert torch.equal(before, generator.get_state())


def test_noise_has_the_deviation_that_was_asked_for() -> None:
    noisy = augmented(CLIP, TrainSettings(input_noise=0.3, modality_dropout=0), torch.Generator().manual_seed(1))
    for values, plain in ((noisy.acoustic, CLIP.acoustic), (noisy.facial, CLIP.facial)):
        assert values.shape == plain.shape and values.dtype == np.float32
        assert abs(values.std() - 0.3) < 0.02 and abs(values.mean()) < 0.03


def test_a_share_of_clips_loses_one_modality_and_never_the_last() -> None:
    generator, settings = torch.Generator().manual_seed(1), TrainSettings(input_noise=0, modality_dropout=0.5)
    has = [
        (len(clip.acoustic) > 0, len(clip.facial) > 0, clip.text != "")
        for clip in (augmented(CLIP, settings, generator) for _ in range(600))
    ]
    whole = has.count((True, True, True))
    assert 250 < whole < 350
    assert all(has.count(kind) > 60 for kind in ((False, True, True), (True, False, True), (True, True, False)))
    assert {sum(kind) for kind in has} == {2, 3}
    words = Example("c", "words", 1.0, CLIP.acoustic[:0], CLIP.facial[:0])
    assert all(augmented(words, settings, generator) is words for _ in range(50))
