"""Answers of a trained adapter for the clips of a split."""

from pathlib import Path

import pandas as pd

from mse.adapter import MSEAdapter
from mse.atomic import replacing
from mse.config import Backbone, Intensity, Task, TrainSettings
from mse.corpus.build import label_value
from mse.data import ClipDataset, task_of
from mse.errors import UserError
from mse.fetch import source_of
from mse.labels import label_text
from mse.progress import say
from mse.tables import read_table
from mse.train import generate, load_llm, reproducible

COLUMNS = ["clip_id", "prediction", "label", "answer", "text"]


def predict(
    dataset_path: Path,
    llm_folder: Path,
    backbone: Backbone,
    adapter_folder: Path,
    settings: TrainSettings,
    out: Path,
    split: str = "test",
) -> None:
    """Write predictions.csv: clip_id, prediction (empty where the answer is no legal one), label, answer, text.

    Prediction and label are intensities, or classes by name.

    Args:
        dataset_path: dataset.h5.
        llm_folder: the LLM's weights and tokenizer.
        backbone: marks and label style of the LLM.
        adapter_folder: what `train` wrote.
        settings: batch size, longest text and threads.
        out: the table.
        split: which clips.
    """
    reproducible(settings.threads)
    with ClipDataset(dataset_path) as dataset:
        task = task_of(dataset)
        labels = label_text(task, backbone.explicit_plus)
        adapter = MSEAdapter.from_pretrained(adapter_folder)
        check_features(adapter, dataset, adapter_folder)
        check_llm(adapter, llm_folder, backbone, adapter_folder)
        tokens = adapter.config.settings.pseudo_tokens
        llm = load_llm(llm_folder, backbone, dataset, labels, settings, tokens, training=False)
        adapter.to(llm.device)
        indices = dataset.indices(split)
        answers = generate(dataset, indices, llm, adapter, settings.batch_size)
        rows = [
            (
                dataset.clip_ids[index],
                shown_label(labels.read(answer), task),
                shown_label(float(dataset.labels[index]), task),
                answer,
                dataset.texts[index],
            )
            for index, answer in zip(indices, answers, strict=True)
        ]
    unparseable = sum(row[1] is None for row in rows)
    say(f"{len(rows)} clips, {unparseable} answers that are no legal label")
    with replacing(out) as partial:
        pd.DataFrame(rows, columns=COLUMNS).to_csv(partial, index=False)


def check_features(adapter: MSEAdapter, dataset: ClipDataset, folder: Path) -> None:
    """Refuse features that were made otherwise than those which the adapter knows.

    Raises:
        UserError: a modality is not there, or the settings of its features differ.
    """
    for modality, digest in adapter.config.feature_digests.items():
        if modality not in dataset.feature_digests:
            raise UserError(f"{folder}: trained on {modality} features, but {dataset.path} has none")
        if dataset.feature_digests[modality] != digest:
            raise UserError(
                f"{folder}: trained on {modality} features of other settings (digest {digest}) than those of "
                f"{dataset.path} ({dataset.feature_digests[modality]}); extract with the same settings, or train anew"
            )


def check_llm(adapter: MSEAdapter, llm_folder: Path, backbone: Backbone, folder: Path) -> None:
    """Refuse an LLM that is another, or reads or writes otherwise, than the one that the adapter knows.

    Raises:
        UserError: checksums of the weights, dtype, quantisation, a mark or the style of answers differ.
    """
    for key, trained in adapter.config.reading.items():  # an imported adapter does not know
        if backbone.reading[key] != trained:
            raise UserError(
                f"{folder}: trained with {key} = {trained!r} (backbone {adapter.config.backbone}), but the "
                f"backbone's YAML now says {backbone.reading[key]!r}; set it back, or train anew"
            )
    now = source_of(llm_folder)
    for key in ("sha256", "files"):  # of a converted checkpoint, and of a model fetched by name
        if key in adapter.config.llm_source and now.get(key) != adapter.config.llm_source[key]:
            raise UserError(
                f"{folder}: trained with other weights than those in {llm_folder} (their checksums differ); "
                "give the LLM that it was trained with, or train anew"
            )


def shown_label(value: float | None, task: Task) -> float | str | None:
    """A label as a table shows it: an intensity, or a class's name; None stays."""
    return value if value is None or isinstance(task, Intensity) else task.names[int(value)]


def read_predictions(path: Path, task: Task) -> pd.DataFrame:
    """Read predictions.csv; labels become numbers, NaN where the answer was no legal label.

    Raises:
        UserError: missing, no such table, or labels of another task.
    """
    table = read_table(path, tuple(COLUMNS), (), "mse predict")
    for column in ("prediction", "label"):
        try:
            table[column] = [label_value(label, task) for label in table[column]]
        except ValueError as e:
            raise UserError(f"{path}: {column}: {e}; these are no labels of the corpus's task") from e
    return table
