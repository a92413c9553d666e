"""Pickles and weights: what could run code, or hold numbers of any size."""

import io
import pickle
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzzing import BYTES, JSON, Reader, Readers, bomb, flip, swap_one


class _Calls:
    """Pickles as a call."""

    def __reduce__(self) -> Any:
        import os

        return os.system, ("touch pwned",)


def pickles(folder: Path) -> Readers:
    """Features that others released."""
    from mse.config import Classes, Columns, Dataset, Intensity, Released
    from mse.released import import_released, released_clips
    from mse.unpickle import load

    rng = np.random.default_rng(0)

    def split(name: str) -> dict[str, Any]:
        found = {"audio": rng.normal(size=(2, 9, 5)), "vision": rng.normal(size=(2, 7, 4)).astype(np.float32)}
        found |= {"id": [f"{name}$_$0", [f"{name}$_$1"]], "raw_text": np.array(["so it is", "好"], object)}
        return found | {"audio_lengths": [9, 5], "vision_lengths": [7, 7], "regression_labels": np.array([-1.0, 2.4])}

    def clips(name: str) -> list[Any]:
        return [
            {
                "label": n,
                "id": f"{name}{n}",
                "features": {"text": "so", "audio": rng.normal(size=(4, 3)), "audio_len": 3},
            }
            for n in range(2)
        ]

    names = ("train", "valid", "test")
    whole = {name: split(name) for name in names}
    odd = [None, -1, 10**30, 1.5, float("nan"), "", "x" * 9999, "../../x", b"\xff", [], {}, [[[]]], (1,), {1, 2}]
    odd += [np.zeros(0), np.zeros((2, 0, 5)), np.zeros((2, 3)), np.full((2, 9, 5), np.nan), np.array(None, object)]
    endless: list[Any] = []
    endless.append(endless)
    vast: Any = "x"
    for _ in range(40):  # which takes a hundred bytes to say, and is 2^40 long when written out
        vast = [vast, vast]
    odd += [endless, vast, {"a": vast}, 10**5000]
    odd += [np.array([{}, []], object), np.array(["a"] * 2), np.zeros((2, 9, 5), bool), _Calls(), np.array([_Calls()])]

    def in_pickle(rng: random.Random, data: bytes) -> bytes:
        """Another value anywhere in what is pickled, in any protocol."""
        tree = whole if data in kept["mmsa"] else kept["records"].get(data)
        if tree is None:
            return flip(rng, data)
        other, protocol = swap_one(rng, tree, odd), rng.randrange(6)
        try:
            return pickle.dumps(other, protocol=protocol)
        except ValueError:  # 10^5000 has too many digits for protocols 0 and 1
            return pickle.dumps(other, protocol=2)

    mmsa = [pickle.dumps(whole, protocol=protocol) for protocol in (0, 2, 4)]
    records = {name: clips(name) for name in names}
    kept: dict[str, Any] = {"mmsa": mmsa, "records": {pickle.dumps(records[n]): records[n] for n in names}}
    mutators = (*BYTES, in_pickle, in_pickle, in_pickle)
    columns = Columns(text="text", label="label")

    def read_mmsa(place: Path) -> None:
        for path in sorted(place.glob("*.pkl")):
            made = Released(format="mmsa", files={"all": path.name})
            import_released(
                "x-released", Dataset(root=place, released=made, task=Intensity(), prompt="?", columns=columns), place
            )

    def read_records(place: Path) -> None:
        made = Released(format="records", files={name: f"{name}.pkl" for name in names})
        task = Classes(classes={"a": ["0"], "b": ["1"]})
        shape: Mapping[str, Any] = {"modalities": ["acoustic", "text"], "columns": columns}
        released_clips("x-released", Dataset(root=place, released=made, task=task, prompt="?", **shape))

    return {
        "pickle": Reader(
            {f"{n}.pkl": data for n, data in enumerate(mmsa)}, lambda p: [load(f) for f in p.glob("*")], mutators
        ),
        "features in one file": Reader({"0.pkl": mmsa[1]}, read_mmsa, mutators),
        "features in files of splits": Reader(
            {f"{name}.pkl": pickle.dumps(records[name]) for name in names}, read_records, mutators
        ),
    }


