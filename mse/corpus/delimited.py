"""Split tables whose cells are separated by a character, as spreadsheets, scripts and people write them."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from mse.errors import UserError
from mse.rows import LONGEST_CELL
from mse.templates import clean_name

DELIMITERS = {".tsv": "\t", ".tab": "\t"}  # a comma for every other ending
SPOKEN = {",": "a comma", ";": "a semicolon", "\t": "a tab"}
OTHERS = {"\t": '"\\t"', ";": '";"', "|": '"|"'}  # what else separates cells, as YAML writes it
SEPARATOR_LINE = re.compile(r'\s*"?sep=(?P<mark>[^"\r\n])"?(?P=mark)*[ ]*(\r\n|\r|\n)', re.IGNORECASE)
LINE_END = re.compile(r"\r\n|\r|\n")
PLAIN = "its quotation marks do not enclose cells, and are read as characters"
TOLERANT = "quotation marks that do not enclose a whole cell are read as characters"
ESCAPED = 'a backslash and a quotation mark (\\") are read as the quotation mark alone'

Line = tuple[int, list[str]]  # where a row ends in the file, and its cells


def read_delimited(
    path: Path, text: str, delimiter: str | None, header: Sequence[str], notes: list[str]
) -> Iterator[tuple[str, dict[str, str]]]:
    """Read a table's rows.

    Args:
        path: the file, for messages; its ending says what separates cells where nothing else does.
        text: what it holds.
        delimiter: what separates cells; None: what the file's first line or its ending says.
        header: names of the columns; empty: the first row has them.
        notes: what was passed over or mended is added here.

    Yields:
        Where each row stands, and its cells by column.

    Raises:
        UserError: rows do not fit the header, or a column appears twice.
        csv.Error: the delimiter can't be one.
    """
    said = SEPARATOR_LINE.match(text)
    if said:
        notes.append(f"its first line gives the delimiter ({said['mark']!r}) and is skipped")
        text = text[said.end() :]
    mark = delimiter or (said["mark"] if said else DELIMITERS.get(path.suffix.lower(), ","))
    lines = [(number + bool(said), cells) for number, cells in _split(path, text, mark, header, notes)]
    rows = _without_comments(lines, header)
    if len(rows) < len(lines):
        notes.append(f"lines that begin with # are skipped as comments: {len(lines) - len(rows)}")
    lines = rows
    names = list(header) or (lines.pop(0)[1] if lines else [])
    _check_names(path, names, mark)
    filled = [line for line in lines if _is_filled(line[1])]
    if len(filled) < len(lines):
        notes.append(f"empty rows are skipped: {len(lines) - len(filled)}")
    for number, cells in filled:
        if not _fits(cells, names):
            raise UserError(
                f"{path}: line {number} has {len(cells)} cells, the header {len(names)}; "
                f"put a text that holds {SPOKEN.get(mark, repr(mark))} into double quotes"
            )
    kept = _columns(names, [cells for _, cells in filled], notes)
    named = sum(bool(clean_name(name)) for name in names)
    if filled and named < len(kept) / 2:
        raise UserError(
            f"{path}: its first line names {named} of {len(kept)} columns ({', '.join(filter(None, names))}); delete "
            "the lines above the header, or give the columns' names as its table's `header`"
        )
    for number, cells in filled:
        yield f"line {number}", {name: cells[i] if i < len(cells) else "" for i, name in kept.items()}


def _split(path: Path, text: str, delimiter: str, header: Sequence[str], notes: list[str]) -> list[Line]:
    """Rows of cells, by the first way to read quotation marks that gives each row as many cells as the header."""
    problem: csv.Error | None = None
    try:
        standard = _standard(text, delimiter)
    except csv.Error as e:
        if '"' not in text:
            raise
        problem, standard = e, []
    if '"' not in text or (standard and len(standard) == standard[-1][0] and _is_regular(standard, header)):
        return standard
    if problem and not text.endswith(("\r", "\n")) and LINE_END.split(text)[-1].count('"') % 2:
        raise UserError(f"{path}: cut off within a quoted cell of its last line; get a whole copy of the table")
    tolerant = (_tolerant(text, delimiter), ESCAPED if '\\"' in text else TOLERANT)
    plain = (_plain(text, delimiter), PLAIN)
    for lines, note in (tolerant, plain) if '\\"' in text else (plain, tolerant):
        if len(lines) > len(standard) and _is_regular(lines, header):  # else a quotation mark swallowed line ends
            notes.append(note)
            return lines
    if problem is None:
        return standard
    odd = next((n for n, line in enumerate(LINE_END.split(text), start=1) if line.count('"') % 2), 0)
    raise UserError(
        f"{path}: {f'line {odd}: ' if odd else ''}quotation marks that do not close ({problem}); put a cell that "
        'holds quotation marks into quotation marks, and double each of them: "he said ""no"""'
    )


