"""Read the tables of a corpus, or the names of its files, into rows of text that know where they stand."""

import csv
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mse.config import Dataset, Table
from mse.corpus.delimited import LINE_END, read_delimited
from mse.corpus.encoding import clean, read_text
from mse.corpus.objects import read_object_lines, read_objects
from mse.errors import UserError
from mse.media_types import describe_skipped, ending_regex, is_utf8
from mse.templates import Pattern, clean_name

MOST_SHARED = 4  # files that are named


@dataclass(frozen=True)
class Row:
    """One row of a table, or one file.

    Attributes:
        source: the table, or the folder whose files are the clips.
        place: where it stands there: "line 3", or the file's path.
        cells: what its columns hold, exactly as written.
    """

    source: Path
    place: str
    cells: Mapping[str, str]

    @property
    def origin(self) -> str:
        """Source and place, for messages."""
        return f"{self.source}: {self.place}"


def read_rows(dataset: Dataset, notes: list[str] | None = None) -> list[Row]:
    """All rows of a corpus, in the order of its tables or the alphabetical order of its files.

    Args:
        dataset: its description.
        notes: what was passed over is added here.

    Raises:
        UserError: a table is missing, empty, not what its ending says, or does not fit the others.
    """
    notes = [] if notes is None else notes
    rows = _file_rows(dataset, notes) if dataset.files else []
    for table in dataset.tables:
        matches = list(_matches(dataset.root, table.file))
        found = []
        for path, captured in matches:
            remarks: list[str] = []
            found += _read(path, table, captured, remarks)
            notes += [f"{path.relative_to(dataset.root).as_posix()}: {note}" for note in remarks]
        rows = _joined(rows, found, table, notes) if table.join else rows + found
    return rows


def table_files(dataset: Dataset) -> list[Path]:
    """Paths of all tables, and of released features; those without a pattern whether they exist or not.

    Raises:
        UserError: a pattern fits no file.
    """
    released = list(dataset.released.files.values()) if dataset.released else []
    found = [dataset.root / path for path in released]
    for table in dataset.tables:
        if Pattern(table.file).names:
            found += [path for path, _ in _matches(dataset.root, table.file)]
        else:
            found.append(dataset.root / _plain(table.file))
    return found


def media_names(dataset: Dataset) -> list[str]:
    """Names of the files that are clips by their names; none for a corpus with tables.

    Raises:
        UserError: no file fits.
    """
    return [row.place for row in _file_rows(dataset)] if dataset.files else []


def _plain(file: str) -> str:
    """The path that a pattern without names stands for."""
    return file.replace("{{", "{").replace("}}", "}")


def walk(root: Path, skipped: list[str] | None = None) -> list[str]:
    """List all files below a folder: paths relative to it with forward slashes, sorted.

    Links to folders are followed, each folder once.

    Args:
        root: the folder.
        skipped: hidden files and folders, files whose name is no UTF-8, which tables can't hold, and folders that
            can't be opened are added here; a folder's name ends in a slash.
    """
    skipped = [] if skipped is None else skipped
    found: list[str] = []
    seen: set[str] = set()

    def relative(path: str | Path) -> str:
        return Path(os.path.relpath(path, root)).as_posix()

    def refused(error: OSError) -> None:
        skipped.append(f"{relative(error.filename)}/")

    for folder, folders, files in os.walk(root, followlinks=True, onerror=refused):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        skipped += [f"{relative(Path(folder, name))}/" for name in folders if name.startswith(".")]
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            path = relative(Path(folder, name))
            (found if is_utf8(path) and not name.startswith(".") else skipped).append(path)
    return sorted(found)


def _file_rows(dataset: Dataset, notes: list[str] | None = None) -> list[Row]:
    """The files that are clips; what is passed over is added to the notes, and files that share a name."""
    assert dataset.files is not None
    notes = [] if notes is None else notes
    pattern = Pattern(dataset.files, meanings={"path": ".+", "ending": ending_regex()})
    skipped: list[str] = []
    paths = walk(dataset.root, skipped)
    fitting = {path: captured for path in paths if (captured := pattern.read(path)) is not None}
    if not fitting:
        examples = f"; there is {', '.join(paths[:3])}, ..." if paths else "; the folder holds no files"
        raise UserError(f"{dataset.root}: none of {len(paths)} files fits files = {dataset.files!r}{examples}")
    names = _names_without_ending(list(fitting))
    shared = [path for path, name in names.items() if name == path and Path(path).suffix]
    if shared:
        some = ", ".join(shared[:MOST_SHARED]) + (", ..." if len(shared) > MOST_SHARED else "")
        notes.append(f"{dataset.root}: {len(shared)} files differ by their ending alone ({some}); `name` keeps it")
    skipped += [path for path in paths if path not in fitting]
    if skipped:
        notes.append(f"{dataset.root}: passed over {describe_skipped(skipped, 'that do not fit `files`')}")
    return [
        Row(dataset.root, path, {"file": path, "stem": Path(path).stem, "name": names[path]} | captured)
        for path, captured in fitting.items()
    ]


def _names_without_ending(paths: Sequence[str]) -> dict[str, str]:
    """Each path without its ending; with it where the name would be another file's too."""
    bare = {path: str(Path(path).with_suffix("")) for path in paths}
    counts = Counter(bare.values())
    return {path: path if counts[name] > 1 or name in bare else name for path, name in bare.items()}