def weights(folder: Path) -> Readers:
    """Adapters, checkpoints, and the state of a training run."""
    import torch
    from safetensors.torch import save_file

    from mse.adapter import AdapterConfig, MSEAdapter
    from mse.adapter.published import import_published
    from mse.backbones.checkpoint import Checkpoint
    from mse.pipeline import read_pipeline
    from mse.resume import STATE_NAME, Progress, load_state, save_state
    from tests.test_published import Published

    torch.set_num_threads(1)
    torch.manual_seed(0)
    small = Published(text_width=8, tokens=2, sizes=(3, 4, 2, 3)).state_dict()
    folder.mkdir(parents=True, exist_ok=True)

    def saved(state: Any, **how: Any) -> bytes:
        held = io.BytesIO()
        torch.save(state, held, **how)
        return held.getvalue()

    odd: list[Any] = [
        *(
            None,
            1,
            "x",
            [],
            {},
            torch.zeros(0),
            torch.tensor(1.0),
            torch.zeros(3, 0),
            torch.zeros(0, 4),
            torch.ones(2, 2, 2),
        ),
        *(torch.zeros(1).expand(1 << 20, 1 << 12), torch.zeros(1).expand(1 << 30), torch.zeros(3, 3, dtype=torch.bool)),
        *(torch.zeros(16, 3, dtype=torch.complex64), torch.eye(4).to_sparse(), torch.zeros(1 << 40, 0), _Calls()),
        *(
            torch.nn.Parameter(torch.zeros(2)),
            torch.zeros(16, 3, dtype=torch.float64),
            torch.full((4, 8), float("nan")),
        ),
        *(torch.zeros(16, 3, device="meta"), torch.quantize_per_tensor(torch.ones(4, 4), 0.1, 0, torch.qint8)),
    ]

    def in_state(rng: random.Random, data: bytes) -> bytes:
        """Another tensor, or none, in a state dict."""
        if data not in states:
            return flip(rng, data)
        state = swap_one(rng, small, odd)
        return saved(state, _use_new_zipfile_serialization=rng.random() < 0.7)

    states = [saved(small), saved(small, _use_new_zipfile_serialization=False)]
    settings = {"acoustic_hidden": 4, "facial_hidden": 4, "fusion_width": 6, "pseudo_tokens": 2, "scales": [2, 4]}
    config = AdapterConfig(acoustic_width=3, facial_width=2, text_width=8, settings=settings)
    MSEAdapter(config).save_pretrained(folder / "adapter")
    adapter = {path.name: path.read_bytes() for path in (folder / "adapter").iterdir()}
    save_file({"a": torch.zeros(2, 3), "b": torch.ones(4)}, folder / "model.safetensors")
    llm = {
        "config.json": b'{"model_type": "llama", "hidden_size": 8}',
        "model.safetensors.index.json": b'{"metadata": {}, "weight_map": {"a": "model-00001-of-00002.safetensors", '
        b'"b": "model-00002-of-00002.safetensors"}}',
        "model-00001-of-00002.safetensors": (folder / "model.safetensors").read_bytes(),
        "model-00002-of-00002.safetensors": (folder / "model.safetensors").read_bytes(),
    }
    layer = torch.nn.Linear(2, 2)
    optimiser = torch.optim.AdamW(layer.parameters())
    kept: dict[str, Any] = {"adapter": layer, "optimiser": optimiser, "generator": torch.Generator()}
    save_state(folder, "run", Progress([{"loss": 1.0}], 0.5, 1, dict(layer.state_dict())), kept)

    def read_checkpoint(place: Path) -> None:
        checkpoint = Checkpoint(place)
        for path in checkpoint.files:
            checkpoint.read(path)
        checkpoint.digests()

    return {
        "published adapter": Reader(
            {"x.pth": states[0]},
            lambda p: import_published(p / "x.pth", p / "out"),
            (*BYTES, in_state, in_state, in_state),
        ),
        "published adapter, old format": Reader(
            {"x.pth": states[1]}, lambda p: import_published(p / "x.pth", p / "out"), (*BYTES, in_state)
        ),
        "adapter": Reader(adapter, MSEAdapter.from_pretrained, (*BYTES, *JSON, bomb)),
        "what it goes with": Reader(described(folder), read_pipeline, (*BYTES, *JSON, bomb)),
        "checkpoint": Reader(llm, read_checkpoint, (*BYTES, *JSON, bomb)),
        "state of a run": Reader(
            {STATE_NAME: (folder / STATE_NAME).read_bytes()}, lambda p: load_state(p, "run", kept), BYTES
        ),
    }


def described(folder: Path) -> dict[str, bytes]:
    """pipeline.json of an adapter."""
    from mse.config import Backbone, Extraction, Intensity
    from mse.pipeline import PIPELINE_NAME, FeatureSet, Pipeline, write_pipeline

    said = {"settings": {}, "settings_digest": "0", "feature_names": ["f"], "rate_hz": 10.0, "mean": [0.0]}
    made = FeatureSet(**said, deviation=[1.0])
    words = {"corpus": "made", "language": "en", "preamble": "", "prompt": "?", "llm": "tiny", "made_with": "0"}
    backbone = Backbone(folder=folder, license="none", open_mark="[", close_mark="]")
    facts = {"task": Intensity(), "extraction": Extraction(), "backbone": backbone, "acoustic": {"a": made}}
    flags = {"format_version": 1, "reads_text": True, "standardised": True, "clip_sd": 5.0}
    write_pipeline(Pipeline(**words, **facts, **flags, facial=made), folder)
    return {PIPELINE_NAME: (folder / PIPELINE_NAME).read_bytes()}
