"""Read tables in JSON: a list of objects, objects by name, or a line for each."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mse.corpus.delimited import LINE_END
from mse.errors import UserError

AS_TEXT: dict[str, Any] = {"parse_float": str, "parse_int": str}  # numbers exactly as they are written
MOST_CELLS = 50_000_000  # rows times columns, which grow with the square of a file
Place = tuple[str, dict[str, str]]  # where an object stands, and its values as text


def read_objects(path: Path, text: str) -> list[Place]:
    """A list of objects, or objects by name: the name becomes the column `key`.

    Raises:
        UserError: it holds something else.
        ValueError: it is no JSON.
    """
    content = json.loads(text, **AS_TEXT)
    if isinstance(content, list):
        found = [(f"entry {number}", entry) for number, entry in enumerate(content, start=1)]
        return _complete(path, ((place, _flat(path, place, entry)) for place, entry in found))
    if isinstance(content, dict):
        named = [(f"entry {key!r}", key, entry) for key, entry in content.items()]
        return _complete(path, ((place, {"key": key} | _flat(path, place, entry)) for place, key, entry in named))
    raise UserError(f"{path}: expected a list of objects, or objects by name; found {type(content).__name__}")


def read_object_lines(path: Path, text: str) -> list[Place]:
    """Objects, one a line.

    Raises:
        UserError: a line holds something else.
        ValueError: a line is no JSON.
    """

    def objects() -> Iterator[Place]:
        for number, line in enumerate(LINE_END.split(text), start=1):
            if line.strip():
                try:
                    entry = json.loads(line, **AS_TEXT)
                except ValueError as e:
                    raise ValueError(f"line {number}: {e}") from e
                yield f"line {number}", _flat(path, f"line {number}", entry)

    return _complete(path, objects())


def _complete(path: Path, rows: Iterable[Place]) -> list[Place]:
    """Objects that all have every key that any has: some may lack a few."""
    rows = list(rows)
    blank = dict.fromkeys([name for _, cells in rows for name in cells], "")
    if len(rows) * len(blank) > MOST_CELLS:
        raise UserError(
            f"{path}: {len(rows)} objects with {len(blank)} different keys are no table; expected "
            "objects that have the same keys"
        )
    return [(place, {**blank, **cells}) for place, cells in rows]


def _flat(path: Path, place: str, entry: Any) -> dict[str, str]:
    """An object's values as text; what lies in an inner object has the column `outer.inner`."""
    if not isinstance(entry, dict):
        raise UserError(f"{path}: {place} is no object with columns, but {type(entry).__name__}")
    flat: dict[str, str] = {}
    for key, value in entry.items():
        if isinstance(value, dict):
            flat |= {f"{key}.{inner}": text for inner, text in _flat(path, place, value).items()}
        elif value is None:
            flat[key] = ""
        else:
            flat[key] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return flat
