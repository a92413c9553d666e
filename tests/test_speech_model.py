"""Hidden states of tiny random speech models, beside those that transformers gives for the whole clip."""

import json
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    Data2VecAudioConfig,
    HubertConfig,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    WavLMConfig,
)

from mse import media
from mse.config import SpeechModelSettings
from mse.errors import UserError
from mse.extract import acoustic_shard
from mse.features import speech_model
from mse.features.speech_model import SpeechModelExtractor
from mse.store import Clip, Description, Shard, write_shard
from tests.conftest import tone

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": [24] * 7,
    "num_conv_pos_embedding_groups": 4,
    "mask_time_prob": 0.05,
}
CONFIGS: dict[str, Any] = {
    "wav2vec2-base": Wav2Vec2Config(**SMALL, num_conv_pos_embeddings=16),
    "wav2vec2-large": Wav2Vec2Config(
        **SMALL, num_conv_pos_embeddings=16, feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True
    ),
    "hubert-base": HubertConfig(**SMALL, num_conv_pos_embeddings=16, conv_pos_batch_norm=True),
    "hubert-large": HubertConfig(
        **SMALL, num_conv_pos_embeddings=16, feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True
    ),
    "wavlm-base": WavLMConfig(**SMALL, num_conv_pos_embeddings=16),
    "wavlm-large": WavLMConfig(
        **SMALL, num_conv_pos_embeddings=16, feat_extract_norm="layer", do_stable_layer_norm=True
    ),
    "data2vec": Data2VecAudioConfig(**SMALL, num_conv_pos_embeddings=3, conv_pos_kernel_size=19),
}
every_model = pytest.mark.parametrize("name", CONFIGS)
Folders = Callable[[str], Path]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small are faster so."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """The folder of one of CONFIGS, with random weights."""
    root = tmp_path_factory.mktemp("speech models")

    def made(name: str) -> Path:
        place = root / name
        if not place.exists():
            torch.manual_seed(0)
            model = AutoModel.from_config(CONFIGS[name])
            for part in model.modules():  # fresh norms and biases would hide a mistake with them
                if isinstance(part, torch.nn.LayerNorm | torch.nn.GroupNorm) and part.weight is not None:
                    torch.nn.init.uniform_(part.weight, 0.5, 1.5)
                if getattr(part, "bias", None) is not None:
                    torch.nn.init.normal_(part.bias, std=0.3)
            model.save_pretrained(place)
            Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(place)
        return place

    return made


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise that swells, upon a constant, int16 at 16 kHz."""
    count = round(seconds * 16_000)
    swell = np.linspace(100, 3000, count)
    return (np.random.default_rng(seed).normal(size=count) * swell + 500).astype(np.int16)


