"""Make the demo corpus: videos, longer recordings, the table of clips and a README."""

import multiprocessing
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from mse.atomic import replacing
from mse.demo.card import write_card
from mse.demo.motion import animate
from mse.demo.plan import Clip, Plan, as_table, make_plan
from mse.demo.portrait import Picture, Portrait
from mse.demo.recipe import Recipe, Speaker
from mse.demo.voice import loudness, room_noise, speak, to_pcm
from mse.errors import UserError
from mse.media import SAMPLE_RATE_HZ, write_video
from mse.progress import track

FOLDERS = ("videos", "recordings")  # below the corpus's folder; a build empties them first
_NOISE_MARGIN_PX = 64  # frames take their noise from random places of one larger picture


def build(recipe: Recipe, out: Path, landmarker: Path, jobs: int = 2, seed: int | None = None) -> None:
    """Make the corpus. The same recipe, seed and machine give the same bytes, whatever `jobs` is.

    Args:
        recipe: what to make.
        out: folder to write `videos/`, `recordings/`, `README.md` and, last of all, `clips.csv` to.
        landmarker: MediaPipe's face_landmarker.task.
        jobs: processes; each makes one speaker after the other.
        seed: instead of the recipe's.

    Raises:
        UserError: a package of the demo extra or the model is missing, or the recipe asks for the impossible.
    """
    if not landmarker.is_file():
        raise UserError(f"{landmarker}: no such file; fetch it first: mse fetch face_landmarker")
    seed = recipe.seed if seed is None else seed
    table = out / "clips.csv"
    table.unlink(missing_ok=True)  # it marks a complete corpus
    for folder in FOLDERS:
        shutil.rmtree(out / folder, ignore_errors=True)
        (out / folder).mkdir(parents=True)

    plans = make_plan(recipe, seed)
    # A fresh process a speaker: espeak-ng carries state from one sentence to the next, so a speaker's sound would
    # otherwise depend on who spoke before in the same process. All are forked from one that has imported the libraries,
    # and has not used them: MediaPipe's threads would not survive a fork.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "mediapipe.tasks.python.vision", "skimage.data"])
    with ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=1) as pool:
        tasks = [pool.submit(_make_speaker, plan, recipe, out, landmarker) for plan in plans]
        try:
            for task in track(as_completed(tasks), "demo corpus", len(tasks), "speakers"):
                task.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    clips = as_table(plans)
    write_card(out, recipe, seed, clips)
    with replacing(table) as partial:
        clips.to_csv(partial, index=False)


def _make_speaker(plan: Plan, recipe: Recipe, out: Path, landmarker: Path) -> None:
    """Write all files of one speaker."""
    cv2.setNumThreads(1)  # the processes already share the cores
    with threadpool_limits(1):
        portrait = Portrait(plan.speaker, recipe.picture.size_px, landmarker)
        files = groupby(sorted(plan.clips, key=lambda clip: (clip.media, clip.start_s)), lambda clip: clip.media)
        for number, (media, clips) in enumerate(files):
            rng = np.random.default_rng([plan.seed, number])
            _make_file(out / media, list(clips), plan.speaker, portrait, recipe, rng)


def _make_file(
    path: Path, clips: list[Clip], speaker: Speaker, portrait: Portrait, recipe: Recipe, rng: np.random.Generator
) -> None:
    """Write one video: a single clip, or a recording with pauses between, before and after its clips."""
    rate_hz = recipe.picture.rate_hz
    frames = round((clips[-1].start_s + clips[-1].length_s + clips[0].start_s) * rate_hz)
    sound = room_noise(frames * SAMPLE_RATE_HZ // rate_hz, recipe.sound, rng)
    face, loud = np.zeros(frames), np.zeros(frames)
    for clip in clips:
        speech = _placed_speech(clip, speaker, recipe, rng)
        first = round(clip.start_s * rate_hz)
        count = round(clip.length_s * rate_hz)
        sample = first * SAMPLE_RATE_HZ // rate_hz
        sound[sample : sample + len(speech)] += speech
        face[first : first + count] = clip.face
        loud[first : first + count] = loudness(speech, count, rate_hz)
    motion = animate(face, loud, rate_hz, rng)
    pictures = _filmed(portrait, motion, recipe.picture.noise, rng)
    write_video(path, pictures, to_pcm(sound), rate_hz, recipe.picture.crf)


def _placed_speech(clip: Clip, speaker: Speaker, recipe: Recipe, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """The clip's sentence after a random silence, at 16 kHz; it ends within the clip."""
    speech = speak(clip.text, speaker, clip.voice, recipe.sound, recipe.voice)
    spare = round(clip.length_s * SAMPLE_RATE_HZ) - len(speech)
    if spare < 0:
        raise UserError(
            f"the sentence {clip.text!r} takes {len(speech) / SAMPLE_RATE_HZ:.2f} s, longer than its clip of "
            f"{clip.length_s:.2f} s: shorten it, or raise timing.clip_s or sound.rate_wpm in the recipe"
        )
    return np.concatenate([np.zeros(rng.integers(spare + 1)), speech])


def _filmed(
    portrait: Portrait, motion: npt.NDArray[np.float64], noise: float, rng: np.random.Generator
) -> Iterator[Picture]:
    """Paint frame after frame, each with its own sensor noise.

    Args:
        portrait: whose face.
        motion: animation parameters, shape (T, parameters).
        noise: standard deviation in grey levels.
        rng: the source of the noise.
    """
    bank: npt.NDArray[np.int16] | None = None
    for parameters in motion:
        picture = portrait.paint(parameters)
        height, width, _ = picture.shape
        if bank is None:
            shape = (height + _NOISE_MARGIN_PX, width + _NOISE_MARGIN_PX, 3)
            bank = np.round(rng.normal(scale=noise, size=shape)).astype(np.int16)
        top, left = rng.integers(_NOISE_MARGIN_PX + 1, size=2)
        grain = bank[top : top + height, left : left + width]
        yield np.asarray(cv2.add(picture, grain, dtype=cv2.CV_8U), np.uint8)
