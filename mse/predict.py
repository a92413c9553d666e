"""Sentiment or emotion of new recordings, by a trained adapter: cut, extracted, recognised and answered.

from mse.predict import Predictor

predictor = Predictor("results/demo/smollm2/seed-1111/adapter")
predictor("talk.mp4")
"""

import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from mse.adapter import AdapterConfig, MSEAdapter
from mse.adapter.llm import check_llm
from mse.adapter.model import CONFIG_NAME
from mse.backbones.places import MODELS
from mse.config import Backbone, Classes, Cut, Decoding, Intensity, TrainSettings, TranscribeSettings
from mse.corpus.sources import walk
from mse.data import Clips, Example
from mse.errors import UserError
from mse.labels import label_text
from mse.media_types import describe_skipped, is_medium, is_utf8
from mse.new_clips import NewClips
from mse.new_recordings import extract
from mse.pipeline import PIPELINE_NAME, Pipeline, read_pipeline
from mse.progress import say
from mse.share import adapter_folder
from mse.workers import Workers

if TYPE_CHECKING:
    from mse.backbones.llm import FrozenLLM

LEADING = ["clip_id", "recording", "start_s", "end_s", "text", "prediction"]
UTTERANCES = Cut(at="sentences")
Given = str | Path | Sequence[str | Path]
RANGE = (0.1, 0.9)  # quantiles of an intensity that are told


@dataclass
class _Texts:
    """Clips that are text alone."""

    preamble: str
    prompt: str
    texts: list[str]
    widths: tuple[int, int]

    def __getitem__(self, index: int) -> Example:
        acoustic, facial = (np.zeros((0, width), np.float32) for width in self.widths)
        return Example(f"text {index + 1}", self.texts[index], float("nan"), acoustic, facial)


