"""Everything that reads files which users bring: what it reads when all is well, and how its files are changed."""

import io
import json
import pickle
import random
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.fuzzing import BYTES, CSV, JSON, TOKENS, YAML, Mutator, Reader, bomb, flip, swap_one

ROOT = Path(__file__).parents[1]
Readers = dict[str, Reader]


def tables(folder: Path) -> Readers:
    """Tables of a corpus, in every form that there is."""
    from mse.config import Columns, Dataset, HashSplit, Intensity, Table
    from mse.corpus.build import read_corpus
    from mse.corpus.guess import new

    rows = [
        {"clip_id": f"c{n}", "media": f"v{n}.mp4", "start": f"{n}.5", "text": text, "label": str(n - 2)}
        for n, text in enumerate(["so it is", "好", "it's, well", '"quoted"', "=1+1"])
    ]
    quoted = {
        n: {name: f'"{cell.replace(chr(34), chr(34) * 2)}"' for name, cell in r.items()} for n, r in enumerate(rows)
    }
    csv = "\n".join([",".join(rows[0]), *(",".join(cells.values()) for cells in quoted.values())])
    nested = {row["clip_id"]: {"media": row["media"], "facts": row} for row in rows}
    media = {row["media"]: b"media" for row in rows}
    every = {"start": "start", "text": "text", "label": "label"}

    def corpus(content: str, columns: dict[str, str] | None = None, **table: Any) -> Reader:
        def read(place: Path) -> None:
            told = Columns(**every | (columns or {}))
            split = HashSplit(hash_of=told.clip_id, valid=0.3, test=0.3)
            shape = {"tables": [Table(**table), *more], "columns": told, "split": split}
            read_corpus(Dataset(root=place, task=Intensity(), prompt="?", **shape))

        more = [Table(file="more.csv", join=["clip_id"])] if not columns else []
        files = {table["file"]: content.encode(), **media}
        files |= {"more.csv": b"clip_id,other\n" + b"\n".join(b"c%d,x" % n for n in range(5))} if more else {}
        mutators = JSON if "json" in table["file"] else CSV
        return Reader(files, read, (*mutators, bomb), tuple(name for name in files if name not in media))

    within = {"clip_id": "key", "start": "facts.start", "text": "facts.text", "label": "facts.label"}
    lines = "\n".join("{clip_id} {media} {start} {label} {text}".format(**row) for row in rows)
    anything = {"t.csv": csv.encode(), "t.json": json.dumps(rows).encode(), **media}
    return {
        "csv": corpus(csv, file="t.csv"),
        "tsv": corpus(csv.replace('","', '"\t"').replace("d,m", "d\tm").replace("a,s", "a\ts").replace("t,t", "t\tt")
                      .replace("t,l", "t\tl"), file="t.tsv"),
        "json": corpus(json.dumps(rows, ensure_ascii=False), file="t.json"),
        "json by name": corpus(json.dumps(nested), within, file="t.json"),
        "json lines": corpus("\n".join(map(json.dumps, rows)), file="t.jsonl"),
        "plain lines": corpus(lines, file="t.txt", lines="{clip_id} {media} {start} {label} {text}"),
        "a folder to be described": Reader(
            anything, lambda place: new("mine", place), (*CSV, bomb), ("t.csv", "t.json")
        ),
    }  # fmt: skip