def plain(folder: Path, samples: np.ndarray) -> Any:
    """What transformers gives for a clip in one pass: last_hidden_state and hidden_states."""
    model = AutoModel.from_pretrained(folder).eval()
    prepare = Wav2Vec2FeatureExtractor.from_pretrained(folder)
    inputs = prepare(samples.astype(np.float32) / 32768, sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        return model(inputs.input_values, output_hidden_states=True)


def extractor(folder: Path, **settings: Any) -> SpeechModelExtractor:
    """On the CPU, at the model's own rate unless said otherwise."""
    wanted = SpeechModelSettings(**{"model": str(folder), "rate_hz": 50.0, **settings})
    return SpeechModelExtractor(wanted, folder, device="cpu")


@every_model
def test_layers_are_those_of_one_plain_pass(folder: Folders, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech_model, "BLOCK_FRAMES", 7)
    samples = noise(1.3)
    expected = plain(folder(name), samples)
    states = [state[0].numpy() for state in expected.hidden_states]
    last = expected.last_hidden_state[0].numpy()
    assert len(states) == 4
    assert len(last) == 64  # (1.3 s - 25 ms) / 20 ms + 1
    for layers, weights, values in (
        ([-1], [], last),
        ([0], [], states[0]),
        ([1], [], states[1]),
        ([3], [], states[3]),
        ([-2, 0], [], (states[2] + states[0]) / 2),
        ([2, -1, 1], [1.0, 2.0, 5.0], states[2] / 8 + last / 4 + states[1] * 5 / 8),
    ):
        found, valid = extractor(folder(name), layers=layers, weights=weights)(samples)
        np.testing.assert_allclose(found, values, atol=1e-4, err_msg=str(layers))
        assert valid.all()
        assert found.dtype == np.float32


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("name", ["wav2vec2-base", "wav2vec2-large"])
def test_blocks_are_one_pass_for_any_clip(folder: Folders, name: str, normalise: bool, tmp_path: Path) -> None:
    place = shutil.copytree(folder(name), tmp_path / "model")
    Wav2Vec2FeatureExtractor(do_normalize=normalise).save_pretrained(place)
    describe = extractor(place, layers=[0, -1])
    click = np.zeros(40_000, np.int16)
    click[30_000] = 32_767
    silence_first = np.concatenate([np.zeros(40_000, np.int16), noise(2)])
    for samples in (tone(8), noise(4.1), click, silence_first, np.zeros(40_001, np.int16), tone(3, level=1e-4)):
        expected = plain(place, samples)
        values = (expected.hidden_states[0] + expected.last_hidden_state)[0].numpy() / 2
        assert len(values) > speech_model.BLOCK_FRAMES
        np.testing.assert_allclose(describe(samples)[0], values, atol=1e-4)


@every_model
def test_a_batch_is_its_clips_one_by_one(folder: Folders, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    describe = extractor(folder(name), layers=[1, -1], rate_hz=20.0)
    clips = [noise(seconds, seed) for seed, seconds in enumerate((0.5, 1.7, 0.03, 0.01, 1.7, 0.9, 1.1))]
    single = [describe(clip) for clip in clips]
    assert [len(values) for values, _ in single] == [10, 34, 1, 0, 34, 18, 22]
    for most_s in (2.0, 4.0, 64.0):
        monkeypatch.setattr(speech_model, "BATCH_S", most_s)
        for (values, valid), (alone, alone_valid) in zip(describe.many(clips), single, strict=True):
            np.testing.assert_allclose(values, alone, atol=1e-5)
            np.testing.assert_array_equal(valid, alone_valid)
    assert describe.many([]) == []
    again = describe.many(clips)[1][0]
    np.testing.assert_array_equal(again, describe.many(clips)[1][0])


def test_batches_count_their_padding() -> None:
    counts = [24, 84, 1, 0, 84, 44, 54]
    assert speech_model._batches(counts, 200) == [[1, 4], [6, 5, 0], [2]]
    assert speech_model._batches(counts, 83) == [[1], [4], [6], [5], [0, 2]]  # longer than allowed: alone
    assert speech_model._batches(counts, 1000) == [[1, 4, 6, 5, 0, 2]]
    assert speech_model._batches([0, 0], 1000) == []


def test_rate_names_and_short_clips(folder: Folders) -> None:
    wanted = SpeechModelSettings(model="data2vec", rate_hz=10.0)
    describe = SpeechModelExtractor(wanted, folder("data2vec"), device="cpu", threads=2)
    assert torch.get_num_threads() == 2
    fast = extractor(folder("data2vec"), rate_hz=400.0)
    assert (describe.rate_hz, fast.rate_hz) == (10.0, 50.0)
    assert describe.feature_names[:2] == ["data2vec-audio_000", "data2vec-audio_001"]
    samples = noise(1)
    values, valid = describe(samples)
    assert values.shape == (10, 32) == (len(valid), len(describe.feature_names))
    np.testing.assert_allclose(values[3], fast(samples)[0][15:20].mean(0), atol=1e-5)
    for count, frames in ((0, 0), (1, 0), (399, 0), (400, 1), (719, 1), (720, 2)):
        values, valid = fast(samples[:count])
        assert values.shape == (frames, 32)
        assert valid.shape == (frames,)


def test_a_shard_tells_layers_and_their_weights_apart(folder: Folders, tmp_path: Path) -> None:
    """And the model's own weights, beside both."""
    pcm = Description("d", "sound", "pcm", ["sample"], media.SAMPLE_RATE_HZ, dtype="int16")
    write_shard(tmp_path / "sound.h5", pcm, [Clip("a", tone(1)[:, None], np.ones(16_000, bool))])
    model, digests = folder("wav2vec2-base"), set()
    for weights in ([], [1.0, 2.0], [2.0, 1.0]):
        settings = SpeechModelSettings(model=str(model), layers=[0, 1], weights=weights)
        acoustic_shard(tmp_path / "sound.h5", tmp_path / "a.h5", settings, model, "cpu")
        with Shard(tmp_path / "a.h5") as shard:
            assert shard.description.settings["weights"] == weights and shard.description.settings["weights_digest"]
            digests.add(shard.description.settings_digest)
    assert len(digests) == 3


def test_checkpoints_of_other_kinds(folder: Folders, tmp_path: Path) -> None:
    """With a head for recognition, in a pickle of tensors with names from before weight norm was a parametrization."""
    place = shutil.copytree(folder("wav2vec2-base"), tmp_path / "model")
    samples = noise(0.5)
    expected = extractor(place)(samples)[0]
    weights = load_file(place / "model.safetensors")
    weights = {f"wav2vec2.{key}": value for key, value in weights.items() if key != "masked_spec_embed"}
    weights |= {"lm_head.weight": torch.zeros(32, 32), "lm_head.bias": torch.zeros(32)}
    for new, old in (
        ("parametrizations.weight.original0", "weight_g"),
        ("parametrizations.weight.original1", "weight_v"),
    ):
        weights = {key.replace(new, old): value for key, value in weights.items()}
    assert any(key.endswith("weight_g") for key in weights)
    (place / "model.safetensors").unlink()
    torch.save(weights, place / "pytorch_model.bin")
    np.testing.assert_array_equal(extractor(place)(samples)[0], expected)
    Wav2Vec2ForCTC(CONFIGS["wav2vec2-base"]).save_pretrained(place)
    assert extractor(place)(samples)[0].shape == expected.shape


def test_the_processor_says_whether_clips_are_normalised(folder: Folders, tmp_path: Path) -> None:
    place = shutil.copytree(folder("wav2vec2-large"), tmp_path / "model")
    quiet = noise(0.5) // 50
    normalised = extractor(place)(quiet)[0]
    (place / "preprocessor_config.json").write_text('{"do_normalize": false}')
    raw = extractor(place)(quiet)[0]
    assert np.abs(raw - normalised).max() > 0.01
    (place / "processor_config.json").write_text('{"processor_class": "Wav2Vec2Processor"}')
    np.testing.assert_array_equal(extractor(place)(quiet)[0], raw)
    (place / "processor_config.json").write_text('{"feature_extractor": {"do_normalize": true}}')
    np.testing.assert_array_equal(extractor(place)(quiet)[0], normalised)
    for name in ("processor_config.json", "preprocessor_config.json"):
        (place / name).unlink()
    np.testing.assert_array_equal(extractor(place)(quiet)[0], normalised)
    (place / "preprocessor_config.json").write_text('{"sampling_rate": 8000}')
    with pytest.raises(UserError, match=r"model: a model for sampling_rate = 8000; clips have 16000 Hz"):
        extractor(place)


def test_layers_that_are_not_there(folder: Folders) -> None:
    base, large = folder("wav2vec2-base"), folder("wav2vec2-large")
    with pytest.raises(UserError, match=r"layers = \[2, 4\]: .*wav2vec2-base has 3 layers; expected 0 .* to 3, or -1"):
        extractor(base, layers=[2, 4])
    with pytest.raises(UserError, match=r"layers = \[-5\]: .* to -4"):
        extractor(base, layers=[-5])
    with pytest.raises(UserError, match=r"layers = \[-1, 3\]: 3 is there twice"):
        extractor(base, layers=[-1, 3])
    assert len(extractor(large, layers=[-1, 3])(noise(0.1))[0]) == 4  # after and before the last normalisation


def test_folders_that_are_refused(folder: Folders, tmp_path: Path) -> None:
    get = "`mse fetch OWNER/NAME@REVISION` gets one"
    with pytest.raises(UserError, match=rf"nowhere: no speech model there .*{get}"):
        extractor(tmp_path / "nowhere")
    place = shutil.copytree(folder("wav2vec2-base"), tmp_path / "model")
    weights = load_file(place / "model.safetensors")
    gone = "encoder.layers.2.attention.k_proj.weight"
    save_file({key: value for key, value in weights.items() if key != gone}, place / "model.safetensors")
    with pytest.raises(UserError, match=rf"model: weights are missing: {gone}; fetch the model again"):
        extractor(place)
    save_file({f"other.{key}": value for key, value in weights.items()}, place / "model.safetensors")
    with pytest.raises(UserError, match=r"weights are missing: .* and \d+ more"):
        extractor(place)
    weights["encoder.layer_norm.bias"] = torch.zeros(31)
    save_file(weights, place / "model.safetensors")
    with pytest.raises(
        UserError, match=r"weights have another shape than config\.json says: encoder\.layer_norm\.bias;"
    ):
        extractor(place)
    (place / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(UserError, match=r"model\.safetensors: damaged or cut off"):
        extractor(place)
    (place / "model.safetensors").unlink()
    with pytest.raises(UserError, match=rf"model: no weights; .*{get}"):
        extractor(place)
    (place / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": Path("x")}, protocol=2))
    with pytest.raises(UserError, match=r"pytorch_model\.bin: holds something else than tensors"):
        extractor(place)
    (place / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/else"}')
    with pytest.raises(UserError, match="a model with parts from elsewhere"):
        extractor(place)
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps({**config, "model_type": "whisper"}))
    with pytest.raises(UserError, match=r"model_type = 'whisper' .* wav2vec2, hubert, wavlm, data2vec-audio"):
        extractor(place)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(folder: Folders) -> None:
    with pytest.raises(UserError, match="device = 'cuda', but torch sees no GPU"):
        SpeechModelExtractor(SpeechModelSettings(model="x"), folder("data2vec"), device="cuda")
    samples = noise(0.3)
    ignored = extractor(folder("data2vec"), half=True)(samples)[0]
    np.testing.assert_array_equal(ignored, extractor(folder("data2vec"))(samples)[0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@every_model
def test_a_gpu_tells_the_same(folder: Folders, name: str) -> None:
    clips = [noise(2.5), noise(0.7, 1)]
    for half, atol in ((False, 1e-3), (True, 0.05)):
        wanted = SpeechModelSettings(model=name, rate_hz=50.0, half=half)
        describe = SpeechModelExtractor(wanted, folder(name), device="cuda")
        found, again = describe.many(clips), describe.many(clips)
        for clip, (values, valid), (same, _) in zip(clips, found, again, strict=True):
            assert valid.all()
            np.testing.assert_array_equal(values, same)
            np.testing.assert_allclose(values, extractor(folder(name))(clip)[0], atol=atol)