class Predictor:
    """A trained adapter with its LLM, for new recordings and texts.

    Args:
        adapter: folder of the adapter, or OWNER/NAME of one that `mse fetch` got from a hub.
        llm: folder of the LLM; None: where `mse fetch` or `mse backbone convert` put it.
        models: folder of all fetched models.
        transcribe: how words are recognised; None: as in training, or by a Whisper model for its language.
        device: auto, cpu or cuda.
        workers: extract from recordings; None: its own, which start with the first recording.

    The LLM and the processes that extract stay for further calls, until `close` or the end of a `with` block.

    Raises:
        UserError: the folder is no adapter that knows how to extract features, or the LLM is missing or another.
    """

    def __init__(
        self,
        adapter: Path | str,
        llm: Path | str | None = None,
        models: Path = MODELS,
        transcribe: TranscribeSettings | None = None,
        device: str | None = None,
        workers: Workers | None = None,
    ) -> None:
        self.folder, self.models = adapter_folder(adapter, models), models
        self.adapter = MSEAdapter.from_pretrained(self.folder)
        self.pipeline = read_pipeline(self.folder)
        config, backbone = self.adapter.config, self.pipeline.backbone
        _check_together(config, self.pipeline, self.folder)
        self.llm_folder = Path(llm) if llm else models / (backbone.model or self.pipeline.llm)
        if not (self.llm_folder / "config.json").is_file():
            raise UserError(
                f"{self.llm_folder}: the adapter's LLM ({self.pipeline.llm}) is not there; "
                f"{_how_to_get(self.pipeline.llm, backbone)}, or say where it is (--llm)"
            )
        check_llm(self.adapter, self.llm_folder, backbone, self.folder)
        trained = config.train or TrainSettings()
        self.settings = trained.model_copy(update={"device": device} if device else {})
        self.transcribe = transcribe or self.pipeline.transcribe
        self.labels = label_text(self.pipeline.task, backbone.explicit_plus)
        self.workers = workers or Workers()
        self._llm: FrozenLLM | None = None

    def __call__(
        self,
        recordings: Given,
        cut: Cut | Literal["as trained"] | None = "as trained",
        keep: Path | None = None,
        audio_track: int | None = None,
    ) -> pd.DataFrame:
        """Predict recordings.

        Args:
            recordings: a video, sound or folder of them, or several.
            cut: where utterances end; None: each recording is one. As trained: as the corpus's recordings were cut, or,
                where its clips were utterances, at the ends of sentences.
            keep: new folder for what is extracted, which `mse show` then draws; None: it is removed.
            audio_track: which audio track of the recordings, from 1; None: the one marked as default, else the first.

        Returns:
            A row an utterance: clip_id, recording, start_s, end_s, text, prediction; low and high (an intensity's 10
            and 90 % quantiles) or confidence (a class's probability); use and message (as in quality.csv); sound_unlike
            and face_unlike (the share of its features that are far from the training clips'); p_LABEL for each legal
            label. What can't be used has no prediction.

        Raises:
            UserError: there is no such file, a model is missing, or a stage failed.
        """
        paths = media_in(recordings)
        noted = self.pipeline.extraction
        if noted is None:
            raise UserError(
                f"{self.folder}: trained on features that others extracted; how is not known, so none can be made of "
                "new recordings"
            )
        chosen = (noted.cut or UTTERANCES) if cut == "as trained" else cut
        with ExitStack() as stack:
            folder = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mse-")))
            loading = stack.enter_context(ThreadPoolExecutor(1)).submit(self._loaded)  # beside the extraction
            device = self.settings.device
            extract(
                self.workers, paths, folder, self.pipeline, self.transcribe, chosen, self.models, device, audio_track
            )
            clips = NewClips(folder, self.pipeline)
            loading.result()
        return self._answered(clips, _times(clips))

    def texts(self, texts: str | Sequence[str]) -> pd.DataFrame:
        """Predict texts, of which nothing is heard or seen; columns as for recordings, as far as they apply.

        Raises:
            UserError: the adapter reads no text.
        """
        if not self.pipeline.reads_text:
            raise UserError(f"{self.folder}: trained on clips without text; it can tell nothing of texts")
        clips = self._texts([texts] if isinstance(texts, str) else texts)
        use = "partial" if any(clips.widths) else "full"
        return self._answered(clips, pd.DataFrame({"use": [use] * len(clips.texts), "message": ""}))

    def _answered(self, clips: Clips, table: pd.DataFrame) -> pd.DataFrame:
        """The table with texts and predictions; of clips that can't be used there is none."""
        from mse.answer import answer
        from mse.predictions import shown_label

        task = self.pipeline.task
        legal = self.labels.legal()
        names = [f"p_{name}" for name in (task.names if isinstance(task, Classes) else legal)]
        sure = ["low", "high"] if isinstance(task, Intensity) else ["confidence"]
        usable = [index for index, use in enumerate(table["use"]) if use != "unusable"]
        found = pd.DataFrame(index=usable, columns=["prediction", *sure, *names])
        table = table.assign(text=clips.texts)
        if usable:
            asked: set[Decoding] = {self.settings.decoding, "expected"}
            llm = self._loaded()
            answers = answer(clips, usable, llm, self.adapter, self.labels, task, self.settings.batch_size, asked)
            shares, chosen = answers.probabilities, answers.predictions[self.settings.decoding]
            assert shares is not None  # `expected` needs them
            found["prediction"] = [shown_label(value, task) for value in chosen.round(4)]
            found[names] = shares.round(6)
            if isinstance(task, Intensity):
                found["low"], found["high"] = _quantiles(np.array([self.labels.read(x) for x in legal], float), shares)
            else:
                of_chosen = shares[np.arange(len(chosen)), np.nan_to_num(chosen).astype(int)]
                found["confidence"] = np.where(np.isnan(chosen), np.nan, of_chosen).round(4)
            cut = llm.words.cuts([clips.texts[index] for index in usable])
            for index, long, value, said in zip(usable, cut, chosen, answers.texts, strict=True):
                read = f"only the first {self.settings.max_text_tokens} tokens of its text are read" if long else ""
                illegal = f"answered {said!r}, no legal label" if np.isnan(value) else ""
                table.loc[index, "message"] = _joined(table.loc[index, "message"], read, illegal)
        table = table.join(found)
        order = [name for name in LEADING if name in table]
        return table[[*order, *sure, *(name for name in table if name not in {*order, *sure, *names}), *names]]

    def _loaded(self) -> "FrozenLLM":
        if self._llm is None:
            from mse.ready import load_llm, reproducible

            reproducible(self.settings.threads)
            shape = self.adapter.config.settings
            say(f"loading {self.pipeline.llm}")
            unknown = self._texts([])
            self._llm = load_llm(
                self.llm_folder, self.pipeline.backbone, unknown, self.labels, self.settings, shape, training=False
            )
            self.adapter.to(self._llm.device)
        return self._llm

    def _texts(self, texts: Sequence[str]) -> _Texts:
        widths = self.adapter.config.acoustic_width, self.adapter.config.facial_width
        return _Texts(self.pipeline.preamble, self.pipeline.prompt, list(texts), widths)

    def close(self) -> None:
        """End the processes that extract; a further recording starts new ones."""
        self.workers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _check_together(config: AdapterConfig, pipeline: Pipeline, folder: Path) -> None:
    """Refuse a pipeline.json of another adapter."""
    for modality, width in (("acoustic", config.acoustic_width), ("facial", config.facial_width)):
        sets = pipeline.sets(modality)
        digest = "+".join(made.settings_digest for made in sets)
        if digest != config.feature_digests.get(modality, "") or sum(len(made.mean) for made in sets) != width:
            raise UserError(
                f"{folder / PIPELINE_NAME}: of another adapter: its {modality} features are not those that "
                f"{CONFIG_NAME} names; copy the folder whole, or train anew"
            )


