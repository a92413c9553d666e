"""Speech recognition with faster-whisper: text, when each word was said, and what was most likely never said."""

import re
import unicodedata
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from mse.config import TranscribeSettings
from mse.errors import UserError
from mse.features.voice_activity import SPEECH, speech_probability
from mse.media import SAMPLE_RATE_HZ

AUTO = "auto"  # the language is detected clip by clip
# Tokens that never follow each other twice in a second reading. In a first one it would do harm: it turned "I don't
# know. I don't know. I don't know." into "I don't know. I don't to know. I do not know.", and made loops in noise
# look like sentences.
NO_REPEAT = 4
# Of cuts of 0.2 and 0.3 s out of real speech the detector missed up to 5 %, of those of 0.5 s none.
DETECTABLE_S = 0.5
SILENCE, UNSURE = 0.6, -1.0  # no speech is more probable than the one, mean log probability is less than the other
MOST_COMPRESSION = 2.4  # bytes of a text over those of its compressed form; both pairs are Whisper's own thresholds
MOST_REPEATS = 10  # of the same letters in a row
LONGEST_REPEATED = 40  # letters
SHORTEST_S, TIMELESS = 0.03, 4  # so many words, each shorter than that, were not said: they stand past the sound's end
MOST_QUOTED = 160  # letters of what was left out, in messages
# Whisper's encoder takes fewer than 30 s, in a time that grows with them. In windows that end soon after the words the
# decoder says them again and again: of the demo's clips of 3 s in 7 % with 8 s, in no more than with 30 s from 10 s on.
FRAMES_HZ = 100  # of Whisper's spectrum
LEAST_WINDOW, LEAST_SILENCE = 10 * FRAMES_HZ, 5 * FRAMES_HZ  # frames: of a window, and of silence after the sound
# What Whisper takes for the text before: it goes on in this script and with such marks, where it would often write
# traditional characters without any. The comma is the narrow one, a token of its own: the wide one is three tokens,
# whose last the base model often got wrong, so that a digit stood for a comma. They are made wide afterwards.
PROMPTS = {"zh": "这个问题,我们应该怎么说呢?没关系,让我想一想。"}
ECHO = 5  # letters of the prompt in a row, and nothing else, are no speech but an echo of it
WIDE = str.maketrans({mark: chr(ord(mark) + 0xFEE0) for mark in ",?!:;"})  # to the full-width forms
BESIDE_HAN = re.compile(r"(?<=[\u3400-\u9fff])\s*[,?!:;]+\s*|\s*[,?!:;]+\s*(?=[\u3400-\u9fff])")


@dataclass(frozen=True)
class Word:
    """One recognised word; times in seconds from the clip's start."""

    text: str
    start_s: float
    end_s: float
    probability: float


@dataclass(frozen=True)
class Passage:
    """What Whisper makes a segment of, mostly a sentence, and how sure it is.

    Attributes:
        text: with punctuation.
        no_speech: probability that its window of 30 s has no speech, by Whisper itself.
        log_probability: mean over the tokens of its window.
    """

    text: str
    no_speech: float
    log_probability: float
    words: Sequence[Word] = ()


@dataclass(frozen=True)
class Transcript:
    """What was said in a clip.

    Attributes:
        text: the words with punctuation; empty where no speech was recognised.
        words: with their times.
        confidence: mean probability of the words, 0 without words.
        language: as given or detected, ISO 639-1; empty where none was looked for.
        note: what was left out or read twice, with the words and why; empty for nothing.
    """

    text: str
    words: list[Word]
    confidence: float
    language: str
    note: str = ""


