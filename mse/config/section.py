"""A closed group of settings, and one message for each mistake in it."""

import difflib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from mse.errors import UserError

MOST_VALUES = 100_000  # of a YAML file, aliases written out
MERGE = "tag:yaml.org,2002:merge"  # of the key <<
MOST_MISTAKES_SHOWN = 20
LONGEST_TOLD = 2000  # characters of a mistake


class Section(BaseModel):
    """A closed, immutable group of settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    variant: ClassVar[str] = ""  # its name among the sections that a key may hold


S = TypeVar("S", bound=Section)


def parse(kind: type[S], values: Any, source: str) -> S:
    """Validate a mapping against a section.

    Args:
        kind: the section's class.
        values: what a file (or the command line) says.
        source: where it was said, for the message.

    Raises:
        UserError: no mapping; or every unknown key, wrong type and impossible value, one a line.
    """
    if not isinstance(values, Mapping):
        raise UserError(f"{source}: expected keys with values, found {type(values).__name__}")
    try:
        return kind.model_validate(dict(values))
    except ValidationError as e:
        lines = [_shortened(_explain(kind, problem)) for problem in e.errors()[:MOST_MISTAKES_SHOWN]]
        more = e.error_count() - len(lines)
        lines += [f"... and {more} more"] if more else []
        raise UserError(f"{source}: " + f"\n{source}: ".join(lines)) from e


def _explain(kind: type[Section], problem: Any) -> str:
    location, known = _place(kind, problem["loc"])
    key = ".".join(location)
    if problem["type"] == "extra_forbidden":
        close = difflib.get_close_matches(location[-1], known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known)}"
        return f"unknown key {key!r}; {hint}"
    if problem["type"] == "missing":
        return f"key {key!r} is missing"
    reason = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "string_type" and isinstance(problem["input"], int | float):
        reason += "; put it in quotes, as it is written in the corpus"
    return f"{key} = {problem['input']!r}: {reason}" if key else reason


def _place(kind: type[Section], location: Sequence[str | int]) -> tuple[list[str], list[str]]:
    """The keys that lead to a problem, as the user wrote them, and the legal keys at that place.

    Pydantic puts the chosen variant of a union between the keys; nobody wrote that.
    """
    written, known = [], list(kind.model_fields)
    variants: list[type[Section]] = [kind]
    chosen = False  # whether the variant of a union is settled
    for part in map(str, location):
        if len(variants) > 1 and not chosen and part in [section.variant for section in variants]:
            variants = [section for section in variants if section.variant == part]
            chosen, known = True, list(variants[0].model_fields)
            continue
        fields = [section.model_fields[part] for section in variants if part in section.model_fields]
        known = [name for section in variants for name in section.model_fields]
        written.append(part)
        if fields:
            variants, chosen = _sections(fields[0].annotation) or variants, False
    return written, known


def _sections(annotation: Any) -> list[type[Section]]:
    """The sections inside an annotation such as `Annotated[A | B, ...] | None` or `list[A]`."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [section for argument in get_args(annotation) for section in _sections(argument)]


class _Strict(yaml.SafeLoader):
    """YAML in which a key that stands twice is a mistake, not the last one's victory, and aliases stay small."""

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None:
            self._spelt_out(node, {})
        return node

    def _spelt_out(self, node: yaml.Node, sizes: dict[yaml.Node, int]) -> int:
        """How many values there would be if each alias were written out; they may double with every line."""
        if node not in sizes:
            sizes[node] = MOST_VALUES + 1  # for one that holds itself
            inner = node.value if isinstance(node, yaml.CollectionNode) else []
            inner = [part for pair in inner for part in pair] if isinstance(node, yaml.MappingNode) else inner
            sizes[node] = 1 + sum(self._spelt_out(part, sizes) for part in inner)
            if sizes[node] > MOST_VALUES:
                raise yaml.YAMLError(f"more than {MOST_VALUES:,} values, or aliases that hold themselves")
        return sizes[node]

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value if key.tag != MERGE]
        values = super().construct_mapping(node, deep)  # which refuses what can't be a key
        twice = [key for key, count in Counter(keys).items() if count > 1]
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice[0]!r} stands twice", node.start_mark)
        return values


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        UserError: the file is missing, can't be read, is no YAML, or no mapping of names.
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Strict)
    except FileNotFoundError as e:
        raise UserError(f"{path}: no such file") from e
    except OSError as e:
        raise UserError(f"{_shortened(path)}: can't be read ({e.strerror}); expected a YAML file") from e
    except RecursionError as e:
        raise UserError(f"{path}: not valid YAML: it is nested too deeply") from e
    except (yaml.YAMLError, ValueError) as e:  # the latter from dates and numbers that are none, and NULs in a path
        raise UserError(f"{_shortened(path)}: not valid YAML: {_shortened(e)}") from e
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected keys with values, found {type(values).__name__}")
    odd = [key for key in values if not isinstance(key, str)]
    if odd:
        raise UserError(f"{path}: the key {odd[0]!r} is no name; put it in quotes if it should be one")
    return values


def with_nulls(values: Any) -> Any:
    """The same with None for the text "null": what reads every value as text, as Snakemake's --config, has no other."""
    if isinstance(values, Mapping):
        return {key: with_nulls(value) for key, value in values.items()}
    if isinstance(values, list):
        return [with_nulls(value) for value in values]
    return None if values == "null" else values


def _shortened(told: object) -> str:
    """For messages: text of any length, of which the beginning says enough."""
    text = str(told)
    return text if len(text) <= LONGEST_TOLD else f"{text[:LONGEST_TOLD]}..."


def settings(kind: type[S], text: str | None) -> S:
    """Read one section from the command line.

    Args:
        kind: the section's class.
        text: JSON text, the path of a YAML file, or None for the defaults.
    """
    return parse(kind, *said(kind.__name__, text))


def said(what: str, text: str | None) -> tuple[dict[str, Any], str]:
    """Keys and values given on the command line, and where they stand, for messages.

    Args:
        what: the section's name.
        text: JSON text, the path of a YAML file, or None for no keys at all.
    """
    if text is None:
        return {}, f"{what} (defaults)"
    if not text.lstrip().startswith("{"):
        return read_yaml(Path(text)), text
    try:
        return json.loads(text), f"{what} (JSON)"
    except (ValueError, RecursionError) as e:  # a number of 5,000 digits is no JSONDecodeError
        raise UserError(f"{what}: not valid JSON: {e}") from e