def _matches(root: Path, file: str) -> Iterator[tuple[Path, dict[str, str]]]:
    """The files that a table's path means, with what its pattern read out of each."""
    pattern = Pattern(file)
    if not pattern.names:
        path = root / _plain(file)
        if not path.is_file():
            raise UserError(f"{path}: no such file; `root` and `tables` of the corpus's YAML say where it lies")
        yield path, {}
        return
    found = [(root / path, captured) for path in walk(root) if (captured := pattern.read(path)) is not None]
    if not found:
        raise UserError(f"{root}: no file fits the table {file!r}; `tables` of the corpus's YAML says so")
    yield from found


def _read(path: Path, table: Table, captured: dict[str, str], notes: list[str]) -> list[Row]:
    """The rows of one file; `captured` and the table's own values become columns."""
    try:
        text = read_text(path, table.encoding, notes)
        rows = [Row(path, place, cells) for place, cells in _parse(path, text, table, notes)]
    except (UnicodeError, LookupError) as e:
        raise UserError(f"{path}: not readable as {table.encoding}: {e}; its table's `encoding` says how") from e
    except OSError as e:
        raise UserError(f"{path}: can't be read ({e.strerror}); check that it is there and may be opened") from e
    except (csv.Error, ValueError, TypeError, RecursionError) as e:  # of a delimiter that can't be one, too
        raise UserError(f"{path}: not a {path.suffix or 'CSV'} table: {e}") from e
    if not rows:
        what = f"no line fits {table.lines!r}" if table.lines else "the table has no rows"
        raise UserError(f"{path}: {what}")
    rows = _clean(rows, notes)
    added = captured | table.values
    taken = sorted(set(added) & set(rows[0].cells))
    if taken:
        raise UserError(f"{path}: has a column {taken[0]!r} of its own; rename the one in `file`, `lines` or `values`")
    return [Row(path, row.place, {**row.cells, **added}) for row in rows]


def _parse(path: Path, text: str, table: Table, notes: list[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Where each row of a file stands, and its cells."""
    if table.lines:
        yield from _read_lines(text, Pattern(table.lines, default=r".+?"), notes)
    elif path.suffix.lower() == ".json":
        yield from read_objects(path, text)
    elif path.suffix.lower() == ".jsonl":
        yield from read_object_lines(path, text)
    else:
        yield from read_delimited(path, text, table.delimiter, table.header, notes)


def _read_lines(text: str, pattern: Pattern, notes: list[str]) -> Iterator[tuple[str, dict[str, str]]]:
    fitting = filled = 0
    for number, line in enumerate(LINE_END.split(text), start=1):
        found = pattern.read(line)
        filled += bool(line.strip())
        if found is not None:
            fitting += 1
            yield f"line {number}", found
    notes.append(f"{fitting} of {filled} lines fit `lines` and are rows")


def _clean(rows: list[Row], notes: list[str]) -> list[Row]:
    """Rows whose columns have plain names, and whose cells hold only what files and terminals take."""
    names = {name: clean_name(clean(name)) for name in rows[0].cells}
    for name, plain in names.items():
        if plain != name and plain in names:
            raise UserError(f"{rows[0].source}: the columns {plain!r} and {name!r} differ in spaces alone; rename one")
    cleaned, mended = [], []
    for row in rows:
        cells = {names[name]: clean(cell) for name, cell in row.cells.items()}
        mended += [
            f"{row.place}, {names[name]!r}"
            for name, cell in row.cells.items()
            if cells[names[name]].count("\ufffd") > cell.count("\ufffd")
        ]
        cleaned.append(Row(row.source, row.place, cells))
    if mended:
        notes.append(
            f"incomplete and NUL characters are read as \ufffd; cells with some: {len(mended)} (the first: {mended[0]})"
        )
    return cleaned


def _joined(rows: list[Row], found: list[Row], table: Table, notes: list[str]) -> list[Row]:
    """Rows with the columns of another table added where `join` matches; empty where it has no such row."""
    for row in (rows[0], found[0]):
        absent = [name for name in table.join if name not in row.cells]
        if absent:
            raise UserError(f"{row.source}: no column {absent[0]!r} to join by; it has {', '.join(row.cells)}")
    added: dict[tuple[str, ...], Row] = {}
    for row in found:
        key = tuple(row.cells[name] for name in table.join)
        if key in added:
            raise UserError(
                f"{row.origin}: {', '.join(key)} is in {added[key].origin} already; delete one of the two rows"
            )
        added[key] = row
    columns = [name for name in found[0].cells if name not in table.join]
    taken = sorted(set(columns) & set(rows[0].cells))
    if taken:
        raise UserError(f"{found[0].origin}: the column {taken[0]!r} is in the table before too; it can't be joined")
    blank = dict.fromkeys(columns, "")
    joined, alone = [], 0
    for row in rows:
        match = added.get(tuple(row.cells[name] for name in table.join))
        alone += match is None
        extra = {name: match.cells[name] for name in columns} if match else blank
        joined.append(Row(row.source, row.place, {**row.cells, **extra}))
    keys = ", ".join(table.join)
    if alone == len(rows):
        first = ", ".join(rows[0].cells[name] for name in table.join)
        raise UserError(f"{found[0].source}: no row fits any of the {len(rows)} before by {keys} (first: {first!r})")
    if alone:
        notes.append(f"{table.file}: has no row for {alone} of {len(rows)} by {keys}; its columns are empty there")
    return joined
