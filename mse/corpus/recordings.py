"""Find the recordings that a corpus's rows name, however their paths are written."""

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from mse.errors import UserError
from mse.media_types import is_medium


def find_recordings(root: Path, paths: Sequence[str], origins: Sequence[str], notes: list[str]) -> list[str]:
    """Find each row's recording.

    Args:
        root: folder of the corpus.
        paths: a row's each, from the root: as it is; or with backslashes for slashes, with accents composed
            otherwise, or without its ending.
        origins: where each row stands, for messages.
        notes: what was assumed is added here.

    Returns:
        The paths from the root as they are on the disk; one that is not there stays as it is, with slashes.

    Raises:
        UserError: a path without an ending may be one of two files.
    """
    slashed = [_with_slashes(root, path) for path in paths]
    turned = [path for path, other in zip(paths, slashed, strict=True) if path != other]
    if turned:
        notes.append(f"paths with backslashes, which are read as slashes: {len(turned)} (such as {turned[0]!r})")
    folders: dict[Path, dict[str, list[str]]] = {}
    found = [_find(root, path, origin, folders) for path, origin in zip(slashed, origins, strict=True)]
    completed = [(path, other) for path, other in zip(slashed, found, strict=True) if is_completed(path, other)]
    if completed:
        endings = sorted({Path(other).suffix for _, other in completed})
        notes.append(f"paths without an ending, found with {', '.join(endings)}: {len(completed)}")
    return found


def is_below(root: Path, path: str) -> bool:
    """Whether a path stays in the corpus's folder, as far as its name tells: links there are the user's own."""
    base = os.path.abspath(root)
    return os.path.commonpath([base, os.path.abspath(root / path)]) == base


def is_completed(path: str, found: str) -> bool:
    """Whether a path was found with an ending that it lacks."""
    return len(found) > len(path) and is_medium(found) and not is_medium(path)


def _with_slashes(root: Path, path: str) -> str:
    return path.replace("\\", "/") if "\\" in path and not os.path.exists(root / path) else path


def _find(root: Path, path: str, origin: str, folders: dict[Path, dict[str, list[str]]]) -> str:
    """One path, as find_recordings says; `folders` holds the names in those that were looked at."""
    if not path or not is_below(root, path):
        return path
    for form in (path, unicodedata.normalize("NFC", path), unicodedata.normalize("NFD", path)):
        if os.path.exists(root / form) and not os.path.isdir(root / form):
            return form
    if is_medium(path):
        return path
    for form in (path, unicodedata.normalize("NFC", path), unicodedata.normalize("NFD", path)):
        folder = (root / form).parent
        if folder not in folders:
            folders[folder] = _by_stem(folder)
        names = folders[folder].get(Path(form).name, [])
        if len(names) > 1:
            raise UserError(
                f"{origin}: {path!r} has no ending, and may be {' or '.join(names)}; write the ending, or move one away"
            )
        if names:
            return str(Path(form).with_name(names[0]))
    return path


def _by_stem(folder: Path) -> dict[str, list[str]]:
    """A folder's media files by their names without the ending."""
    stems: dict[str, list[str]] = {}
    for name in sorted(os.listdir(folder)) if folder.is_dir() else []:
        if is_medium(name):
            stems.setdefault(os.path.splitext(name)[0], []).append(name)
    return stems
