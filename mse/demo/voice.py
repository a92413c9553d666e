"""Speak sentences with espeak-ng, through the shared library that the espeakng-loader wheel carries."""

import ctypes
import math
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.signal import resample_poly

from mse.demo.recipe import Sound, Speaker, Voice
from mse.errors import UserError
from mse.media import SAMPLE_RATE_HZ

Samples = npt.NDArray[np.float64]

_SYNTHESISE_ONLY = 0x02  # espeak_AUDIO_OUTPUT: AUDIO_OUTPUT_SYNCHRONOUS, nothing is played
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4  # espeak_PARAMETER
_PITCH_LIMITS = (0, 99)
_UTF8 = 1  # espeakCHARS_UTF8
_TRIM_DB = -40.0  # below the peak: silence before and after the speech
_FULL_SCALE = 32767

_OnSound = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class _Synthesiser:
    """The process's espeak-ng: the library keeps its state in globals, so there is one."""

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError as e:
            raise UserError("espeakng-loader is missing; install the demo extra: pip install -e '.[demo]'") from e
        data = str(espeakng_loader.get_data_path())
        self._timbres = Path(data) / "voices" / "!v"
        self._library = ctypes.CDLL(str(espeakng_loader.get_library_path()))
        self.rate_hz = int(self._library.espeak_Initialize(_SYNTHESISE_ONLY, 0, data.encode(), 0))
        if self.rate_hz <= 0:
            raise UserError(
                f"espeak-ng cannot read its data in {data}; paths over 150 characters are too long for it: "
                "use an environment in a shorter folder"
            )
        self._chunks: list[npt.NDArray[np.int16]] = []
        self._on_sound = _OnSound(self._keep)  # referenced here, or it would be collected while in use
        self._library.espeak_SetSynthCallback(self._on_sound)

    def _keep(self, sound: "ctypes._Pointer[ctypes.c_short]", count: int, _events: int | None) -> int:
        if sound and count > 0:
            self._chunks.append(np.ctypeslib.as_array(sound, (count,)).copy())
        return 0  # go on

    def speak(self, text: str, timbre: str, rate_wpm: int, pitch: int) -> npt.NDArray[np.int16]:
        """Samples at rate_hz, int16."""
        self._chunks.clear()
        voice = f"en-us+{timbre}"
        known = (self._timbres / timbre).is_file()  # the library would speak an unknown one in a plain voice
        if not known or self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise UserError(f"espeak-ng has no voice {voice!r}; the variants are the files in {self._timbres}")
        for parameter, value in ((_RATE, rate_wpm), (_VOLUME, 100), (_PITCH, pitch), (_RANGE, 50)):
            self._library.espeak_SetParameter(parameter, value, 0)
        words = text.encode()
        failed = self._library.espeak_Synth(words, len(words) + 1, 0, 1, 0, _UTF8, None, None)
        if failed or not self._chunks:
            raise UserError(f"espeak-ng could not speak {text!r} with voice {voice!r}")
        return np.concatenate(self._chunks)


_synthesiser = cache(_Synthesiser)


def speak(text: str, speaker: Speaker, component: float, sound: Sound, voice: Voice) -> Samples:
    """Say a sentence.

    espeak-ng keeps a little state (noise, phases) from one sentence to the next, so samples are reproducible for
    the same sequence of calls in a fresh process.

    Args:
        text: an English sentence.
        speaker: whose timbre and pitch.
        component: the clip's voice component in [-1, 1]: higher is higher, faster and louder.
        sound: level and rate of a component of 0.
        voice: what a component of 1 changes.

    Returns:
        Samples at 16 kHz in [-1, 1), shape (N,), without silence at the ends; their root mean square is
        sound.rms_dbfs + component * voice.level_db decibels relative to full scale.

    Raises:
        UserError: espeak-ng is missing or refused the voice.
    """
    synthesiser = _synthesiser()
    pitch = min(max(round(speaker.pitch + component * voice.pitch), _PITCH_LIMITS[0]), _PITCH_LIMITS[1])
    rate_wpm = round(sound.rate_wpm * voice.rate**component)
    raw = synthesiser.speak(text, speaker.timbre, rate_wpm, pitch).astype(float) / (_FULL_SCALE + 1)
    common = math.gcd(SAMPLE_RATE_HZ, synthesiser.rate_hz)
    samples: Samples = resample_poly(raw, SAMPLE_RATE_HZ // common, synthesiser.rate_hz // common)
    heard = np.flatnonzero(np.abs(samples) > np.abs(samples).max() * 10 ** (_TRIM_DB / 20))
    samples = samples[heard[0] : heard[-1] + 1]
    rms = 10 ** ((sound.rms_dbfs + component * voice.level_db) / 20)
    return samples * (rms / np.sqrt(np.mean(samples**2)))


def room_noise(count: int, sound: Sound, rng: np.random.Generator) -> Samples:
    """White noise at sound.floor_dbfs, shape (count,)."""
    return rng.normal(scale=10 ** (sound.floor_dbfs / 20), size=count)


def to_pcm(samples: Samples) -> npt.NDArray[np.int16]:
    """Samples in [-1, 1) as int16; what lies outside is clipped."""
    return np.round(np.clip(samples, -1, 1) * _FULL_SCALE).astype(np.int16)


def loudness(samples: Samples, count: int, rate_hz: int) -> Samples:
    """How loud each video frame is, relative to the clip's loudest.

    Args:
        samples: 16 kHz, shape (N,).
        count: frames wanted; beyond the samples there is silence.
        rate_hz: frames a second.

    Returns:
        Root mean square of each frame's samples divided by the largest, in [0, 1], shape (count,).
    """
    step = SAMPLE_RATE_HZ // rate_hz
    padded = np.zeros(count * step)
    padded[: min(len(samples), len(padded))] = samples[: len(padded)]
    rms = np.sqrt(np.mean(padded.reshape(count, step) ** 2, axis=1))
    return rms / max(rms.max(), 1e-9)
