"""Guess how the path of a row's recording is put together from its columns."""

import re
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

from mse.corpus.sources import Row
from mse.templates import Template


def guess_media_template(rows: list[Row], columns: Collection[str], files: list[str]) -> tuple[str, float]:
    """Find the template that leads most rows to a media file.

    Args:
        rows: some rows of a table.
        columns: those that may be part of a path.
        files: paths of the media files; where they have several endings, a template may lack its own.

    Returns:
        The template, "" where none leads anywhere, and the share of rows that it leads to a file.
    """
    table = [{name: _with_slashes(row.cells[name]) for name in columns} for row in rows]
    there = set(files)
    forms = {path: path for path in files}  # what a template is made from, and the file that it means
    if len({Path(path).suffix for path in files}) > 1:
        stems = Counter(_stem(path) for path in files)
        alone = {_stem(path) for path in files if stems[_stem(path)] == 1} - there
        forms |= {_stem(path): path for path in files if _stem(path) in alone}
    candidates: dict[str, tuple[float, int, bool]] = {}  # share of rows that lead to a file; files; with an ending
    for cells in table[:: max(1, len(table) // 5)][:5]:
        for form in forms:
            template = _as_template(form, cells)
            if template and template not in candidates:
                hits = [filled for other in table if (filled := _fill(template, other)) in forms]
                candidates[template] = (len(hits) / len(table), len(set(hits)), form in there)
    best = max(candidates, key=lambda text: (candidates[text], -len(text)), default="")
    return best, candidates[best][0] if best else 0.0


def _with_slashes(cell: str) -> str:
    """A cell in which a path is written as on this system."""
    return re.sub("/{2,}", "/", cell.replace("\\", "/")).removeprefix("./")


def _stem(path: str) -> str:
    return path.removesuffix(Path(path).suffix)


def _fill(template: str, cells: Mapping[str, str]) -> str:
    try:
        return Template(template).fill(cells)
    except (KeyError, ValueError):
        return ""


def _as_template(path: str, cells: Mapping[str, str]) -> str:
    """A path with the row's values in it replaced by their columns; "" where it holds none."""
    marked = path.replace("{", "{{").replace("}", "}}")
    used: list[str] = []
    for column, value in sorted(cells.items(), key=lambda cell: -len(cell[1])):
        if not value or "{" in column:
            continue
        # A number may follow letters (dia12_utt3), a word may not be a part of another.
        before, after = (r"(?<!\d)", r"(?!\d)") if value.isdigit() else (r"(?<![^\W_])", r"(?![^\W_])")
        for width in (0, 2, 3, 4, 5, 6) if value.isdigit() else (0,):
            place = re.search(before + re.escape(value.zfill(width)) + after, marked)
            if place and (width == 0 or width > len(value)):
                # A private character stands for the column until all are found, so that names are not replaced.
                marked = marked[: place.start()] + chr(0xE000 + len(used)) + marked[place.end() :]
                used.append(f"{{{column}:0>{width}}}" if width else f"{{{column}}}")
                break
    for index, name in enumerate(used):
        marked = marked.replace(chr(0xE000 + index), name)
    return marked if used else ""