class Recogniser:
    """A Whisper model on the CPU (or the GPU, where CTranslate2 finds one).

    Args:
        settings: beam, arithmetic and guards.
        model: folder with CTranslate2 weights and tokenizer.json.
        language: ISO 639-1 code of what is spoken, or `auto`; a model that knows English alone then hears English.
        threads: CPU threads.

    Raises:
        UserError: the folder holds no model, or the model does not know the language.
    """

    def __init__(self, settings: TranscribeSettings, model: Path, language: str, threads: int = 1) -> None:
        from faster_whisper import WhisperModel

        self._threads = threads
        for file in ("model.bin", "config.json", "tokenizer.json"):  # without the last, the library would fetch one
            if not (model / file).is_file():
                raise UserError(
                    f"{model}: no Whisper model for CTranslate2 ({file} is missing); `mse fetch` gets one by its "
                    "name in resources/models.yaml, or as OWNER/NAME@REVISION"
                )
        self._beam_size, self._guards = settings.beam_size, settings.guards
        try:
            self._model = WhisperModel(
                str(model), compute_type=settings.compute_type, cpu_threads=threads, local_files_only=True
            )
        except (RuntimeError, ValueError) as e:
            raise UserError(f"{model}: not to be loaded with compute_type {settings.compute_type!r}: {e}") from e
        encode = self._model.encode
        self._model.encode = lambda features: encode(shorten_window(features))
        known = self._model.supported_languages
        if known == ["en"] and language not in ("en", AUTO):
            raise UserError(f"{model}: an English-only model can't transcribe {language!r}; choose another model")
        if language not in (AUTO, *known):
            raise UserError(f"{model}: language {language!r} is none that Whisper knows: auto, {', '.join(known)}")
        self._language = known[0] if len(known) == 1 else None if language == AUTO else language

    def __call__(self, samples: npt.NDArray[np.int16]) -> Transcript:
        """Recognise a clip's words.

        Args:
            samples: shape (N,), mono, 16 kHz, int16.
        """
        # The spectrum is NumPy's work, and its last bits, from which words can follow, depend on the number of threads.
        with threadpool_limits(self._threads, user_api="blas"):
            return self._recognise(samples)

    def _recognise(self, samples: npt.NDArray[np.int16]) -> Transcript:
        sound = samples.astype(np.float32) / np.float32(32768)
        if not len(sound):
            return Transcript("", [], 0.0, "", "there is no sound")
        if self._guards and len(sound) >= DETECTABLE_S * SAMPLE_RATE_HZ:
            speech = float(speech_probability(lambda: [samples]).max())
            if speech <= SPEECH:
                return Transcript("", [], 0.0, "", f"no speech is heard in it (probability at most {speech:.2f})")
        language = self._language or str(self._model.detect_language(sound)[0])
        passages = self._read(sound, language, 0)
        if not self._guards:
            return _transcript(passages, language, [])
        notes = []
        first = "".join(passage.text for passage in passages).strip()
        if repeats_endlessly(first):
            notes.append(f"read again without repetitions, after it was heard as {_quoted(first)}")
            passages = self._read(sound, language, NO_REPEAT)
        kept = []
        for passage in passages:
            reason = doubt(passage, PROMPTS.get(language, ""))
            if reason:
                notes.append(f"left out {_quoted(passage.text)}: {reason}")
            else:
                kept.append(passage)
        return _transcript(kept, language, notes)

    def _read(self, sound: npt.NDArray[np.float32], language: str, no_repeat: int) -> list[Passage]:
        # Temperature 0 alone: the fallbacks at higher ones sample, and results would differ between runs. Without
        # its thresholds the library drops nothing by itself. `hotwords` are a prompt for every window of 30 s, while
        # `initial_prompt` is one for the first alone.
        segments, _ = self._model.transcribe(
            sound,
            language=language,
            beam_size=self._beam_size,
            temperature=0.0,
            no_speech_threshold=None,
            log_prob_threshold=None,
            compression_ratio_threshold=None,
            no_repeat_ngram_size=no_repeat,
            condition_on_previous_text=False,
            hotwords=PROMPTS.get(language),
            word_timestamps=True,
        )
        written = wide_marks if language == "zh" else str

        def word(found: Any) -> Word:
            times = round(float(found.start), 2), round(float(found.end), 2)
            return Word(written(found.word.strip()), *times, float(found.probability))

        return [
            Passage(
                written(segment.text),
                float(segment.no_speech_prob),
                float(segment.avg_logprob),
                [word(found) for found in segment.words or ()],
            )
            for segment in segments
        ]


def shorten_window(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Cut off most of what fills a spectrum up to 30 s, and make the rest silence.

    Args:
        features: shape (bands, 3000), zeros after the sound, where the library fills it up.

    Returns:
        Shape (bands, T), T even. What was zeros is as quiet as the quietest of the sound: zeros are the noise of a
        loud room, and words were heard in them.
    """
    filled = np.flatnonzero(features.any(axis=0))
    end = int(filled[-1]) + 1 if len(filled) else 0
    length = min(max(LEAST_WINDOW, end + LEAST_SILENCE + end % 2), features.shape[1])
    window = features[:, :length].copy()
    window[:, end:] = features[:, :end].min(initial=0)
    return window


def doubt(passage: Passage, prompt: str = "") -> str:
    """Why a passage was most likely never said; empty where nothing speaks against it.

    Args:
        passage: what was recognised.
        prompt: the text that the recogniser was made to go on from.
    """
    letters = _letters(passage.text)
    if not letters:
        return "no word, only marks"
    if passage.no_speech > SILENCE and passage.log_probability < UNSURE:
        return (
            f"text for silence (no speech with probability {passage.no_speech:.2f}, "
            f"mean log probability {passage.log_probability:.2f})"
        )
    if repeats_endlessly(passage.text):
        return "the same over and over"
    if len(letters) >= ECHO and letters in _letters(prompt):
        return "an echo of the prompt"
    timeless = [word for word in passage.words if word.end_s - word.start_s < SHORTEST_S]
    if len(timeless) >= TIMELESS and len(timeless) > len(passage.words) / 2:
        return "most of its words take no time"
    return ""


def _quoted(text: str) -> str:
    plain = text.strip()
    return repr(plain if len(plain) <= MOST_QUOTED else plain[: MOST_QUOTED - 3] + "...")


def repeats_endlessly(text: str) -> bool:
    """Whether a text is the same few words over and over, in any script.

    People do repeat themselves: up to ten times the same is left as it is, if the text does not compress too well.
    """
    raw = text.strip().encode()
    if len(raw) > MOST_COMPRESSION * len(zlib.compress(raw)):
        return True
    again = rf"(.{{1,{LONGEST_REPEATED}}}?)\1{{{MOST_REPEATS},}}"
    return re.search(again, _letters(text)) is not None


def _letters(text: str) -> str:
    """Letters, digits and their marks alone, in lower case."""
    return "".join(c for c in text.casefold() if unicodedata.category(c)[0] in "LMN")


def _transcript(passages: Sequence[Passage], language: str, notes: Sequence[str]) -> Transcript:
    words = [word for passage in passages for word in passage.words]
    confidence = float(np.mean([word.probability for word in words])) if words else 0.0
    text = "".join(passage.text for passage in passages).strip()
    return Transcript(text, words, confidence, language, "; ".join(notes))


def wide_marks(text: str) -> str:
    """Full-width marks beside Chinese characters, as Chinese is written; a mark between digits or Latin words stays."""
    return BESIDE_HAN.sub(lambda found: found[0].strip().translate(WIDE), text)