def configuration(folder: Path) -> Readers:
    """YAML files and settings as text."""
    from mse import config
    from mse.corpus.build import read_corpus
    from mse.corpus.sources import table_files
    from mse.demo.recipe import load_recipe
    from mse.fetch import load_registry

    def loader(kind: config.files.Folder, load: Callable[[Any, str], object]) -> Callable[[Path], object]:
        return lambda place: [
            load(config.Config(config_path=[place]), path.stem) for path in sorted((place / kind).iterdir())
        ]

    def yaml_of(kind: str, *names: str) -> dict[str, bytes]:
        return {f"{kind}/{name}.yaml": (ROOT / "config" / kind / f"{name}.yaml").read_bytes() for name in names}

    def corpus(place: Path) -> None:
        known = config.load_dataset(config.Config(config_path=[place], roots={"mine": place}), "mine")
        if not known.released:
            table_files(known)
            read_corpus(known)

    mine = (
        b"root: .\ntables:\n- {file: 't{n}.csv', header: [clip_id, media, text, label], values: {a: b}}\n"
        b"columns: {clip_id: '{clip_id}-{n:0>2}', media: '{media}.mp4', text: text, label: label, extra: [a]}\n"
        b"recode: {label: {'9': '2'}}\nexclude: [{where: clip_id, values: [gone], reason: why}]\n"
        b"split: {by: clip_id, train: [a], valid: [b], test: [c], others: train}\n"
        b"task: {kind: intensity, low: -3, high: 3}\nprompt: '?'\ntext_from: corpus\n"
    )
    released = (
        b"root: .\nreleased: {format: mmsa, files: {all: x.pkl}}\nmodalities: [acoustic, text]\n"
        b"columns: {text: text, label: label}\ntask: {classes: {a: ['0', a], b: ['1']}}\nprompt: '?'\n"
    )
    here = {"datasets/mine.yaml": mine, "t1.csv": b"a,v,so,1\nb,v,so,9\nc,v,so,-1\ngone,v,so,1\n", "v.mp4": b"media"}
    llms = ("chatglm3", "smollm2", "qwen3")
    corpora = [f"datasets/{path.name}" for path in (ROOT / "config/datasets").iterdir()]  # backbones name some
    datasets = yaml_of("datasets", "mosi", "demo", "meld", "iemocap", "videos", "ravdess")
    return {
        "a corpus and its YAML": Reader(here, corpus, (*YAML, bomb), ("datasets/mine.yaml",)),
        "datasets": Reader(
            {**datasets, "datasets/x-released.yaml": released}, loader("datasets", config.load_dataset), (*YAML, bomb)
        ),
        "backbones": Reader(
            yaml_of("backbones", *llms) | {path: b"" for path in corpora},
            loader("backbones", config.load_backbone),
            (*YAML, bomb),
            tuple(f"backbones/{name}.yaml" for name in llms),
        ),
        "variants": Reader(
            yaml_of("variants", "text-only", "paper"), loader("variants", config.load_variant), (*YAML, bomb)
        ),
        "config.yaml": Reader(
            {"config.yaml": (ROOT / "config/config.yaml").read_bytes()},
            lambda place: config.settings(config.Config, str(place / "config.yaml")),
            (*YAML, bomb),
        ),
        "registry": Reader(
            {"models.yaml": (ROOT / "resources/models.yaml").read_bytes()},
            lambda place: load_registry(place / "models.yaml"),
            (*YAML, bomb),
        ),
        "recipe": Reader(
            {"demo.yaml": (ROOT / "resources/demo.yaml").read_bytes()},
            lambda place: load_recipe(place / "demo.yaml"),
            (*YAML, bomb),
        ),
        "settings as JSON": Reader(
            {"settings.json": config.TrainSettings().model_dump_json().encode()},
            lambda place: config.settings(config.TrainSettings, (place / "settings.json").read_text(errors="replace")),
            (*JSON, bomb),
        ),
    }


