"""Tables whose rows are of one NamedTuple, read and written without pandas.

Importing pandas takes half a CPU second, as long as cutting the sound of a minute: what runs once a shard goes
without.
"""

import csv
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_type_hints

from mse.atomic import replacing
from mse.errors import UserError

Row = TypeVar("Row", bound=tuple[Any, ...])
LONGEST_CELL = 2**31 - 1  # characters; csv's own limit is 2**17, less than an hour's transcript may take


class Window(NamedTuple):
    """A clip as a manifest lists it: which part of which recording.

    Attributes:
        clip_id: its name.
        media: path of the recording.
        start_s, end_s: where it begins and ends (seconds from the file's start); NaN where the file does.
        shard: of which features are computed together.
    """

    clip_id: str
    media: str
    start_s: float
    end_s: float
    shard: str = ""


def read_shard(manifest: Path, shard: str) -> list[Window]:
    """The clips of one shard of a manifest.

    Raises:
        UserError: the file is missing or no manifest, or has no such shard.
    """
    clips = read_rows(manifest, Window, "mse manifest")
    chosen = [clip for clip in clips if clip.shard == shard]
    if not chosen:
        known = sorted({clip.shard for clip in clips})
        raise UserError(f"{manifest}: no shard {shard!r}; there is {', '.join(known)}")
    return chosen


def read_rows(path: Path, kind: type[Row], made_by: str) -> list[Row]:
    """Read a table; columns that `kind` has no field for are ignored.

    Args:
        path: CSV with a header.
        kind: a NamedTuple whose fields are str, float (an empty cell is NaN) or bool.
        made_by: the command that writes such a table, for the message.

    Raises:
        UserError: the file is missing, lacks a column, or a cell is not of its field's type.
    """
    parsers = {name: PARSERS[of] for name, of in get_type_hints(kind).items()}
    csv.field_size_limit(LONGEST_CELL)
    try:
        require_last_line(path, made_by)
        with path.open(newline="", encoding="utf-8") as file:
            lines = csv.DictReader(file, strict=True)
            missing = [name for name in parsers if name not in (lines.fieldnames or ())]
            if missing:
                raise UserError(f"{path}: no table of `{made_by}`; the columns {', '.join(missing)} are missing")
            return [_parsed(line, kind, parsers, f"{path}:{lines.line_num}") for line in lines]
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise UserError(f"{path}: missing or no table ({e}); `{made_by}` makes it") from e


def require_last_line(path: Path, made_by: str) -> None:
    """Make sure that a table is not cut off within a line, which may look like a whole one.

    Raises:
        UserError: its last line has no end.
    """
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) and file.seek(-1, os.SEEK_END) and file.read() != b"\n":
            raise UserError(f"{path}: cut off in its last line; delete it and run `{made_by}` again")


def write_rows(path: Path, rows: Iterable[Row], kind: type[Row]) -> None:
    """Write a table that `read_rows` reads; the file appears only when it is whole."""
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(get_type_hints(kind))
        writer.writerows(["" if cell != cell else cell for cell in row] for row in rows)  # NaN is not itself


def _parsed(line: dict[str, str], kind: type[Row], parsers: dict[str, Callable[[str], Any]], where: str) -> Row:
    cells = {}
    for name, parse in parsers.items():
        try:
            cells[name] = parse(line[name])
        except (KeyError, ValueError, AttributeError, TypeError) as e:  # a cell that is missing is None
            raise UserError(f"{where}: {name} can't be {line[name]!r}") from e
    return kind(**cells)


def _number(cell: str) -> float:
    return float(cell.strip() or "nan")


PARSERS: dict[type, Callable[[str], Any]] = {
    str: lambda cell: cell + "",
    float: _number,
    bool: lambda cell: {"True": True, "False": False}[cell],
}
