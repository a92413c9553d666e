"""What made a file: a record beside each artefact, NAME.provenance.json, whatever kind of file it is.

One way for all: tables and figures can't carry attributes, weights should not, and a record that lies beside its file
goes where the folder goes (an adapter's is in the adapter's folder), and still tells of a file that was deleted. The
subcommand that makes a file writes its record, when the file is finished; Snakemake knows nothing of records, so a
record that is lost makes nothing anew. File and record can't be renamed into place in one step: the record holds the
file's digest, so that one that belongs to another file is noticed (mse.chain).

A record says what its file was made from, by which settings and which code. It holds no clock time, no host and no
process: the same command on the same inputs gives the same record on one machine (how long it took is in benchmarks/).
Inputs are read before the command runs, whole, media and LLMs too: SHA-256 takes a second for 1.4 GB where the
processor has instructions for it, far less than what is then made of them. Paths are noted as they were given, those
that were relative from the record's folder: a project's folder can be moved.

Folders of models have records of their own, as old as this one: fetched.json, and native.json of a converted LLM.
"""

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field
from pydantic_core import to_jsonable_python

import mse
from mse.atomic import digests_of_folder, replacing
from mse.backbones.places import checkpoint_files
from mse.config import Section
from mse.errors import UserError
from mse.rows import Window
from mse.stages import STAGES

T = TypeVar("T")
FORMAT_VERSION = 1
SUFFIX = ".provenance.json"
# What computes, decodes or writes: module to package. Those that a command has loaded stand in its record.
LIBRARIES = {
    "PIL": "pillow",
    "accelerate": "accelerate",
    "av": "av",
    "bitsandbytes": "bitsandbytes",
    "ctranslate2": "ctranslate2",
    "cv2": "opencv-contrib-python",
    "espeakng_loader": "espeakng-loader",
    "faster_whisper": "faster-whisper",
    "ffmpeg": "ffmpeg-python",
    "h5py": "h5py",
    "jiwer": "jiwer",
    "matplotlib": "matplotlib",
    "mediapipe": "mediapipe",
    "numpy": "numpy",
    "onnxruntime": "onnxruntime",
    "opensmile": "opensmile",
    "pandas": "pandas",
    "safetensors": "safetensors",
    "scipy": "scipy",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "tokenizers": "tokenizers",
    "torch": "torch",
    "transformers": "transformers",
}


class Content(Section):
    """What was in a file, or in a part of one."""

    sha256: str | None = Field(description="in hexadecimal digits; null: there was no such file, or it can't be read")
    size_bytes: int | None


NOTHING = Content(sha256=None, size_bytes=None)


class Read(Content):
    """A file that was read."""

    path: str = Field(description="as it was given; a relative one from the record's folder")
    shard: str | None = Field(None, description="the shard whose rows were read, and nothing else of the table")


class Model(Section):
    """A pretrained model that was used."""

    name: str = Field(description="of its folder")
    source: dict[str, Any] = Field(description="its fetched.json or native.json: where from, revision, checksums")
    files: list[Read]


class MadeWith(Section):
    """Code and machine."""

    mse: str
    commit: str | None = Field(description="of the checkout that mse ran from; -dirty: its files were changed since")
    stage: int | None = Field(description="the stage's number in mse.stages")
    python: str
    platform: str
    cpu: str
    gpu: str | None = Field(description="the one that was used")
    libraries: dict[str, str]


class Record(Section):
    """What made a file."""

    format_version: Literal[1]
    command: str = Field(description="subcommand of mse")
    file: Content
    settings: dict[str, Any]
    settings_digest: str = Field(description="of command and settings")
    seed: int | None
    inputs: list[Read] = Field(description="made by mse, each with a record of its own")
    sources: list[Read] = Field(description="from outside: media, tables of the corpus, files of settings")
    models: list[Model]
    made_with: MadeWith


@dataclass(frozen=True)
class Rows:
    """A shard's rows of a manifest, in place of the whole: another clip's label changes nothing for this shard."""

    path: Path
    shard: str
    windows: Sequence[Window] = field(compare=False)


def record_path(path: Path) -> Path:
    """Where the record of a file lies."""
    return path.with_name(path.name + SUFFIX)


@contextmanager
def made(
    command: str,
    outputs: Sequence[Path | None],
    *,
    inputs: Iterable[Path | Rows | None] = (),
    sources: Iterable[Path | None] = (),
    models: Iterable[Path | None] = (),
    settings: Mapping[str, Any] | None = None,
    seed: int | None = None,
) -> Iterator[None]:
    """Record what the block makes, when it ends without an error; None stands for what was not asked for.

    Args:
        command: the subcommand of mse.
        outputs: the files; a list may grow within the block.
        inputs: files that mse made.
        sources: files from outside. One that is missing is recorded as missing.
        models: folders of pretrained models, or single files of them.
        settings: all that was said, with what was not said by default.
        seed: of what is drawn.

    Raises:
        UserError: one of `inputs` is not what its own record says, or a model not what was fetched.
    """
    if not any(outputs):  # a table that is shown and not written
        yield
        return
    said = to_jsonable_python(dict(settings or {}))
    entries: list[Path | Rows] = _unique(inputs)
    read = [_read(entry) for entry in entries]
    for entry, found in zip(entries, read, strict=True):
        _require_as_made(entry, found)
    beside = [_read(path) for path in _unique(sources)]
    used = [(path, [_read(file) for file in _files(path)]) for path in _unique(models)]
    for path, files in used:
        _require_as_fetched(path, files)
    yield
    code = _made_with(command)
    for out in _unique(outputs):
        record = Record(
            format_version=FORMAT_VERSION,
            command=command,
            file=content(out),
            settings=said,
            settings_digest=hashlib.sha256(json.dumps([command, said], sort_keys=True).encode()).hexdigest(),
            seed=seed,
            inputs=[_from(out, entry) for entry in read],
            sources=[_from(out, entry) for entry in beside],
            models=[_model(out, path, files) for path, files in used],
            made_with=code,
        )
        with replacing(record_path(out)) as partial:
            partial.write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")


