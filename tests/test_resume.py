"""A run that is killed loses no epoch, and ends with the bytes of one that was not."""

import multiprocessing
import random
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pandas as pd
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mse.adapter import AdapterConfig
from mse.config import AdapterSettings, TrainSettings
from mse.resume import STATE_NAME, Progress, fingerprint, forget_state, load_state, save_state
from mse.train import train
from tests.made import make_dataset
from tests.test_train import MARKS, SHAPE

SETTINGS = TrainSettings(
    pretrain_epochs=3,
    schedule_epochs=7,
    patience_epochs=7,
    batch_size=2,
    learning_rate=3e-3,
    threads=1,
    input_noise=0.1,
    modality_dropout=0.3,
)
EPOCHS = SETTINGS.pretrain_epochs + SETTINGS.schedule_epochs
ADAPTER = ["adapter.safetensors", "config.json", "pipeline.json"]
RESULT = [*(f"adapter/{name}" for name in ADAPTER), "history.csv"]
PROCESSES = multiprocessing.get_context("forkserver")  # processes that have loaded the libraries already


def trained(data: Path, llm: Path, out: Path, shape: AdapterSettings) -> None:
    train(data, llm, "tiny", MARKS, shape, SETTINGS, 1, out / "adapter", out / "history.csv")
    forget_state(out / "adapter")


def bytes_of(out: Path) -> list[bytes]:
    return [(out / name).read_bytes() for name in RESULT]


def events(out: Path) -> list[float]:
    """What TensorBoard shows of the validation."""
    accumulator = EventAccumulator(str(out / "history.tensorboard")).Reload()
    return [event.value for event in accumulator.Scalars("valid_mae")]


def wait_for_epoch(process: BaseProcess, history: Path, epoch: int) -> None:
    """Until a run has finished this epoch (0: at once)."""
    while epoch and process.is_alive():
        if history.exists() and len(pd.read_csv(history)) >= epoch:
            return
        time.sleep(0.005)


@pytest.mark.parametrize("placement", ["after_text", pytest.param("before_text", marks=pytest.mark.slow)])
def test_killed_at_random_moments(
    tmp_path: Path, tiny_llm: Path, placement: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """SIGKILL at a random moment after a random epoch of five runs, and once more of each other one: ten for both."""
    PROCESSES.set_forkserver_preload(["mse.train"])
    data = make_dataset(tmp_path)
    shape = SHAPE.model_copy(update={"placement": placement})
    whole = tmp_path / "whole"
    start = time.monotonic()
    trained(data, tiny_llm, whole, shape)
    epoch_s = (time.monotonic() - start) / EPOCHS
    moments = random.Random(placement)
    killed = going_on = 0
    for number in range(5):
        out = tmp_path / f"killed-{number}"
        for _ in range(1 + number % 2):
            process = PROCESSES.Process(target=trained, args=(data, tiny_llm, out, shape))
            process.start()
            wait_for_epoch(process, out / "history.csv", moments.randrange(EPOCHS - 2))
            process.join(moments.uniform(0, epoch_s))
            killed += process.is_alive()
            process.kill()
            process.join()
        going_on += (out / "adapter" / STATE_NAME).exists()  # else the kill came before the first epoch's end
        trained(data, tiny_llm, out, shape)
        assert bytes_of(out) == bytes_of(whole)
        assert [path.name for path in sorted((out / "adapter").iterdir())] == ADAPTER
        assert events(out) == pytest.approx(pd.read_csv(out / "history.csv")["valid_mae"].dropna().tolist(), rel=1e-6)
    assert killed >= 5  # a moment may come after the end
    assert capfd.readouterr().err.count("going on after epoch") >= going_on > 0


def parts() -> dict[str, object]:
    layer = torch.nn.Linear(2, 2)
    return {
        "adapter": layer,
        "optimiser": torch.optim.AdamW(layer.parameters()),
        "generator": torch.Generator().manual_seed(3),
    }


def test_state_of_another_run_or_a_damaged_one_is_not_taken_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_state(tmp_path, "one", Progress([{"epoch": 1}], 0.5, 1, {"w": torch.ones(2)}), parts())
    assert load_state(tmp_path, "one", parts()).epoch == 1
    assert load_state(tmp_path, "two", parts()).epoch == 0
    (tmp_path / STATE_NAME).write_bytes((tmp_path / STATE_NAME).read_bytes()[:100])
    assert load_state(tmp_path, "one", parts()).epoch == 0
    said = capsys.readouterr().err
    assert f"{STATE_NAME}: of a run with other settings" in said and f"{STATE_NAME}: can't be read (" in said


def test_one_turned_bit_of_a_state_is_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the middle of a weight, where the rest of the file is as it should be."""
    best = torch.arange(1000.0)
    save_state(tmp_path, "one", Progress([{"epoch": 1}], 0.5, 1, {"w": best}), parts())
    data = bytearray((tmp_path / STATE_NAME).read_bytes())
    data[data.index(best.numpy().tobytes()) + 2000] ^= 1
    (tmp_path / STATE_NAME).write_bytes(data)
    assert load_state(tmp_path, "one", parts()).epoch == 0
    assert f"{STATE_NAME}: can't be read (the checksum of " in capsys.readouterr().err


def test_run_is_told_by_all_that_it_depends_on(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(b"a")
    (tmp_path / "b.h5").write_bytes(b"b")
    config = AdapterConfig(acoustic_width=1, facial_width=1, text_width=8, seed=1)
    cpu = torch.device("cpu")
    seen = {
        fingerprint(config, tmp_path / "a.h5", cpu, {}),
        fingerprint(config, tmp_path / "b.h5", cpu, {}),
        fingerprint(config, tmp_path / "a.h5", torch.device("cuda"), {}),
        fingerprint(config.model_copy(update={"seed": 2}), tmp_path / "a.h5", cpu, {}),
        fingerprint(config.model_copy(update={"train": TrainSettings(batch_size=3)}), tmp_path / "a.h5", cpu, {}),
        fingerprint(config, tmp_path / "a.h5", cpu, {"weight": torch.ones(2)}),
        fingerprint(config, tmp_path / "a.h5", cpu, {"weight": torch.zeros(2)}),
    }
    assert len(seen) == 7
