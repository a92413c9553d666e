"""A corpus as a table and a YAML file, to be changed by a test and read as a run reads it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mse.config import Config, load_dataset
from mse.corpus import Corpus, read_corpus

HEADER = "id,file,from,to,part,who,words,score\n"
GOOD = "a,x.mp4,,,train,S,ja,1\nb,y.mp4,0:01.5,3,valid,S,nein,-1\nc,z.mp4,,,test,T,doch,0\n"
DESCRIBED: dict[str, Any] = {
    "tables": [{"file": "t.csv"}],
    "columns": {
        "clip_id": "id",
        "media": "file",
        "start": "from",
        "end": "to",
        "speaker": "who",
        "text": "words",
        "label": "score",
    },
    "split": {"by": "part"},
    "task": {"kind": "intensity"},
    "prompt": "How?",
}
MEDIA = ("x", "x.mp4", "y.mp4", "z.mp4", "v 1/x.mp4", "a.mp4", "k1.mp4", "k2.mp4")  # empty: they are never opened
Read = Callable[..., Corpus]


@pytest.fixture()
def read(tmp_path: Path) -> Read:
    """Write t.csv (and other files) and a corpus's YAML with some keys changed, and read it as a run does."""

    def reading(
        table: str | None = HEADER + GOOD, on_disk: dict[str, str | bytes] | None = None, **keys: Any
    ) -> Corpus:
        for name in MEDIA:
            (tmp_path / "corpus" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "corpus" / name).touch()
        contents = ({} if table is None else {"t.csv": table}) | (on_disk or {})
        for name, content in contents.items():
            (tmp_path / "corpus" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "corpus" / name).write_bytes(content.encode() if isinstance(content, str) else content)
        described = DESCRIBED | {"root": str(tmp_path / "corpus")} | keys
        described["columns"] = DESCRIBED["columns"] | keys.get("columns", {})
        described = {key: value for key, value in described.items() if value is not None}
        (tmp_path / "datasets").mkdir(exist_ok=True)
        (tmp_path / "datasets/mine.yaml").write_text(yaml.safe_dump(described, allow_unicode=True, sort_keys=False))
        return read_corpus(load_dataset(Config(config_path=[tmp_path]), "mine"))

    return reading