def _times(clips: NewClips) -> pd.DataFrame:
    """When each utterance is, of a whole recording too, and whether it can be used."""
    table = clips.windows[["clip_id", "media", "start_s", "end_s"]].rename(columns={"media": "recording"})
    lasts = clips.rows["duration_s"].reset_index(drop=True)
    table["start_s"] = table["start_s"].fillna(0.0)
    table["end_s"] = table["end_s"].fillna(lasts.where(lasts > 0))
    table["use"], table["message"] = clips.rows["use"].to_numpy(), clips.rows["message"].fillna("").to_numpy()
    return table.assign(sound_unlike=clips.far["acoustic"], face_unlike=clips.far["facial"])


def media_in(given: Given) -> list[Path]:
    """List the given files, and those in the given folders that end as video or sound does; each once.

    What is passed over in a folder is told.

    Raises:
        UserError: a file or folder is not there, or a folder has none.
    """
    files: list[Path] = []
    for path in map(Path, [given] if isinstance(given, str | Path) else given):
        if not path.exists():
            raise UserError(f"{path}: no such file or folder")
        if not path.is_dir():
            files.append(path)
            continue
        skipped: list[str] = []
        inside = walk(path, skipped)
        media = [name for name in inside if is_medium(name)]
        passed_over = describe_skipped([*skipped, *(name for name in inside if not is_medium(name))])
        if not media:
            there = f"; there are {passed_over}" if passed_over else ""
            raise UserError(f"{path}: no video or sound in this folder, by the endings of names{there}")
        if passed_over:
            say(f"{path}: passed over {passed_over}")
        files += [path / name for name in media]
    for path in files:
        if not is_utf8(str(path)):
            raise UserError(f"{str(path)!a}: its name is no UTF-8, which tables can't hold; rename it")
    return list(dict.fromkeys(path.resolve() for path in files))


def _joined(*remarks: str) -> str:
    return "; ".join(filter(None, remarks))


def _how_to_get(name: str, backbone: Backbone) -> str:
    if backbone.model:
        return f"`mse fetch {backbone.model}` gets it"
    return f"make it ready as docs/llms.md says ({backbone.hub or backbone.folder}: `mse fetch {name}`)"


def _quantiles(values: npt.NDArray[np.float64], shares: npt.NDArray[np.float64]) -> tuple[Any, Any]:
    """The least label below which a share of RANGE lies, of each clip, (N,) each; `values` (K,) rise or not."""
    order = np.argsort(values)
    below = np.cumsum(shares[:, order], axis=1)
    places = [np.minimum((below < quantile).sum(axis=1), len(values) - 1) for quantile in RANGE]
    low, high = (values[order][place] for place in places)
    return low, high
