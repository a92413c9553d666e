"""From a file back to all that it was made from, by the records beside the files; each is compared with its record."""

import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from mse.config import parse
from mse.errors import UserError
from mse.progress import track
from mse.provenance import NOTHING, SUFFIX, Content, Model, Read, Record, content, record_path, rows_content
from mse.rows import Window, read_rows


@dataclass
class Link:
    """One file of a chain.

    Attributes:
        path: absolute.
        record: what made it; None for a file from outside, and for one that nobody tells of.
        model: the pretrained model that it belongs to, if it does.
        from_outside: whether a record called it a source, or a model's file.
        made_from: the files that it was made from.
        uses: what records say that was read of it, each with the file that was made.
        faults: what is not as recorded.
    """

    path: Path
    record: Record | None = None
    model: Model | None = None
    from_outside: bool = False
    made_from: list[Path] = field(default_factory=list)
    uses: list[tuple[Path, Read]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


Chain = dict[Path, Link]


def starts(path: Path) -> list[Path]:
    """The files that a name on the command line means, absolute: itself, or all that lie in the folder.

    Raises:
        UserError: there is neither such a file nor a record of one.
    """
    path = Path(os.path.abspath(path))
    if os.path.isdir(path):
        inside = [name for name in sorted(path.iterdir()) if name.is_file() and not name.name.startswith(".")]
        found = [name for name in inside if not name.name.endswith(SUFFIX)]
    else:
        found = [path] if os.path.isfile(path) or os.path.isfile(record_path(path)) else []
    if not found:
        raise UserError(f"{shown(path)}: no such file, and no {path.name}{SUFFIX} beside it that tells of one")
    return found


def trace(files: Iterable[Path], sizes_alone: bool = False) -> Chain:
    """Follow the records of some files, and compare every file on the way with what the records say.

    Args:
        files: absolute paths.
        sizes_alone: compare sizes in place of digests.

    Returns:
        The links by path, in the order in which they were met.
    """
    chain = {path: Link(path) for path in files}
    queue = deque(chain.values())
    while queue:
        link = queue.popleft()
        link.record = _record(link)
        for entry, model, outside in _entries(link.record) if link.record else ():
            path = Path(os.path.normpath(link.path.parent / entry.path))
            if path not in chain:
                chain[path] = Link(path)
                queue.append(chain[path])
            chain[path].uses.append((link.path, entry))
            chain[path].model = model or chain[path].model
            chain[path].from_outside |= outside
            link.made_from.append(path)
    look = _size if sizes_alone else content
    with ThreadPoolExecutor() as pool:  # hashing leaves Python's lock alone
        found = dict(zip(chain, track(pool.map(look, chain), "reading", len(chain), "files"), strict=True))
    shards = cache(_shards)  # a manifest is read once for all its shards
    for path, link in chain.items():
        link.faults += _faults(link, found[path], shards)
    return chain


def as_json(chain: Chain) -> str:
    """The chain for programs: each file with its record and its faults."""
    links: list[Mapping[str, Any]] = [
        {
            "path": shown(link.path),
            "faults": link.faults,
            "made_from": [shown(path) for path in link.made_from],
            "model": link.model.name if link.model else None,
            "record": link.record.model_dump() if link.record else None,
        }
        for link in chain.values()
    ]
    return json.dumps({"files": links, "intact": not any(link.faults for link in chain.values())}, indent=1)


def shown(path: Path) -> str:
    """A path as seen from the current folder, where it lies below it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _record(link: Link) -> Record | None:
    path = record_path(link.path)
    if not os.path.isfile(path):  # pathlib raises for names that are too long
        return None
    try:
        return parse(Record, json.loads(path.read_bytes()), path.name)
    except (UserError, ValueError, TypeError, OSError, RecursionError) as e:  # foreign, of another version, or damaged
        link.faults.append(f"its record can't be read: {str(e).splitlines()[0]}")
        return None


def _entries(record: Record) -> Iterable[tuple[Read, Model | None, bool]]:
    """All that was read, with the model that it is of, and whether it came from outside."""
    yield from ((entry, None, False) for entry in record.inputs)
    yield from ((entry, model, True) for model in record.models for entry in model.files)
    yield from ((entry, None, True) for entry in record.sources)


def _size(path: Path) -> Content:
    return Content(sha256=None, size_bytes=path.stat().st_size) if os.path.isfile(path) else NOTHING


def _faults(link: Link, now: Content, shards: Callable[[Path], dict[str, Content]]) -> list[str]:
    """What is not as recorded of a file, given what it holds now, and how to learn what a manifest's shards do."""
    faults = []
    was_there = not link.uses or any(entry.sha256 for _, entry in link.uses)
    if now == NOTHING and was_there:
        faults.append("missing, or can't be read" + ("; its record is here" if link.record else ""))
    elif link.record and not _same(link.record.file, now):
        faults.append(f"changed since `mse {link.record.command}` made it")
    if was_there and not link.record and not link.from_outside and not link.faults:
        faults.append("of an unknown maker: it has no record, so the chain ends here")
    differ = []
    for user, entry in link.uses:
        part = now if entry.shard is None or now == NOTHING else shards(link.path).get(entry.shard, NOTHING)
        if now != NOTHING and not _same(entry, part):
            differ.append(user)
    if differ:
        others = f" and {len(differ) - 1} more were" if len(differ) > 1 else " was"
        faults.append(f"not what {shown(differ[0])}{others} made from")
    return faults


def _same(recorded: Content, now: Content) -> bool:
    """Digests tell; sizes, where digests were not asked for."""
    if now.sha256 is None:
        return recorded.size_bytes == now.size_bytes
    return recorded.sha256 == now.sha256


def _shards(manifest: Path) -> dict[str, Content]:
    """Each shard's rows of a manifest."""
    rows: dict[str, list[Window]] = {}
    try:
        for window in read_rows(manifest, Window, "mse manifest"):
            rows.setdefault(window.shard, []).append(window)
    except UserError:
        return {}
    return {shard: rows_content(windows) for shard, windows in rows.items()}