def own_tables(folder: Path) -> Readers:
    """The CSV tables that the stages write, which people open and save again."""
    from mse.config import Dataset, Intensity, Table
    from mse.corpus.manifest import MANIFEST_COLUMNS, read_excluded, read_manifest, shard_files
    from mse.parts import parts
    from mse.predict import read_predictions
    from mse.quality import make_quality, read_quality
    from mse.rows import read_shard, write_rows
    from mse.score import best_epochs, read_scored
    from mse.segment import Facts, read_facts
    from mse.tables import read_history
    from mse.transcribe import read_transcripts
    from mse.utterances import read_cut_corpus

    manifest = "\n".join(
        [
            ",".join(MANIFEST_COLUMNS),
            *(f"c{n},v{n}.mp4,0.5,2.5,{s},S1,so it is,1.0,0000" for n, s in enumerate("abc")),
            "",
        ]
    ).encode()
    excluded = b"clip_id,reason\ngone,why\n"
    words = json.dumps([{"text": "so", "start_s": 0.1, "end_s": 0.4}]).replace('"', '""')
    said = ["clip_id,status,message,text,language,confidence,words"]
    said += [f'c{n},ok,,so it is,en,0.5,"{words}"' for n in range(3)]
    folder.mkdir(parents=True, exist_ok=True)
    values = {"clip_id": "c0", "media": "v.mp4", "status": "ok", "message": "", "has_video": True}
    given = {name: values.get(name, 1.5) for name in Facts._fields}
    write_rows(folder / "facts.csv", [Facts(**given | {"clip_id": f"c{n}"}) for n in range(3)], Facts)
    run = {
        "manifest.csv": manifest,
        "excluded.csv": excluded,
        "0000.csv": (folder / "facts.csv").read_bytes(),
        "said.csv": "\n".join([*said, ""]).encode(),
    }
    predictions = "clip_id,prediction,label,generate,expected,answer,text\n" + "".join(
        f"c{n},{n}.5,1.0,1.0,0.5, +1.0,so it is\n" for n in range(3)
    )
    history = b"epoch,train_loss,valid_loss,valid_mae\n1,2.5,,\n2,1.5,1.4,0.9\n3,1.2,1.3,0.8\n"
    cut = {
        "manifest.csv": manifest,
        "excluded.csv": excluded,
        "0000.csv": b"recording,start_s,end_s,message\nc0,0.5,1.5,\nc0,2,3,\nc1,,,silent\nc2,1,2,\n",
    }

    def quality(place: Path) -> None:
        make_quality(
            place / "manifest.csv", [place / "0000.csv"], {}, [place / "said.csv"], "corpus", place / "q.csv", "en"
        )
        read_quality(place / "q.csv")

    def read_only(read: Callable[[Path], object], name: str, content: bytes) -> Reader:
        return Reader({name: content}, lambda place: read(place / name), (*CSV, bomb))

    described = Dataset(root=folder, tables=[Table(file="x.csv")], text_from="asr")
    task = Intensity()
    return {
        "manifest": read_only(read_manifest, "m.csv", manifest),
        "shard of a manifest": read_only(lambda path: read_shard(path, "0000"), "m.csv", manifest),
        "shards of a manifest": read_only(lambda path: shard_files(path, path.parent, ".csv"), "m.csv", manifest),
        "excluded": read_only(read_excluded, "excluded.csv", excluded),
        "facts": read_only(read_facts, "0000.csv", run["0000.csv"]),
        "transcripts": read_only(read_transcripts, "said.csv", run["said.csv"]),
        "history": read_only(read_history, "history.csv", history),
        "best epochs": read_only(lambda path: best_epochs([path], "mae"), "history.csv", history),
        "predictions": read_only(lambda path: read_predictions(path, task), "p.csv", predictions.encode()),
        "scored": read_only(lambda path: read_scored(path, task, 0.5), "p.csv", predictions.encode()),
        "quality": Reader(run, quality, (*CSV, bomb)),
        "recordings that were cut": Reader(cut, lambda place: read_cut_corpus(described, place), (*CSV, bomb)),
        "parts": Reader(
            {"p.csv": predictions.encode(), "facts.csv": b"clip_id,word,voice\nc0,1,2\nc1,2,2.5\nc2,3,1\n"},
            lambda place: parts([place / "p.csv"], place / "facts.csv", ["word", "voice"]),
            (*CSV, bomb),
        ),
    }


def _in_hdf5(rng: random.Random, data: bytes) -> bytes:
    """Something in an HDF5 file replaced by what does not belong there; checksums fit."""
    held = io.BytesIO(data)
    try:
        with h5py.File(held, "r+") as file:
            names: list[str] = []
            file.visit(names.append)
            name, holder = rng.choice([*names, ""]), file
            node = file[name] if name else file
            if not name or rng.random() < 0.3:
                attributes = list(node.attrs) or ["format_version"]
                node.attrs[rng.choice(attributes)] = rng.choice(ATTRIBUTES)
            elif isinstance(node, h5py.Dataset) and node.size and rng.random() < 0.4:
                _another_element(rng, node)
            else:
                del holder[name]
                rng.choice(REPLACEMENTS)(holder, name)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, OverflowError):
        return flip(rng, data)  # it was mutated before, and is no HDF5 file any more
    return held.getvalue()


def _another_element(rng: random.Random, dataset: Any) -> None:
    place = tuple(rng.randrange(length) for length in dataset.shape)
    if dataset.dtype.kind in "OS":
        dataset[place] = rng.choice(TOKENS).replace("\0", "").encode() or b"\xff\xfe"
    elif dataset.dtype.kind == "b":
        dataset[place] = not dataset[place]
    elif dataset.dtype.kind == "f":
        dataset[place] = rng.choice((np.nan, np.inf, -1e30))
    else:
        dataset[place] = rng.choice((0, 1, 255, np.iinfo(dataset.dtype).max, np.iinfo(dataset.dtype).min))