def content(path: Path) -> Content:
    """Digest and size of a regular file; nothing, where there is none or it can't be read."""
    if not os.path.isfile(path):  # Path.is_file raises where a folder can't be looked into, or a name is too long
        return NOTHING
    try:
        with path.open("rb") as file:
            return Content(sha256=hashlib.file_digest(file, "sha256").hexdigest(), size_bytes=file.tell())
    except OSError:
        return NOTHING


def rows_content(windows: Iterable[Window]) -> Content:
    """Digest and size of a manifest's rows, in all that extraction depends on."""
    text = json.dumps([list(window) for window in windows], ensure_ascii=False).encode()
    return Content(sha256=hashlib.sha256(text).hexdigest(), size_bytes=len(text))


def said_files(*texts: str | None) -> list[Path]:
    """The files among what options take: the path of a YAML file, or JSON text."""
    return [Path(text) for text in texts if text is not None and not text.lstrip().startswith("{")]


def _unique(entries: Iterable[T | None]) -> list[T]:
    return list(dict.fromkeys(entry for entry in entries if entry is not None))


def _read(entry: Path | Rows) -> Read:
    if isinstance(entry, Rows):
        return Read(path=str(entry.path), shard=entry.shard, **rows_content(entry.windows).model_dump())
    return Read(path=str(entry), **content(entry).model_dump())


def _require_as_made(entry: Path | Rows, found: Read) -> None:
    """Nothing is made from a file that has changed since it was made: one turned bit of a table is another number."""
    path, now = (entry.path, content(entry.path)) if isinstance(entry, Rows) else (entry, found)
    try:
        record = Record.model_validate_json(record_path(path).read_bytes())
    except (OSError, ValueError):  # none, or one that `mse provenance` will complain of
        return
    if now.sha256 is not None and now.sha256 != record.file.sha256:
        raise UserError(
            f"{path}: not what `mse {record.command}` wrote: damaged, or edited. Delete it and run again to make it "
            f"anew; or, where the change is yours, delete {record_path(path).name} beside it, which tells otherwise"
        )


def _require_as_fetched(model: Path, files: Iterable[Read]) -> None:
    """Nor with a model that has changed since `mse fetch` or `mse convert` made its folder."""
    folder = model if model.is_dir() else model.parent
    known = digests_of_folder(folder)
    for file in files:
        name = os.path.relpath(file.path, folder)
        if name in known and file.sha256 != known[name]:
            raise UserError(
                f"{file.path}: damaged, or changed since it was fetched or converted; delete the folder {folder} and "
                "make it again"
            )


def _from(out: Path, entry: Read) -> Read:
    """An entry as the record of `out` has it."""
    path = entry.path if os.path.isabs(entry.path) else os.path.relpath(entry.path, out.parent)
    return entry.model_copy(update={"path": path})


def _files(model: Path) -> list[Path]:
    """What may be read of a model's folder."""
    return checkpoint_files(model) if model.is_dir() else [model]


def _model(out: Path, path: Path, files: Sequence[Read]) -> Model:
    from mse.fetch import source_of

    folder = path if path.is_dir() else path.parent
    return Model(name=folder.name, source=source_of(folder), files=[_from(out, file) for file in files])


def _made_with(command: str) -> MadeWith:
    libraries = {package: _version(module, package) for module, package in LIBRARIES.items() if module in sys.modules}
    if "mse.media" in sys.modules:
        libraries["ffmpeg"] = _ffmpeg()
    torch = sys.modules.get("torch")
    used_gpu = torch is not None and torch.cuda.is_initialized()
    return MadeWith(
        mse=mse.__version__,
        commit=_commit(),
        stage=STAGES.get(command),
        python=platform.python_version(),
        platform=" ".join([platform.system(), platform.machine(), *platform.libc_ver()]),
        cpu=_cpu(),
        gpu=torch.cuda.get_device_name() if torch is not None and used_gpu else None,
        libraries=libraries,
    )


def _version(module: str, package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # the module came with a package of another name
        return str(getattr(sys.modules[module], "__version__", "unknown"))


def _output(*command: str) -> str:
    """What a program says, or nothing where it can't be run."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _ffmpeg() -> str:
    from mse.media import ffmpeg_path

    said = _output(ffmpeg_path(), "-version").split()  # ffmpeg version 7.0.2-static Copyright ...
    return said[2] if len(said) > 2 else "unknown"


@cache
def _commit() -> str | None:
    """The commit of the checkout that mse runs from; None for an installed package."""
    root = Path(mse.__file__).parents[1]
    if not (root / ".git").exists():  # git would look above, and find another project's
        return None
    described = ("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    return _output("git", "--no-optional-locks", "-C", str(root), *described) or None


@cache
def _cpu() -> str:
    """The processor's name: another one rounds otherwise."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"