def _standard(text: str, delimiter: str) -> list[Line]:
    """Rows as RFC 4180 has them; lines without a character are none."""
    csv.field_size_limit(LONGEST_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    return [(reader.line_num, cells) for cells in reader if cells]


def _plain(text: str, delimiter: str) -> list[Line]:
    """Rows whose quotation marks are characters like any other."""
    lines = enumerate(LINE_END.split(text), start=1)
    return [(number, line.split(delimiter)) for number, line in lines if line]


def _tolerant(text: str, delimiter: str) -> list[Line]:
    """Rows in which a quotation mark encloses a cell only where another stands before the next delimiter.

    Within a cell two marks, or one after a backslash, are one.
    """
    mark = re.escape(delimiter)
    cell = re.compile(rf'(?:"(?P<quoted>(?:[^"\\]|\\.|"")*+)"(?={mark}|\r|\n|\Z)|(?P<bare>[^{mark}\r\n]*))', re.DOTALL)
    lines: list[Line] = []
    cells: list[str] = []
    place, number = 0, 1
    while place <= len(text):
        found = cell.match(text, place)
        assert found is not None  # a bare cell may be empty
        quoted = found["quoted"]
        cells.append(found["bare"] if quoted is None else re.sub(r'\\(["\\])|""', lambda m: m[1] or '"', quoted))
        number += len(LINE_END.findall(found[0]))
        place = found.end()
        if text.startswith(delimiter, place):
            place += 1
            continue
        if cells != [""]:
            lines.append((number, cells))
        cells = []
        end = LINE_END.match(text, place)
        if end is None:
            break
        place, number = end.end(), number + 1
    return lines


def _without_comments(lines: list[Line], header: Sequence[str]) -> list[Line]:
    """Rows without comments: those that begin with #, and are empty after it or do not fit the header.

    A header may begin with # too, if most rows fit it.
    """

    def is_marked(cells: Sequence[str]) -> bool:
        return cells[0].lstrip().startswith("#")

    def is_header(cells: Sequence[str]) -> bool:
        return _is_filled(cells[1:]) and sum(_fits(row, cells) for _, row in lines) > len(lines) / 2

    names = header or next((cells for _, cells in lines if not is_marked(cells) or is_header(cells)), [])

    def is_comment(cells: Sequence[str]) -> bool:
        return is_marked(cells) and cells is not names and not (_is_filled(cells[1:]) and _fits(cells, names))

    return [line for line in lines if not is_comment(line[1])]


def _is_regular(lines: list[Line], header: Sequence[str]) -> bool:
    """Whether every row fits the header, which has more than one column."""
    rows = [cells for _, cells in _without_comments(lines, header)]
    names = header or rows.pop(0) if rows else []
    return len(names) > 1 and all(_fits(cells, names) for cells in rows)


def _is_filled(cells: Sequence[str]) -> bool:
    return any(cell.strip() for cell in cells)


def _fits(cells: Sequence[str], names: Sequence[str]) -> bool:
    """Whether a row has a cell for each name; what is empty in it, or has no name, may be less or more at its end."""
    if not _is_filled(cells):
        return True
    least = max((i for i, name in enumerate(names, start=1) if name.strip()), default=0)
    return len(cells) >= least and not _is_filled(cells[len(names) :])


def _check_names(path: Path, names: Sequence[str], delimiter: str) -> None:
    twice = sorted(name for name, count in Counter(map(clean_name, names)).items() if name and count > 1)
    if twice:
        raise UserError(
            f"{path}: the column {twice[0]!r} appears twice; if the file begins with a clip and not with the columns' "
            "names, give them as its table's `header`"
        )
    other = next((mark for mark in OTHERS if len(names) == 1 and mark in names[0] and mark != delimiter), None)
    if other:
        raise UserError(
            f"{path}: one column, {names[0]!r}; if its cells are separated so, say `delimiter: {OTHERS[other]}`"
        )


def _columns(names: Sequence[str], rows: list[list[str]], notes: list[str]) -> dict[int, str]:
    """The columns that count, by their place: an empty one without a name does not."""
    kept = {}
    empty = 0
    for index, name in enumerate(names):
        clean = clean_name(name)
        if not clean and not any(index < len(cells) and cells[index].strip() for cells in rows):
            empty += 1
            continue
        kept[index] = clean or f"column {index + 1}"
        if clean != name:
            notes.append(f"the column {name!r} is read as {kept[index]!r}")
    if empty:
        notes.append(f"empty columns without a name are skipped: {empty}")
    return kept
