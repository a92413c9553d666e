"""A chain as a tree on a terminal: files of one folder that one command made are one line."""

import json
import os
from collections.abc import Sequence
from itertools import chain as flattened
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.text import Text
from rich.tree import Tree

from mse.chain import Chain, Link, shown

Key = tuple[str, ...]


def print_chain(chain: Chain, files: Sequence[Path], console: Console, full: bool = False) -> None:
    """Print what files were made from, what it was made with, and what is not as recorded.

    Args:
        chain: as `mse.chain.trace` gives it.
        files: where it begins.
        console: where to print.
        full: every file, with digest, settings and versions.
    """
    root = Tree("", hide_root=True)
    _branch(root, chain, files, set(), full)
    console.print(root, highlight=False)
    for made_with, count in _makers(chain).items():
        console.print(_text(f"{count} made with {made_with}"))
    made = sum(link.record is not None for link in chain.values())
    models = {link.model.name for link in chain.values() if link.model}
    outside = sum(link.from_outside and link.record is None and not link.model for link in chain.values())
    totals = f"{_count(made, 'file')} made, {_count(outside, 'source')}, {_count(len(models), 'model')}: "
    broken = sum(bool(link.faults) for link in chain.values())
    verdict = ("all as recorded", "green") if not broken else (f"{broken} not as recorded", "red")
    console.print(_text(totals).append(*verdict))


def _branch(above: Tree, chain: Chain, paths: Sequence[Path], met: set[Path], full: bool) -> None:
    groups: dict[Key, list[Link]] = {}
    for path in dict.fromkeys(paths):
        groups.setdefault(_key(chain[path]), []).append(chain[path])
    for links in groups.values():
        new = [link for link in links if link.path not in met]
        met.update(link.path for link in new)
        line = _line(links)
        below = [path for link in new for path in link.made_from]
        if not new and any(link.made_from for link in links):
            line.append("  (above)", "dim")
        branch = above.add(line)
        told = _settings(new) if full else []
        for text in flattened(told, *(_of_file(link, links, full) for link in new)):
            branch.add(text)
        _branch(branch, chain, below, met, full)


def _key(link: Link) -> Key:
    """Files with equal keys share a line: those of a model, of a command in a folder, or of a kind from outside."""
    if link.model:
        return ("model", link.model.name)
    if link.record:
        return ("made", link.record.command, str(link.path.parent))
    return ("outside" if link.from_outside else "unknown", link.path.suffix)


def _line(links: Sequence[Link]) -> Text:
    """One line for a group."""
    first = links[0]
    if first.model:
        return _text(f"model {first.model.name}").append(_text(f"  {_source(first.model.source)}", "dim"))
    if len(links) == 1:
        line = _text(shown(first.path))
    else:
        suffixes = ", ".join(sorted({link.path.suffix for link in links}))
        folder = os.path.commonpath([link.path.parent for link in links])
        line = _text(f"{shown(Path(folder))}/: {len(links):,} files {suffixes}")
    if first.record:
        seed = f", seed {first.record.seed}" if first.record.seed is not None else ""
        line.append(_text(f"  mse {first.record.command}{seed}", "dim"))
    size = sum(max(entry.size_bytes or 0 for _, entry in link.uses) for link in links if link.uses)
    return line if first.record or not size else line.append(f"  {decimal(size)}", "dim")


def _source(source: dict[str, object]) -> str:
    """Where a model came from, in words."""
    said = source.get("fetched") or source
    said = said if isinstance(said, dict) else source
    revision = said.get("revision") or said.get("commit")
    where = said.get("hub") or said.get("wheel")
    if not where:
        return "put there by hand" if not source else "converted"
    words = " and ".join(where) if isinstance(where, list) else str(where)
    return f"{words}@{revision}" if revision else words


def _of_file(link: Link, links: Sequence[Link], full: bool) -> list[Text]:
    """What is said of one file among those that share a line."""
    name = f"{shown(link.path)}: " if len(links) > 1 else ""
    lines = [_text(f"{name}{fault}", "red") for fault in link.faults]
    if full:
        digests = {entry.sha256 for _, entry in link.uses if entry.shard is None}
        digests |= {link.record.file.sha256} if link.record else set()
        lines += [
            _text(f"{name}SHA-256 {digest or 'none: it was missing'}", "dim") for digest in sorted(digests, key=str)
        ]
    return lines


def _settings(links: Sequence[Link]) -> list[Text]:
    """Settings and versions that files were made with, once for all that have the same."""
    lines: dict[str, None] = {}
    for record in (link.record for link in links if link.record):
        libraries = ", ".join(f"{name} {version}" for name, version in record.made_with.libraries.items())
        lines[f"settings {json.dumps(record.settings, ensure_ascii=False)}"] = None
        lines[f"stage {record.made_with.stage}, {libraries}"] = None
    return [_text(line, "dim") for line in lines]


def _makers(chain: Chain) -> dict[str, int]:
    """Code and machine of each record, and how many files have it in theirs."""
    makers: dict[str, int] = {}
    for link in chain.values():
        if link.record:
            by = link.record.made_with
            words = [f"mse {by.mse}", f"commit {by.commit}" if by.commit else "no commit known", f"Python {by.python}"]
            words += [by.platform, by.cpu, *([by.gpu] if by.gpu else [])]
            makers[", ".join(words)] = makers.get(", ".join(words), 0) + 1
    return makers


def _text(words: str, style: str = "") -> Text:
    """Words of records, which anyone may have written: nothing that a terminal would obey."""
    return Text("".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in words), style)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
