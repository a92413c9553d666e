"""Answers of a trained adapter for the clips of a split."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mse.adapter import MSEAdapter
from mse.adapter.llm import check_llm
from mse.answer import DECODINGS, Values, answer
from mse.atomic import replacing
from mse.backbones.llm import FrozenLLM
from mse.config import Backbone, Classes, Intensity, Task, TrainSettings
from mse.corpus.build import label_value
from mse.data import ClipDataset, task_of
from mse.errors import UserError
from mse.labels import label_text
from mse.progress import say
from mse.ready import load_llm, reproducible
from mse.tables import read_table

COLUMNS = ["clip_id", "prediction", "label", "text"]


def answer_split(
    dataset_path: Path,
    llm_folder: Path,
    backbone: Backbone,
    adapter_folder: Path | None,
    settings: TrainSettings | None,
    out: Path,
    split: str = "test",
    llm: FrozenLLM | None = None,
) -> None:
    """Write predictions.csv.

    Columns: clip_id; prediction, that of `settings.decoding`; label; one for each decoding, empty where the answer is
    no legal label; answer, as it was generated; text; p_LABEL, how likely each legal label is, given that one of them
    is written. Predictions and labels are intensities, or classes by name.

    Args:
        dataset_path: dataset.h5.
        llm_folder: the LLM's weights and tokenizer.
        backbone: marks and label style of the LLM.
        adapter_folder: what `train` wrote; None: the LLM alone, with the same words around each clip's text.
        settings: batch size, longest text, decoding and threads; what is not set is as in the adapter's training.
        out: the table.
        split: which clips.
        llm: the LLM of that folder as it was loaded for this adapter's training; None: it is loaded now.

    Raises:
        UserError: adapter, LLM, features, settings or split do not fit each other.
    """
    adapter = None if adapter_folder is None else MSEAdapter.from_pretrained(adapter_folder)
    settings = _laid_over_training(adapter, settings, adapter_folder)
    reproducible(settings.threads)
    shape = None if adapter is None else adapter.config.settings
    standardised = adapter is None or adapter.config.standardised
    modalities, sets = (None, []) if shape is None else (shape.modalities, shape.acoustic_sets)
    with ClipDataset(dataset_path, modalities, standardised, sets) as dataset:
        task, indices = task_of(dataset), dataset.require(split)
        labels = label_text(task, backbone.explicit_plus)
        if adapter is not None and adapter_folder is not None:
            check_features(adapter, dataset, adapter_folder)
            check_llm(adapter, llm_folder, backbone, adapter_folder)
        if llm is None:
            llm = load_llm(llm_folder, backbone, dataset, labels, settings, shape, training=False)
        llm.texts.forget()  # what was read in other batches differs in the last digit
        if adapter is not None and adapter.config.text_width != llm.width:
            raise UserError(
                f"{adapter_folder}: made for an LLM with a hidden size of {adapter.config.text_width}, not "
                f"{llm.width} as in {llm_folder}"
            )
        if adapter is not None:
            adapter.to(llm.device)
        answers = answer(dataset, indices, llm, adapter, labels, task, settings.batch_size)
        table = clip_table(dataset, indices, answers.predictions[settings.decoding])
    for decoding, predictions in answers.predictions.items():
        table.insert(table.columns.get_loc("text"), decoding, [shown_label(value, task) for value in predictions])
    table.insert(table.columns.get_loc("text"), "answer", answers.texts)
    unparseable = int(np.isnan(answers.predictions["generate"]).sum())
    say(f"{len(table)} clips, {unparseable} generated answers that are no legal label")
    write_predictions(table, answers.probabilities, labels.legal(), task, out)


def _laid_over_training(adapter: MSEAdapter | None, given: TrainSettings | None, folder: Path | None) -> TrainSettings:
    """What is given, and for the rest the settings of the adapter's training, where it knows them."""
    trained = None if adapter is None else adapter.config.train
    if trained is None or given is None:
        return given or trained or TrainSettings()
    settings = trained.model_copy(update={key: getattr(given, key) for key in given.model_fields_set})
    if trained.max_text_tokens != settings.max_text_tokens:
        raise UserError(
            f"{folder}: trained on texts cut at {trained.max_text_tokens} tokens, not at "
            f"{settings.max_text_tokens}; set train.max_text_tokens back, or train anew"
        )
    return settings


def clip_table(dataset: ClipDataset, indices: Sequence[int], predictions: Values) -> pd.DataFrame:
    """clip_id, prediction, label and text of some clips.

    Args:
        dataset: holds the clips.
        indices: which clips, N of them.
        predictions: as numbers, NaN for none, shape (N,).
    """
    task = task_of(dataset)
    rows = [
        (
            dataset.clip_ids[index],
            shown_label(prediction, task),
            shown_label(float(dataset.labels[index]), task),
            dataset.texts[index],
        )
        for index, prediction in zip(indices, predictions, strict=True)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def write_predictions(
    table: pd.DataFrame, probabilities: Values | None, legal: Sequence[str], task: Task, out: Path
) -> None:
    """Write a table of predictions, with a column p_LABEL for each legal label where probabilities (N, K) are known."""
    names = task.names if isinstance(task, Classes) else legal
    if probabilities is not None:
        shares = pd.DataFrame(probabilities, columns=[f"p_{name}" for name in names]).round(6)
        table = pd.concat([table, shares], axis=1)
    # A carriage return is written without quotes, and would end the row where the table is read.
    lines = {name: table[name].str.replace(r"\r\n?", "\n", regex=True) for name in ("answer", "text") if name in table}
    table = table.assign(**lines)
    with replacing(out) as partial:
        table.to_csv(partial, index=False, float_format="%.6g")


def check_features(adapter: MSEAdapter, dataset: ClipDataset, folder: Path) -> None:
    """Refuse features that were made otherwise than those which the adapter knows.

    Raises:
        UserError: a modality is not there, or the settings or the number of its features differ.
    """
    for modality, digest in adapter.config.feature_digests.items():
        if modality not in dataset.feature_digests:
            raise UserError(f"{folder}: trained on {modality} features, but {dataset.path} has none")
        if dataset.feature_digests[modality] != digest:
            raise UserError(
                f"{folder}: trained on {modality} features of other settings (digest {digest}) than those of "
                f"{dataset.path} ({dataset.feature_digests[modality]}); extract with the same settings, or train anew"
            )
    widths = {"acoustic": adapter.config.acoustic_width, "facial": adapter.config.facial_width}
    for modality, width in widths.items():
        if width != dataset.widths[modality]:  # an imported adapter knows no digests
            raise UserError(
                f"{folder}: reads {width} {modality} features of a frame, but {dataset.path} has "
                f"{dataset.widths[modality]}; an adapter reads the features that it was trained on alone"
            )


def shown_label(value: float, task: Task) -> float | str | None:
    """A label as a table shows it: an intensity, or a class's name; None for NaN."""
    if np.isnan(value):
        return None
    return float(value) if isinstance(task, Intensity) else task.names[int(value)]


def read_predictions(path: Path, task: Task) -> pd.DataFrame:
    """Read predictions.csv; labels and predictions become numbers, NaN where the answer was no legal label.

    Raises:
        UserError: missing, no such table, or labels of another task.
    """
    table = read_table(path, (*COLUMNS, *DECODINGS, "answer"), (), "mse answer", required=("prediction", "label"))
    for column in ("prediction", "label", *DECODINGS):
        if column not in table.columns:
            continue
        try:
            table[column] = [label_value(label, task) for label in table[column]]
        except ValueError as e:
            raise UserError(f"{path}: {column}: {e}; these are no labels of the corpus's task") from e
    return table
