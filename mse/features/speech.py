"""Speech recognition with faster-whisper: text, and when each word was said."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mse.config import TranscribeSettings
from mse.errors import UserError

NO_REPEAT = 4  # tokens that never follow each other twice: in noise, Whisper would repeat itself without end


@dataclass(frozen=True)
class Word:
    """One recognised word; times in seconds from the clip's start."""

    text: str
    start_s: float
    end_s: float
    probability: float


@dataclass(frozen=True)
class Transcript:
    """What was said in a clip.

    Attributes:
        text: the words with punctuation; empty where no speech was recognised.
        confidence: mean probability of the words, 0 without words.
    """

    text: str
    words: list[Word]
    confidence: float


class Recogniser:
    """A Whisper model on the CPU (or the GPU, where CTranslate2 finds one).

    Args:
        settings: beam and arithmetic.
        model: folder with CTranslate2 weights and tokenizer.json.
        language: ISO 639-1 code of what is spoken.
        threads: CPU threads.

    Raises:
        UserError: the folder holds no model.
    """

    def __init__(self, settings: TranscribeSettings, model: Path, language: str, threads: int = 1) -> None:
        from faster_whisper import WhisperModel

        if not (model / "model.bin").is_file():
            raise UserError(f"{model}: no Whisper model for CTranslate2 (model.bin); `mse fetch` gets one by name")
        self._beam_size = settings.beam_size
        self._model = WhisperModel(str(model), compute_type=settings.compute_type, cpu_threads=threads)
        if language != "en" and not self._model.model.is_multilingual:
            raise UserError(f"{model}: an English-only model can't transcribe {language!r}; choose another model")
        self._language = language

    def __call__(self, samples: npt.NDArray[np.int16]) -> Transcript:
        """Recognise a clip's words.

        Args:
            samples: shape (N,), mono, 16 kHz, int16.
        """
        # Temperature 0 alone: the fallbacks at higher ones sample, and results would differ between runs.
        segments, _ = self._model.transcribe(
            samples.astype(np.float32) / 32768,
            language=self._language,
            beam_size=self._beam_size,
            temperature=0.0,
            no_repeat_ngram_size=NO_REPEAT,
            condition_on_previous_text=False,
            word_timestamps=True,
        )
        parts = list(segments)
        words = [
            Word(
                word.word.strip(),
                round(float(word.start), 2),
                round(float(word.end), 2),
                float(word.probability),
            )
            for part in parts
            for word in part.words or ()
        ]
        confidence = float(np.mean([word.probability for word in words])) if words else 0.0
        return Transcript("".join(part.text for part in parts).strip(), words, confidence)
