"""The floor of `mse bench extract`: the bare libraries on some videos, in one process, and nothing else.

    python -m mse.bench.floor WORK.json face_landmarker.task

WORK.json lists pairs of a video and a file of its samples (16 kHz, mono, int16, as numpy saves them).
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import ffmpeg
import mediapipe as mp
import numpy as np
import numpy.typing as npt
import opensmile
from mediapipe.tasks.python import BaseOptions, vision

from mse.config import FacialSettings, OpenSmileSettings
from mse.media import SAMPLE_RATE_HZ, ffmpeg_path

FACIAL, ACOUSTIC = FacialSettings(), OpenSmileSettings()  # rate, size and set of the whole


def pictures(path: str) -> Iterator[npt.NDArray[np.uint8]]:
    """A video's pictures as ffmpeg's command gives them at our rate and size, shape (height, width, 3)."""
    limit = FACIAL.max_side_px
    video = ffmpeg.input(f"file:{path}", threads=1).video.filter("fps", fps=FACIAL.rate_hz, start_time=0)
    video = video.filter("scale", f"min(iw,{limit})", f"min(ih,{limit})", force_original_aspect_ratio="decrease")
    stream = video.output("pipe:", format="image2pipe", vcodec="ppm", pix_fmt="rgb24")
    command = stream.global_args("-nostdin", "-loglevel", "error").compile(cmd=ffmpeg_path())
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while process.stdout.readline():  # P6, then "width height", then 255, then the pixels
            width, height = map(int, process.stdout.readline().split())
            process.stdout.readline()
            pixels = process.stdout.read(width * height * 3)
            yield np.frombuffer(pixels, np.uint8).reshape(height, width, 3)


def work(pairs: list[list[str]], model: Path) -> None:
    """Decode, look, listen, and keep nothing."""
    smile = opensmile.Smile(
        feature_set=opensmile.FeatureSet[ACOUSTIC.feature_set],
        feature_level=opensmile.FeatureLevel.LowLevelDescriptors,
    )
    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(model)),
        running_mode=vision.RunningMode.VIDEO,
        output_face_blendshapes=True,
        output_facial_transformation_matrixes=True,
    )
    number = 0  # its times must rise over all videos
    with vision.FaceLandmarker.create_from_options(options) as look:
        for video, sound in pairs:
            for picture in pictures(video):
                image = mp.Image(image_format=mp.ImageFormat.SRGB, data=picture)
                look.detect_for_video(image, round(number * 1000 / FACIAL.rate_hz))
                number += 1
            smile.process_signal(np.load(sound).astype(np.float32) / 32768, SAMPLE_RATE_HZ)


if __name__ == "__main__":
    work(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
