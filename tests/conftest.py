"""Inputs that tests make for themselves: tones, moving pictures, tiny language models; and the real models.

What takes long to make is made once in a session and shared by the workers of pytest-xdist.
"""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from mse import media
from mse.fetch import fetch

pytest_plugins = ["tests.checkout", "tests.described", "tests.tiny_llms"]  # fixtures of their own

ROOT = Path(__file__).parents[1]
MODELS = ROOT / "resources" / "models"
# What the fixture `voice` says.
SAID = ["The weather was lovely today.", "I have never seen such a bad film.", "The train leaves at nine."]


# Files that take longest; with them first, the workers end together.
LONGEST = ["chaos", "workflow", "docs", "predict", "slurm", "layouts", "bad_media", "demo", "facial"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; `--dist loadfile` hands them out in this order."""
    order = {f"test_{name}": number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


Shared = Callable[[str, Callable[[Path], object]], Path]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes out."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    """Make a folder by name once for the tests of all workers. They only read it: who changes something, copies."""
    session = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        session = session.parent  # a worker's folder lies in the session's

    def once(name: str, make: Callable[[Path], object]) -> Path:
        folder = session / "shared" / name
        folder.parent.mkdir(exist_ok=True)
        with locked(folder.with_name(f".{name}.lock")):
            if not folder.exists():
                folder.mkdir()
                try:
                    make(folder)
                except BaseException:
                    shutil.rmtree(folder)  # the other worker tries for itself, and says the same
                    raise
        return folder

    return once


@pytest.fixture(scope="session")
def models() -> Callable[[str], Path]:
    """The folder of a pretrained model by name, fetched once into resources/models."""

    def fetched(name: str) -> Path:
        MODELS.mkdir(parents=True, exist_ok=True)
        with locked(MODELS / ".fetching"):
            return fetch(name, ROOT / "resources" / "models.yaml", MODELS)

    return fetched


@pytest.fixture(scope="session")
def landmarker(models: Callable[[str], Path]) -> Path:
    return models("face_landmarker") / "face_landmarker.task"


def ffmpeg(*arguments: str | Path | bytes) -> bytes:
    """Run ffmpeg and give what it wrote to its standard output."""
    command = [media.ffmpeg_path(), "-nostdin", "-y", "-loglevel", "error", *arguments]
    return subprocess.run(command, check=True, capture_output=True).stdout


def tone(seconds: float, hertz: float = 220.0, level: float = 0.3) -> np.ndarray:
    """A harmonic tone with a slow tremor, int16 at 16 kHz."""
    t = np.arange(round(seconds * media.SAMPLE_RATE_HZ)) / media.SAMPLE_RATE_HZ
    wave = sum(np.sin(2 * np.pi * hertz * k * t) / k for k in range(1, 6))
    wave *= 1 + 0.3 * np.sin(2 * np.pi * 3 * t)
    return (wave / np.abs(wave).max() * level * 32767).astype(np.int16)


def grey_frames(seconds: float, rate_hz: int = 25, side_px: int = 96) -> list[np.ndarray]:
    """Pictures whose brightness tells their time: value = 4 x the frame's number, up to 240."""
    return [np.full((side_px, side_px, 3), min(4 * i, 240), np.uint8) for i in range(round(seconds * rate_hz))]


@pytest.fixture(scope="session")
def portrait_frames() -> list[np.ndarray]:
    """Two seconds of a real face that slowly moves, at 25 frames a second."""
    from skimage.data import astronaut

    face = astronaut()[0:320, 64:384]
    return [np.roll(face, shift, axis=1) for shift in range(0, 50)]


@pytest.fixture(scope="session")
def corpus(shared: Shared, portrait_frames: list[np.ndarray]) -> Path:
    """A folder with one good video, and every kind of bad file that the pipeline must bear."""
    return shared("corpus with spaces", lambda root: make_media(root, portrait_frames))


def make_media(root: Path, portrait_frames: list[np.ndarray]) -> None:
    """One good video, of which the bad ones are made."""
    media.write_video(root / "good.mp4", portrait_frames, tone(2), 25)
    media.write_video(root / "no face.mp4", grey_frames(2), tone(2), 25)
    (root / "empty.mp4").touch()
    (root / "text.mp4").write_text("this is no video\n" * 50)
    silent = media.ffmpeg.input(f"file:{root / 'good.mp4'}").output(
        f"file:{root / 'no sound.mp4'}", an=None, vcodec="copy"
    )
    silent.run(cmd=media.ffmpeg_path(), quiet=True)
    sound = media.ffmpeg.input(f"file:{root / 'good.mp4'}").output(f"file:{root / 'no picture.wav'}", vn=None)
    sound.run(cmd=media.ffmpeg_path(), quiet=True)
    data = (root / "good.mp4").read_bytes()
    (root / "truncated.mp4").write_bytes(data[: len(data) * 6 // 10])


@pytest.fixture(scope="session")
def tiny_llm(shared: Shared) -> Path:
    """A folder with a random two-layer Llama and a tokenizer of single bytes."""
    return shared("tiny-llm", make_tiny_llm)


def make_tiny_llm(folder: Path) -> None:
    """Write model and tokenizer; the weights are large, so that what the model reads moves what it writes."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(["<s>", "</s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>").save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.2,
        bos_token_id=0,
        eos_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


@pytest.fixture(scope="session")
def voice(shared: Shared) -> np.ndarray:
    """SAID: a short pause after the first sentence, a long one after the second; int16 at 16 kHz."""
    pytest.importorskip("espeakng_loader", reason="the voice comes from the demo extra")
    return np.load(shared("voice", lambda folder: np.save(folder / "said.npy", say_all())) / "said.npy")


def say_all() -> np.ndarray:
    """SAID, by espeak-ng in one voice."""
    from mse.demo.recipe import load_recipe
    from mse.demo.voice import speak, to_pcm

    recipe = load_recipe(ROOT / "resources" / "demo.yaml")
    said = [speak(text, recipe.splits["train"].speakers[0], 0.0, recipe.sound, recipe.voice) for text in SAID]
    still = [np.zeros(round(seconds * 16_000)) for seconds in (1.0, 0.4, 1.5, 1.0)]
    return to_pcm(np.concatenate([still[0], said[0], still[1], said[1], still[2], said[2], still[3]]))
