"""dataset.h5: normalisation by the train split alone, what is missing, and batches."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mse.data import ClipDataset, bucketed, collate, task_of
from mse.errors import UserError
from tests.made import make_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("data"), clips=40)


def test_normalised_by_the_train_split(dataset: Path) -> None:
    with ClipDataset(dataset) as data:
        train = np.concatenate([data[i].acoustic for i in data.indices("train")])
        np.testing.assert_allclose(train[:, :-1].mean(axis=0), 0, atol=1e-4)
        np.testing.assert_allclose(train[:, :-1].std(axis=0), 1, atol=1e-3)
        assert (train[:, -1] == 0).all()  # the last made feature never varies
        assert np.abs(np.concatenate([data[i].facial for i in range(len(data))])).max() <= 5.0  # clip_sd


def test_missing_is_an_empty_sequence_and_unmeasured_is_the_mean(dataset: Path) -> None:
    with ClipDataset(dataset) as data:
        assert data[3].facial.shape == (0, 6)  # a clip without a face, see make_dataset
        assert (data[0].facial[1, :-1] == 0).all()  # a frame that was not measured
        assert data[0].facial[1, -1] < 0 < data[0].facial[0, -1] + 1  # but its presence mark tells
        batch = collate([data[3], data[0]])
        assert batch.facial[1].tolist() == [0, len(data[0].facial)]
        alone = collate([data[3]])
        assert alone.facial[0].shape == (1, 1, 6) and alone.facial[1].tolist() == [0]


def test_features_as_they_were_measured(dataset: Path) -> None:
    with ClipDataset(dataset, standardised=False) as data:
        for index in range(4):
            raw = data.raw("facial", index)
            assert np.isnan(raw).any() == (index != 3)
            assert np.array_equal(data[index].facial, np.nan_to_num(raw, nan=0.0))


def test_changed_shard_is_noticed(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, clips=12)
    make_dataset(tmp_path, clips=12, first=100, index=False)  # other clips in the same files
    with ClipDataset(dataset) as data, pytest.raises(UserError, match=r"changed since .* was assembled"):
        data[0]


def test_foreign_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "d.h5").write_text("no")
    with pytest.raises(UserError, match=r"d\.h5: not a file of this version of mse"):
        ClipDataset(tmp_path / "d.h5")


def test_corpus_without_a_task_is_refused(tmp_path: Path) -> None:
    with (
        ClipDataset(make_dataset(tmp_path, clips=12, task=None)) as data,
        pytest.raises(UserError, match="no task"),
    ):
        task_of(data)


def test_batches_hold_each_clip_once_and_are_alike_in_length() -> None:
    lengths = np.random.default_rng(0).integers(3, 60, 203).tolist()
    batches = bucketed(lengths, 8, torch.Generator().manual_seed(0))
    assert sorted(i for batch in batches for i in batch) == list(range(203))
    assert all(1 <= len(batch) <= 8 for batch in batches)
    padding = sum(max(lengths[i] for i in b) * len(b) - sum(lengths[i] for i in b) for b in batches) / sum(lengths)
    assert padding < 0.15
    assert bucketed(lengths, 8, torch.Generator().manual_seed(0)) == batches
    assert bucketed(lengths, 8, torch.Generator().manual_seed(1)) != batches
