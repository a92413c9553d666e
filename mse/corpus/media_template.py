"""Guess how the path of a row's recording is put together from its columns."""

import random
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from mse.corpus.sources import Row
from mse.templates import Template

ROWS_LOOKED_AT = 200
ROWS_TAKEN_APART = 5  # whose values are looked for in paths


@dataclass(frozen=True, order=True)
class MediaTemplate:
    """A template for the paths of recordings; of two the better one is greater.

    Attributes:
        files: how many files it leads to.
        share: of rows that it leads to one, from 0 to 1.
        is_whole: whether it has the file's ending.
        columns: how many columns it takes from.
        shortness: the shorter, the greater.
        text: the template; "" where none leads anywhere.
        rows: how many rows were looked at.
    """

    files: int = 0
    share: float = 0.0
    is_whole: bool = False
    columns: int = 0
    shortness: int = 0
    text: str = ""
    rows: int = 0


def guess_media_template(rows: list[Row], columns: Collection[str], files: list[str]) -> MediaTemplate:
    """Find the template that leads to the most media files: one that leads many rows to few files is a chance.

    Args:
        rows: a table's; some are drawn, since rows at even distances may all be the first of their videos.
        columns: those that may be part of a path.
        files: paths of the media files; where they have several endings, a template may lack its own.
    """
    drawn = sorted(random.Random(0).sample(range(len(rows)), min(len(rows), ROWS_LOOKED_AT)))
    table = [{name: _with_slashes(rows[index].cells[name]) for name in columns} for index in drawn]
    forms = _forms(files)
    there = set(files)
    candidates: dict[str, MediaTemplate] = {}
    for cells in table[:: max(1, len(table) // ROWS_TAKEN_APART)][:ROWS_TAKEN_APART]:
        for form in forms:
            text = _as_template(form, cells)
            if text and text not in candidates:
                hits = [filled for other in table if (filled := _fill(text, other)) in forms]
                candidates[text] = MediaTemplate(
                    files=len(set(hits)),
                    share=len(hits) / len(table),
                    is_whole=form in there,
                    columns=len(set(Template(text).columns)),
                    shortness=-len(text),
                    text=text,
                    rows=len(table),
                )
    return max(candidates.values(), default=MediaTemplate())


def count_files(template: str, rows: list[Row], files: list[str]) -> tuple[int, int]:
    """Count the rows that a template leads to a media file, and these files."""
    forms = _forms(files)
    cells = ({name: _with_slashes(row.cells[name]) for name in Template(template).columns} for row in rows)
    hits = [filled for row in cells if (filled := _fill(template, row)) in forms]
    return len(hits), len(set(hits))


def _forms(files: list[str]) -> dict[str, str]:
    """What a template may be made from, and the file that it means."""
    forms = {path: path for path in files}
    if len({Path(path).suffix for path in files}) > 1:
        stems = Counter(_stem(path) for path in files)
        forms |= {_stem(path): path for path in files if stems[_stem(path)] == 1 and _stem(path) not in forms}
    return forms


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
