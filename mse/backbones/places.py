"""Where the files of an LLM lie, and what to say when they do not. Knows no torch: the workflow asks at its start."""

from pathlib import Path

from mse.backbones.checkpoint import Checkpoint, read_json
from mse.config import AdapterSettings, Backbone, Config, TrainSettings, known_names, load_backbone
from mse.errors import UserError

CHECKPOINTS = Path("resources/checkpoints")  # as published
MODELS = Path("resources/models")  # ready to load
WEIGHTS = {".safetensors", ".bin"}
BESIDE_WEIGHTS = {".json", ".model", ".txt", ".tiktoken", ".jinja"}  # what else is read of a checkpoint: never code
AROUND_TOKENS = 80  # that stand around a text: preamble, marks, pseudo tokens, prompt, answer
ANSWER_TOKENS = 10  # of an answer, and the prompt's last one
FETCHED, NATIVE = "fetched.json", "native.json"  # marks, written last: what a folder was made from


def checkpoint_folder(config: Config, name: str, backbone: Backbone) -> Path:
    """Where the checkpoint of a backbone lies, or is to be put."""
    return config.checkpoints.get(name, backbone.folder or CHECKPOINTS / name).expanduser()


def checkpoints_here(config: Config) -> dict[str, Path]:
    """The folders of all checkpoints that lie on this machine, by the backbone's name.

    One that was converted before and has lost a file since counts as gone: what was made of it is enough. A backbone
    with a mistake in its YAML is passed over: it is told when it is used.
    """
    found = {}
    for name in known_names(config, "backbones"):
        try:
            backbone = load_backbone(config, name)
            folder = checkpoint_folder(config, name, backbone)
            if not backbone.model and (folder / "config.json").is_file():
                if is_ready(name, backbone):
                    Checkpoint(folder)
                found[name] = folder
        except UserError:
            continue
    return found


def is_ready(name: str, backbone: Backbone) -> bool:
    """Whether a backbone's LLM can be loaded; a link to a checkpoint that is gone can't."""
    return model_mark(name, backbone).is_file() and (model_folder(name, backbone) / "config.json").is_file()


def model_folder(name: str, backbone: Backbone) -> Path:
    """Where the LLM of a backbone lies once it is ready to load."""
    return MODELS / (backbone.model or name)


def model_mark(name: str, backbone: Backbone) -> Path:
    """The file that is written last when an LLM is made ready."""
    return model_folder(name, backbone) / (FETCHED if backbone.model else NATIVE)


def checkpoint_files(folder: Path) -> list[Path]:
    """All files of a checkpoint that its conversion may read."""
    kept = WEIGHTS | BESIDE_WEIGHTS
    return sorted(path for path in folder.iterdir() if path.is_file() and path.suffix in kept)


def weights_mb(folder: Path) -> list[float]:
    """Sizes of the files of weights in a folder, in MB."""
    paths = folder.iterdir() if folder.is_dir() else []
    return [path.stat().st_size / 1e6 for path in paths if path.suffix in WEIGHTS]


def job_mb(folder: Path, backbone: Backbone, settings: TrainSettings, adapter: AdapterSettings) -> int:
    """Memory to ask a cluster for, in MB; `mse.backbones.memory` estimates it more closely once the job runs.

    Args:
        folder: of the LLM, as published or ready to load; it may not be there yet.
        backbone: dtype and quantisation.
        settings: batch size, longest text, gradient checkpointing, memory for texts.
        adapter: where its pseudo tokens stand.
    """
    if not (folder / "config.json").is_file():
        return 6000
    config = read_json(folder / "config.json")
    hidden, inner, layers = (
        next((config[key] for key in keys if key in config), 0)
        for keys in (
            ("hidden_size",),
            ("ffn_hidden_size", "intermediate_size"),
            ("num_layers", "num_hidden_layers"),
        )
    )
    held = {"8bit": 0.6, "4bit": 0.4}.get(backbone.quantise or "", 2 if backbone.dtype == "float32" else 1)
    # Values that a layer keeps for each token, as a bound fitted to memory.estimate of ChatGLM3-6B, Qwen-1.8B and
    # LLaMA2-7B in bfloat16 on a CPU: 1.1 to 1.5 times its work up to 500 tokens; 1000 tokens may take more.
    layer = (12 * hidden + 3 * inner) * 4 * settings.batch_size / 1e6  # of a token of each clip, computed in float32
    read = settings.max_text_tokens + AROUND_TOKENS
    after = adapter.placement == "after_text"
    step = adapter.pseudo_tokens + ANSWER_TOKENS if after else read  # what a gradient is computed for
    work = layer * step if settings.gradient_checkpointing else layer * step * layers
    texts = 1000 * settings.text_cache_gb + layer * read if after else 0
    return 4000 + round(1.1 * (held * sum(weights_mb(folder)) + work) + texts)


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
