"""Where the files of an LLM lie, and what to say when they do not. Knows no torch: the workflow asks at its start."""

from pathlib import Path

from mse.config import Backbone, Config, known_names, load_backbone
from mse.errors import UserError

CHECKPOINTS = Path("resources/checkpoints")  # as published
MODELS = Path("resources/models")  # ready to load
WEIGHTS = (".safetensors", ".bin")


def checkpoint_folder(config: Config, name: str, backbone: Backbone) -> Path:
    """Where the checkpoint of a backbone lies, or is to be put."""
    return config.checkpoints.get(name, backbone.folder or CHECKPOINTS / name).expanduser()


def checkpoints_here(config: Config) -> dict[str, Path]:
    """The folders of all checkpoints that lie on this machine, by the backbone's name.

    A backbone with a mistake in its YAML is passed over: it is told when it is used.
    """
    found = {}
    for name in known_names(config, "backbones"):
        try:
            backbone = load_backbone(config, name)
        except UserError:
            continue
        folder = checkpoint_folder(config, name, backbone)
        if not backbone.model and (folder / "config.json").is_file():
            found[name] = folder
    return found


def model_folder(name: str, backbone: Backbone) -> Path:
    """Where the LLM of a backbone lies once it is ready to load."""
    return MODELS / (backbone.model or name)


def model_mark(name: str, backbone: Backbone) -> Path:
    """The file that is written last when an LLM is made ready."""
    return model_folder(name, backbone) / ("fetched.json" if backbone.model else "native.json")


def checkpoint_files(folder: Path) -> list[Path]:
    """All files of a checkpoint that its conversion may read."""
    kept = {*WEIGHTS, ".json", ".model", ".txt", ".tiktoken", ".jinja"}
    return sorted(path for path in folder.iterdir() if path.is_file() and path.suffix in kept)


def weights_mb(folder: Path) -> list[float]:
    """Sizes of the files of weights in a folder, in MB."""
    paths = folder.iterdir() if folder.is_dir() else []
    return [path.stat().st_size / 1e6 for path in paths if path.suffix in WEIGHTS]


def how_to_get(name: str, backbone: Backbone, folder: Path) -> str:
    """What to do when the checkpoint of a backbone is not there.

    Args:
        name: of the backbone.
        backbone: its hub repository and files.
        folder: where it was looked for.
    """
    elsewhere = f"or say where they lie: --config 'checkpoints={{{name}: /path/to/the/folder}}'"
    if backbone.hub is None:
        return f"put the checkpoint's files there, {elsewhere}"
    size = f", {backbone.size_gb:g} GB" if backbone.size_gb else ""
    revision = f" at revision {backbone.revision}" if backbone.revision else ""
    return (
        f"it is the repository {backbone.hub}{revision} of huggingface.co{size}. With that hub in reach: "
        f"`mse fetch {name}`. Without: copy {', '.join(backbone.files)} from there into {folder}/, {elsewhere}"
    )
