"""Tables and settings: what people write by hand, or open and save again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fuzzing import CSV, JSON, YAML, Reader, Readers, bomb

ROOT = Path(__file__).parents[2]


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
    from mse.assemble import assemble
    from mse.config import AssembleSettings, Columns, Dataset, Intensity, Table
    from mse.corpus.manifest import MANIFEST_COLUMNS, read_excluded, read_manifest, shard_files
    from mse.data import ClipDataset
    from mse.parts import parts
    from mse.predictions import read_predictions
    from mse.quality import make_quality, read_quality
    from mse.rows import read_shard, write_rows
    from mse.score import best_epochs, read_scored, score
    from mse.segment import Facts, read_facts
    from mse.tables import read_history
    from mse.transcribe import read_transcripts
    from mse.utterances import read_cut_corpus
    from tests.made import make_dataset

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

    task = Intensity()
    make_dataset(folder / "made", 8)
    whole = {name: (folder / "made" / name).read_bytes() for name in ("acoustic.h5", "facial.h5", "dataset.h5")}
    whole |= {name: (folder / "made" / name).read_bytes() for name in ("manifest.csv", "quality.csv", "excluded.csv")}
    with ClipDataset(folder / "made/dataset.h5") as made:
        tested = [(made.clip_ids[index], made.labels[index]) for index in made.indices("test")]
    answered = "clip_id,prediction,label,text\n" + "".join(f"{clip},0.5,{label},so\n" for clip, label in tested)

    def assembled(place: Path) -> None:
        columns = Columns(text="text", label="label")
        corpus = Dataset(root=place, tables=[Table(file="t.csv")], columns=columns, task=task, prompt="?")
        shards = {name: [place / f"{name}.h5"] for name in ("acoustic", "facial")}
        named = (place / "manifest.csv", place / "quality.csv", shards, place / "new.h5")
        assemble("made", corpus, *named, AssembleSettings())

    def scored(place: Path) -> None:
        score(place / "dataset.h5", [place / "p.csv"], place / "m.csv", place / "i.csv", samples=20)

    def quality(place: Path) -> None:
        make_quality(
            place / "manifest.csv", [place / "0000.csv"], {}, [place / "said.csv"], "corpus", place / "q.csv", "en"
        )
        read_quality(place / "q.csv")

    def read_only(read: Callable[[Path], object], name: str, content: bytes) -> Reader:
        return Reader({name: content}, lambda place: read(place / name), (*CSV, bomb))

    described = Dataset(root=folder, tables=[Table(file="x.csv")], text_from="asr")
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
        "what is assembled": Reader(whole, assembled, (*CSV, bomb), ("manifest.csv", "quality.csv")),
        "what is scored": Reader(whole | {"p.csv": answered.encode()}, scored, (*CSV, bomb), ("p.csv",)),
        "recordings that were cut": Reader(cut, lambda place: read_cut_corpus(described, place), (*CSV, bomb)),
        "parts": Reader(
            {"p.csv": predictions.encode(), "facts.csv": b"clip_id,word,voice\nc0,1,2\nc1,2,2.5\nc2,3,1\n"},
            lambda place: parts([place / "p.csv"], place / "facts.csv", ["word", "voice"]),
            (*CSV, bomb),
        ),
    }
