"""Speech recognition: speech is kept with its times, what nobody said is left out, and both are told."""

# ruff: noqa: RUF001 (Chinese punctuation is wide)

import json
import math
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import jiwer
import numpy as np
import pytest
from scipy.signal import resample_poly
from threadpoolctl import threadpool_limits

from mse import media
from mse.config import TranscribeSettings
from mse.errors import UserError
from mse.features.speech import (
    PROMPTS,
    Passage,
    Recogniser,
    doubt,
    repeats_endlessly,
    shorten_window,
    wide_marks,
)
from mse.store import Clip, Description, Status, write_shard
from mse.transcribe import read_transcripts, transcribe_shard, transcript_row
from tests.conftest import SAID

T = np.arange(4 * media.SAMPLE_RATE_HZ) / media.SAMPLE_RATE_HZ  # seconds


def _music() -> np.ndarray:
    """A chord struck twice a second, that dies away."""
    return sum(0.1 * np.sin(2 * np.pi * hertz * T) for hertz in (220, 277, 330, 440)) * np.exp(-4 * (T % 0.5))


NO_SPEECH = {
    "silence": np.zeros(len(T)),
    "tone": 0.3 * np.sin(2 * np.pi * 440 * T),
    "noise": np.random.default_rng(0).normal(0, 0.1, len(T)),
    "faint noise": np.random.default_rng(0).normal(0, 0.0001, len(T)),
    "music": _music(),
}


def pcm(sound: np.ndarray) -> np.ndarray:
    return np.round(sound * 32767).astype(np.int16)


@pytest.fixture(scope="module")
def english(models: Callable[[str], Path]) -> Path:
    return models("whisper-tiny.en")


@pytest.fixture(scope="module")
def many_languages(models: Callable[[str], Path]) -> Path:
    return models("whisper-base")


@pytest.fixture(scope="module")
def recognise(english: Path) -> Recogniser:
    return Recogniser(TranscribeSettings(), english, "en")


# --- windows ---


@pytest.mark.parametrize(
    ("seconds", "window_s"), [(0.0, 10), (3.0, 10), (5.01, 10.02), (12.0, 17), (26.0, 30), (30.0, 30)]
)
def test_a_window_is_as_long_as_its_sound_with_silence(seconds: float, window_s: float) -> None:
    spectrum = np.random.default_rng(0).uniform(-1, 1, (80, 3000)).astype(np.float32)
    end = round(seconds * 100)
    spectrum[:, end:] = 0  # as the library fills it up
    window = shorten_window(spectrum)
    assert window.shape == (80, round(window_s * 100))
    assert np.array_equal(window[:, :end], spectrum[:, :end])
    assert (window[:, end:] == spectrum[:, :end].min(initial=0)).all()
    assert (spectrum[:, end:] == 0).all()  # it is a copy


# --- guards ---


def passage(text: str, no_speech: float = 0.1, log_probability: float = -0.3) -> Passage:
    return Passage(text, no_speech, log_probability)


def test_text_for_silence_is_doubted_only_where_both_say_so() -> None:
    assert doubt(passage("Thank you.", 0.9, -1.2)) == (
        "text for silence (no speech with probability 0.90, mean log probability -1.20)"
    )
    assert doubt(passage("Thank you.", 0.9, -0.8)) == doubt(passage("Thank you.", 0.5, -1.2)) == ""
    assert doubt(passage(" . ")) == "no word, only marks"


@pytest.mark.parametrize(
    ("text", "endless"),
    [
        ("No, no, no, no, no!", False),
        ("No no no no no no no.", False),
        ("I don't know. I don't know. I don't know.", False),
        ("哈哈哈哈哈哈", False),
        ("谢谢，谢谢，谢谢，谢谢！", False),
        ("我觉得这个电影不好看，因为时间太长了，但是演员很好，音乐也很好听，所以我还是推荐大家去看一看。", False),
        ("Thank you. " * 12, True),
        ("beep " * 40, True),
        ("谢谢观看。" * 12, True),
        ("简 " * 20, True),
        # too little of the text for its compression to show
        ("It rained on Monday, then the wind turned and by noon the whole valley lay in sun. Oh" + " oh" * 10, True),
        ("昨天下雨了，我没有去学校，老师打电话来问我，妈妈说我病了，其实我在家里玩" + "啊" * 12, True),
        ("", False),
    ],
)
def test_endless_repetition_and_that_of_people(text: str, endless: bool) -> None:
    assert repeats_endlessly(text) == endless
    assert (doubt(passage(text)) == "the same over and over") == endless