ATTRIBUTES: list[Any] = [
    *("", "x", "{", "[]", "null", "[" * 100_000, "9" * 5000, 1, -1, 99, float("nan"), np.zeros(3), b"\xff\xfe", "[1]"),
    *(np.bytes_(text) for text in ("", "[]", "null", "[" * 5000, '{"task": 7}', '["a"]', b"\xff", "9" * 5000)),
    *(
        '{"a": ' * 2000 + "1" + "}" * 2000,
        '["a", "b", "c"]',
        np.array(["a", "b"], object),
        h5py.Empty("f4"),
        '{"task": 7}',
    ),
]
REPLACEMENTS: list[Callable[[Any, str], object]] = [
    lambda file, name: None,
    lambda file, name: file.create_group(name),
    lambda file, name: file.create_dataset(name, data=7),
    lambda file, name: file.create_dataset(name, data="text"),
    lambda file, name: file.create_dataset(name, data=h5py.Empty("f4")),
    lambda file, name: file.create_dataset(name, data=np.zeros((3, 2, 2))),
    lambda file, name: file.create_dataset(name, data=np.array([1.5, np.nan, 3.0])),
    lambda file, name: file.create_dataset(name, data=np.array([b"a", b"\xff", b"c"])),
    lambda file, name: file.create_dataset(name, data=np.zeros(3, [("a", "f4"), ("b", "S3")])),
    lambda file, name: file.create_dataset(name, (1 << 40,), "f8", chunks=(1 << 16,)),
    lambda file, name: file.create_dataset(name, (1 << 34,), "u1"),
    lambda file, name: file.create_dataset(
        name, (1 << 20, 1 << 20), "f4", chunks=(1 << 10, 1 << 10), compression="gzip"
    ),
    lambda file, name: file.create_dataset(name, (30,), "u1", external=[("/etc/passwd", 0, 30)]),
    lambda file, name: file.create_virtual_dataset(name, _virtual()),
    lambda file, name: file.__setitem__(name, h5py.ExternalLink("/etc/passwd", "/x")),
    lambda file, name: file.__setitem__(name, h5py.SoftLink("/offsets")),
    lambda file, name: file.__setitem__(name, h5py.SoftLink("/nowhere")),
    lambda file, name: file.__setitem__(name, file["/"]),
]


def _virtual() -> Any:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4,))
    return layout


def _sealed_again(mutate: Mutator) -> Mutator:
    """The same by someone who knows how files are sealed, so that HDF5 gets to see it; mostly."""
    from mse.sealed import SEAL_BYTES, seal

    def mutated(rng: random.Random, data: bytes) -> bytes:
        changed = mutate(rng, data)
        if rng.random() < 0.1:
            return changed
        with tempfile.NamedTemporaryFile() as file:
            file.write(changed.ljust(SEAL_BYTES, b"\0"))
            file.flush()
            seal(Path(file.name))
            return Path(file.name).read_bytes()

    return mutated


HDF5: tuple[Mutator, ...] = tuple(map(_sealed_again, (*BYTES, *5 * (_in_hdf5,))))


def shards(folder: Path) -> Readers:
    """Shards of features, and the index over them."""
    from mse.data import EVERY, ClipDataset
    from mse.store import Shard
    from tests.made import make_dataset

    make_dataset(folder, 8)
    files = {name: (folder / name).read_bytes() for name in ("dataset.h5", "acoustic.h5", "facial.h5")}

    def read_shard(place: Path) -> None:
        with Shard(place / "acoustic.h5") as shard:
            for clip in shard:
                assert clip.values.shape == (len(clip.valid), len(shard.description.feature_names))
            assert shard.description.settings_digest

    def read_dataset(place: Path) -> None:
        with ClipDataset(place / "dataset.h5", EVERY) as dataset:
            for index in range(len(dataset)):
                dataset[index]
            dataset.require("train")

    return {
        "shard": Reader({"acoustic.h5": files["acoustic.h5"]}, read_shard, HDF5),
        "dataset": Reader(files, read_dataset, HDF5, ("dataset.h5", "dataset.h5", "acoustic.h5")),
    }


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
    odd += [np.array([{}, []], object), np.array(["a"] * 2), np.zeros((2, 9, 5), bool), _Calls(), np.array([_Calls()])]

    def in_pickle(rng: random.Random, data: bytes) -> bytes:
        """Another value anywhere in what is pickled, in any protocol."""
        tree = whole if data in kept["mmsa"] else kept["records"].get(data)
        return flip(rng, data) if tree is None else pickle.dumps(swap_one(rng, tree, odd), protocol=rng.randrange(6))

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
    from mse.resume import Progress, load_state, save_state
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
        "checkpoint": Reader(llm, read_checkpoint, (*BYTES, *JSON, bomb)),
        "state of a run": Reader(
            {"unfinished.pt": (folder / "unfinished.pt").read_bytes()}, lambda p: load_state(p, "run", kept), BYTES
        ),
    }


GROUPS: dict[str, Callable[[Path], Readers]] = {
    "tables": tables,
    "configuration": configuration,
    "own tables": own_tables,
    "shards": shards,
    "pickles": pickles,
    "weights": weights,
}