def test_echo_of_the_prompt_is_doubted() -> None:
    assert doubt(passage("我们应该怎么说呢？"), PROMPTS["zh"]) == "an echo of the prompt"
    assert doubt(passage("没关系。"), PROMPTS["zh"]) == doubt(passage("我们应该怎么走呢？"), PROMPTS["zh"]) == ""


@pytest.mark.parametrize("name", NO_SPEECH)
def test_where_no_speech_is_heard_nothing_is_recognised(name: str, recognise: Recogniser) -> None:
    heard = recognise(pcm(NO_SPEECH[name]))
    assert (heard.text, heard.words, heard.confidence) == ("", [], 0.0)
    assert heard.note.startswith("no speech is heard in it (probability at most 0.")


def test_without_guards_all_is_kept(english: Path) -> None:
    heard = Recogniser(TranscribeSettings(guards=False), english, "en")(pcm(NO_SPEECH["tone"]))
    assert heard.note == ""  # the detector is not asked, and nothing is judged


def test_what_the_detector_lets_through_is_read_again_and_judged(english: Path) -> None:
    """A tone too short for the detector to be asked; what Whisper makes of it depends on the processor."""
    recognise = Recogniser(TranscribeSettings(), english, "en")
    heard = recognise(pcm(NO_SPEECH["tone"])[:7000])
    assert not repeats_endlessly(heard.text)
    assert (
        heard.note.startswith(("read again without repetitions, after it was heard as", "left out ")) or not heard.note
    )


# --- words ---


def test_speech_is_kept_with_times_and_probabilities(voice: np.ndarray, recognise: Recogniser) -> None:
    heard = recognise(voice)
    # Of 18 words the tiny model hears two to five wrong, as little as a thousandth of loudness decides which. What it
    # writes for the pauses depends on the processor and is most of the time left out, with a note; none may be kept.
    said, written = (
        "".join(c for c in text.lower() if c.isalpha() or c == " ") for text in (" ".join(SAID), heard.text)
    )
    assert jiwer.wer(said, written) < 0.35
    assert heard.language == "en"
    assert " ".join(word.text for word in heard.words) == heard.text
    starts = [word.start_s for word in heard.words]
    assert starts == sorted(starts) and all(word.start_s <= word.end_s for word in heard.words)
    assert 0.5 < starts[0] < 1.6 and heard.words[-1].end_s < len(voice) / media.SAMPLE_RATE_HZ
    assert heard.confidence == pytest.approx(np.mean([word.probability for word in heard.words]))
    assert 0.5 < heard.confidence <= 1


def test_the_number_of_threads_is_the_recogniser_s_own(voice: np.ndarray, recognise: Recogniser) -> None:
    """Whatever NumPy has been told by the environment, which Snakemake sets and a shell does not."""
    with threadpool_limits(1, user_api="blas"):
        alone = recognise(voice)
    with threadpool_limits(2, user_api="blas"):
        assert recognise(voice) == alone


def test_repeated_sentences_stay_as_they_were_said(voice: np.ndarray, recognise: Recogniser) -> None:
    sentence = voice[: round(2.9 * media.SAMPLE_RATE_HZ)]  # the first one, and the silence around it
    once, thrice = recognise(sentence), recognise(np.tile(sentence, 3))
    assert thrice.text.lower().count("weather") == 3 * once.text.lower().count("weather") == 3


# --- languages ---


def test_language_that_the_model_does_not_know_is_refused(english: Path, many_languages: Path) -> None:
    with pytest.raises(UserError, match=r"whisper-tiny\.en: an English-only model can't transcribe 'zh'; choose"):
        Recogniser(TranscribeSettings(), english, "zh")
    with pytest.raises(UserError, match=r"whisper-base: language 'xx' is none that Whisper knows: auto, af, "):
        Recogniser(TranscribeSettings(), many_languages, "xx")


def test_detected_language(voice: np.ndarray, english: Path, many_languages: Path) -> None:
    for model in (english, many_languages):  # one that knows English alone hears English
        heard = Recogniser(TranscribeSettings(), model, "auto")(voice)
        assert heard.language == "en" and "weather" in heard.text.lower()


def mandarin(text: str) -> np.ndarray:
    """Spoken by espeak-ng, int16 at 16 kHz; in a process of its own, since the library keeps state between calls."""
    from mse.demo import voice

    synthesiser = voice._synthesiser()
    synthesiser._chunks.clear()
    assert synthesiser._library.espeak_SetVoiceByName(b"cmn") == 0
    for parameter, value in ((voice._RATE, 150), (voice._VOLUME, 100), (voice._PITCH, 50), (voice._RANGE, 50)):
        synthesiser._library.espeak_SetParameter(parameter, value, 0)
    said = text.encode()
    synthesiser._library.espeak_Synth(said, len(said) + 1, 0, 1, 0, voice._UTF8, None, None)
    sound = np.concatenate(synthesiser._chunks) / 32768
    common = math.gcd(media.SAMPLE_RATE_HZ, synthesiser.rate_hz)
    sound = resample_poly(sound, media.SAMPLE_RATE_HZ // common, synthesiser.rate_hz // common)
    return pcm(np.pad(0.3 * sound / np.abs(sound).max(), 5000))


@pytest.mark.parametrize("said", ["今天天气很好，我们去学校。", "谢谢你，我认识这个医生。"])
def test_chinese_comes_in_simplified_script_with_wide_marks(said: str, many_languages: Path) -> None:
    """This voice is hardly understood, so that the script and the marks are looked at, not the words."""
    pytest.importorskip("espeakng_loader", reason="the voice comes from the demo extra")
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        sound = process.submit(mandarin, said).result()
    heard = Recogniser(TranscribeSettings(), many_languages, "zh")(sound)
    heard.text.encode("gb2312")  # a set of characters without traditional ones
    assert heard.language == "zh" and len(heard.words) > 5
    assert set(heard.text) & set("，。！？") and not set(heard.text) & set(",!?")


def test_marks_are_made_wide_beside_chinese_alone() -> None:
    assert wide_marks("好,你呢? 我说: OK, fine. 三点,5,000 元!") == "好，你呢？我说：OK, fine. 三点，5,000 元！"
    assert wide_marks("It is 3:30, right?") == "It is 3:30, right?"


# --- a shard ---


def test_every_clip_gets_a_row(voice: np.ndarray, english: Path, tmp_path: Path) -> None:
    clips = {"said": (voice, Status.ok, ""), "short": (voice[:64_000], Status.cut, "ends early")}
    clips |= {"still": (pcm(NO_SPEECH["noise"]), Status.ok, ""), "gone": (pcm(T[:0]), Status.missing, "no such file")}
    clips |= {"empty": (pcm(T[:0]), Status.ok, "")}
    described = Description("d", "sound", "pcm", ["sample"], media.SAMPLE_RATE_HZ, dtype="int16")
    shard = (Clip(name, x[:, None], np.ones(len(x), bool), s, message) for name, (x, s, message) in clips.items())
    write_shard(tmp_path / "sound.h5", described, shard)
    transcribe_shard(tmp_path / "sound.h5", tmp_path / "said.csv", "auto", TranscribeSettings(), english)
    table = read_transcripts(tmp_path / "said.csv").set_index("clip_id")
    assert table["status"].tolist() == ["ok", "cut", "nothing_found", "missing", "nothing_found"]
    assert table["language"].tolist() == ["en", "en", "", "", ""]
    assert table.loc["short", "message"].startswith("ends early")
    assert "no speech is heard" in table.loc["still", "message"]
    assert table.loc["empty", "message"] == "there is no sound"
    word = json.loads(table.loc["said", "words"])[0]
    assert list(word) == ["text", "start_s", "end_s", "probability"]
    assert table["confidence"].notna().tolist() == [True, True, False, False, False]


def test_what_fails_on_one_clip_is_that_clips_status(recognise: Recogniser) -> None:
    broken = Clip("broken", np.zeros((20_000, 1, 2), np.int16), np.ones(20_000, bool))  # no mono sound
    row = transcript_row(broken, lambda clip: recognise(clip.values[:, 0]))
    assert row["status"] == "failed" and row["message"].startswith("speech recognition failed: ")
    assert row["text"] == ""


def test_folder_without_a_model_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no Whisper model for CTranslate2 \(model\.bin is missing\); `mse fetch`"):
        Recogniser(TranscribeSettings(), tmp_path, "en")
