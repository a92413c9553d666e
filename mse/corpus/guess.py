"""A first YAML file for a corpus, guessed from its folder and tables: `mse corpus new`."""

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import yaml

from mse import media
from mse.config import Dataset, Table
from mse.config.files import RELEASED_SUFFIX
from mse.config.section import parse
from mse.corpus.delimited import OTHERS
from mse.corpus.encoding import MARKS, apart, rank_encodings
from mse.corpus.label_column import MOST_CLASSES, find_label, is_like_label, named
from mse.corpus.language import guess_language
from mse.corpus.media_template import ROWS_LOOKED_AT, count_files, guess_media_template
from mse.corpus.numbers import NUMBER, plain_numbers
from mse.corpus.sources import Row, read_rows, walk
from mse.errors import UserError
from mse.media_types import describe_skipped, is_medium
from mse.progress import say
from mse.provenance import SUFFIX as RECORD
from mse.templates import Template

TABLES = {".csv", ".tsv", ".tab", ".txt", ".json", ".jsonl"}
SPLIT_WORDS = {
    "train": "train",
    "valid": "valid",
    "validation": "valid",
    "dev": "valid",
    "val": "valid",
    "test": "test",
}
NAME = re.compile(r"[\w.-]+")  # what a part of a path in the workflow may be
ID = re.compile(r"[\w./\\:+-]{1,100}")  # no sentence
SPREADSHEETS = {".xlsx", ".xlsm", ".xls", ".ods"}


def new(name: str, root: Path) -> str:
    """The text of a YAML file for a folder.

    Args:
        name: the corpus's name.
        root: its folder.

    Returns:
        YAML in which everything that was guessed is marked so.

    Raises:
        UserError: the folder is missing, or holds neither media nor tables.
    """
    if not NAME.fullmatch(name) or name.endswith(RELEASED_SUFFIX):
        raise UserError(
            f"{name!r} is not a valid corpus name: use letters, digits, dots, dashes and underscores; names "
            f"that end in {RELEASED_SUFFIX} are reserved for precomputed features"
        )
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; --root names the corpus's folder")
    skipped: list[str] = []
    paths = walk(root, skipped)
    files = [path for path in paths if is_medium(path)]
    tables = [path for path in paths if Path(path).suffix.lower() in TABLES and not path.endswith(RECORD)]
    if not files:
        there = f"; there are {said}" if (said := describe_skipped([*paths, *skipped])) else ""
        raise UserError(f"{root}: no video or sound file in it or below it, by the ending of its name{there}")
    head = [
        "# yaml-language-server: $schema=../../workflow/schemas/dataset.schema.json",
        f"# {name}: {len(files)} media files. Lines marked `guess` want a look; then run `mse corpus check {name}`.",
        'source: "" # where others can ask for the corpus',
        'license: ""',
        f"root: {_quoted(str(root))}",
    ]
    groups, unread = _read_tables(root, tables)
    sheets = [path for path in paths if Path(path).suffix.lower() in SPREADSHEETS]
    unread += [f"{path}: a spreadsheet; save it as CSV (UTF-8) to use it" for path in sheets]
    guesses = [_from_tables(group, files) for group in groups]
    best = max(guesses, key=lambda found: found[0], default=(0.0, []))
    for group, guess in zip(groups, guesses, strict=True):
        if not guess[0] and not group[0].table.file.lower().endswith(".txt"):
            unread.append(f"{group[0].table.file}: {' '.join(guess[1])}")
    body = best[1] if best[0] > 0 else _from_files(files)
    comments = [f"# not used: {' '.join(reason.split())}" for reason in unread]
    chosen = groups[guesses.index(best)] if best[0] > 0 else []
    used = {read.table.file for read in chosen}
    texts = {path for path in tables if path.lower().endswith(".txt") and _escaped(path) not in used}
    known = {*files, *tables} - texts
    skipped += [path for path in paths if path not in known and not path.endswith(RECORD)]
    if passed_over := describe_skipped(skipped):
        comments.append(f"# passed over: {passed_over}")
        say(f"{root}: passed over {passed_over}")
    text = "\n".join([*head, *comments, *body, *_modalities(root, files)]) + "\n"
    if "text_from: asr" not in text and "\n  text:" not in text:
        text += "text_from: asr # no column holds what is said: it will be recognised\n"
    return text


def _quoted(text: str) -> str:
    """A YAML scalar that reads back as this text."""
    return text if re.fullmatch(r"[A-Za-z_./][\w./-]*", text) else json.dumps(text, ensure_ascii=False)


def _escaped(path: str) -> str:
    """A path as `file` of a table, where braces hold names."""
    return path.replace("{", "{{").replace("}", "}}")


class Read(NamedTuple):
    """A table that was read.

    Attributes:
        table: how.
        rows: what it holds.
        doubt: why its encoding is a guess; "" where it says so itself.
        remarks: what was passed over or mended.
    """

    table: Table
    rows: list[Row]
    doubt: str
    remarks: list[str]


def _read_tables(root: Path, paths: list[str]) -> tuple[list[list[Read]], list[str]]:
    """Tables with their rows, those with the same columns together, and why others could not be read."""
    groups: dict[tuple[str, ...], list[Read]] = {}
    unread = []
    for path in paths:
        found = _read_table(root, path)
        if isinstance(found, Read):
            groups.setdefault(tuple(found.rows[0].cells), []).append(found)
        elif Path(path).suffix.lower() != ".txt":  # most of which are no tables
            unread.append(found)
    return [_by_split(group) for group in groups.values()], unread


def _read_table(root: Path, path: str) -> Read | str:
    """A table as the first delimiter that fits it separates its cells, or why none does."""
    file = _escaped(path)
    try:
        readings = apart(rank_encodings((root / path).read_bytes()))
    except OSError as e:
        return f"{path}: {e.strerror}"
    encoding: dict[str, str] = {}
    doubt = ""
    if readings and readings[0].encoding not in ("utf-8", *MARKS.values()):
        encoding = {"encoding": readings[0].encoding}
        doubt = "guess" + (f": its text reads {readings[0].example!r}" if readings[0].example else "")
        if len(readings) > 1:
            doubt += f"; as {readings[1].encoding} it would be {readings[1].example!r}"
    reasons = []
    for way in ({}, *({"delimiter": mark} for mark in OTHERS)):
        table = Table(file=file, **way, **encoding)
        remarks: list[str] = []
        try:
            rows = read_rows(Dataset(root=root, tables=[table], text_from="asr"), remarks)
        except UserError as e:
            reasons.append(str(e))
            continue
        if len(rows[0].cells) == 1 and not way:
            reasons.append(f"{path}: it has one column alone")
            continue
        if any(NUMBER.fullmatch(name) or is_medium(name) for name in rows[0].cells):
            reasons.append(f"{path}: its first line looks like a clip, not like names; give the table its `header`")
            continue
        if len(rows[0].cells) > 1:
            return Read(table, rows, doubt, remarks)
    return reasons[0]


def _by_split(group: list[Read]) -> list[Read]:
    """Tables whose names say train, dev and test get that as a column."""
    words = [[w for w in re.split(r"[\W_]+", read.table.file.lower()) if w in SPLIT_WORDS] for read in group]
    if len(group) == 1 or "split" in group[0].rows[0].cells or any(len(set(found)) != 1 for found in words):
        return group[:1]
    named = []
    for read, found in zip(group, words, strict=True):
        values = {"split": found[0]}
        with_split = [Row(row.source, row.place, {**row.cells, **values}) for row in read.rows]
        named.append(read._replace(table=read.table.model_copy(update={"values": values}), rows=with_split))
    return named


def _from_tables(group: list[Read], files: list[str]) -> tuple[float, list[str]]:
    """How many of the rows of tables lead to a media file (0 to 1), and the YAML for it; at 0, why none does."""
    rows = [row for read in group for row in read.rows]
    columns = list(rows[0].cells)
    values = {column: [row.cells.get(column, "") for row in rows] for column in columns}
    label = find_label(values)
    found = {fact: named(columns, fact) for fact in ("clip_id", "text", "speaker", "start", "end", "split")}
    found["label"] = label
    usable = [name for name in columns if name != label and not is_like_label(name, values[name])]
    template = guess_media_template(rows, usable, files)
    problem = _problem(template.text, rows, files, found["start"])
    if template.share < 1 and len(usable) < len(columns):
        other = guess_media_template(rows, columns, files)
        if other.files > template.files:
            problem = _only_with_label(other.text, usable, rows[0])
    if problem:
        return 0.0, [problem]
    lines = ["tables:"]
    for read in group:
        lines.append(f"  - {_inline(read.table)}" + (f" # {read.doubt}" if read.doubt else ""))
        lines += [f"  # {remark}" for remark in read.remarks]
    lines.append("columns:")
    lines.append(f"  clip_id: {_clip_id(template.text, found, values)}")
    media_path = _quoted(_plain(template.text))
    lines.append(f"  media: {media_path} # guess: right for {100 * template.share:.0f} % of {template.rows} rows")
    for fact in ("start", "end", "speaker", "text", "label"):
        if found[fact]:
            by = "name" if named([str(found[fact])], fact) else "content"
            lines.append(f"  {fact}: {_quoted(str(found[fact]))} # guess, by its {by}")
    if found["split"]:
        lines += _split(str(found["split"]), values[str(found["split"])])
    elif label:
        kept = found["speaker"] or next(iter(Template(template.text).columns))
        lines.append(f"split: {{hash_of: {_quoted(kept)}, valid: 0.1, test: 0.2}} # guess: none of these in two splits")
    if label:
        lines += _task(values[label])
    if found["text"]:
        language = guess_language("\n".join(values[str(found["text"])][:ROWS_LOOKED_AT]))
        lines.append(f"language: {language or 'en'} # guess" + ("" if language else ": the texts do not tell"))
    return template.share, lines


def _problem(template: str, rows: list[Row], files: list[str], start: str | None) -> str:
    """Why a template for media is none; "" where it is one.

    Clips share a recording where the table has their starts, or where there are far fewer recordings than rows.
    """
    if not template:
        return "no column tells which media file is meant"
    hits, led_to = count_files(template, rows, files)
    is_path = _plain(template) != template and any(is_medium(row.cells[_plain(template)]) for row in rows)
    if start or is_path or led_to >= min(hits, len(files)) / 2:
        return ""
    return f"no columns tell which media file is meant: {template} leads {hits} rows to {led_to} of {len(files)} files"


def _only_with_label(template: str, usable: Collection[str], row: Row) -> str:
    """That a path would need a label."""
    name = next(column for column in Template(template).columns if column not in usable)
    return (
        f"no column tells which media file is meant: only {name!r} would complete a path "
        f"({Template(template).fill(row.cells)}), and it looks like a label, from which no path is built; add a column "
        "with the path, or write `media` yourself"
    )


def _inline(table: Table) -> str:
    """A table's YAML on one line."""
    values = table.model_dump(exclude_defaults=True)
    return yaml.safe_dump(values, default_flow_style=True, allow_unicode=True, sort_keys=False, width=1000).strip()


def _plain(template: str) -> str:
    """A template of one column alone as that column's name."""
    return template[1:-1] if re.fullmatch(r"\{[^{}:]+\}", template) else template


def _clip_id(template: str, found: Mapping[str, str | None], values: Mapping[str, list[str]]) -> str:
    """The YAML for the clips' ids: a column that is unique, or the template's columns where they are so together."""

    def is_id(name: str) -> bool:
        return len(set(values[name])) == len(values[name]) and all(ID.fullmatch(cell) for cell in values[name])

    column = found["clip_id"]
    if column and len(set(values[column])) == len(values[column]):
        return f"{_quoted(column)} # guess: unique"
    names = list(dict.fromkeys(Template(template).columns))
    together = list(zip(*(values[name] for name in names), strict=True))
    if len(set(together)) < len(together):
        taken = [found[fact] for fact in ("text", "label", "start", "end", "speaker", "split")]
        single = next((name for name in values if name not in taken and is_id(name)), None)
        return (
            f"{_quoted(single)} # guess: unique" if single else f"{_quoted(names[0])} # guess: NOT unique; add a column"
        )
    if len(names) == 1:
        return f"{_quoted(names[0])} # guess: unique"
    return f"{json.dumps('_'.join(f'{{{name}}}' for name in names), ensure_ascii=False)} # guess: unique together"


def _split(column: str, values: list[str]) -> list[str]:
    """Splits by a column: words such as Dev go where they belong, others are left to the reader."""
    known = sorted(set(values))
    lists = {name: [v for v in known if SPLIT_WORDS.get(v.lower()) == name] for name in ("train", "valid", "test")}
    unknown = [value for value in known if value.lower() not in SPLIT_WORDS]
    if not unknown and all(value == value.lower() for value in known) and "validation" not in known:
        return [f"split: {{by: {_quoted(column)}}}"]
    lines = ["split: # guess", f"  by: {_quoted(column)}"]
    lines += [f"  {name}: {json.dumps(found, ensure_ascii=False)}" for name, found in lists.items()]
    return lines + ([f"  # say where these go, or exclude them: {', '.join(unknown[:20])}"] if unknown else [])


def _task(values: list[str]) -> list[str]:
    """A task for labels such as these: numbers are intensities, a few words are classes."""
    values = [value for value in values if value]
    try:
        numbers = [float(plain_numbers(value)[0]) for value in values or ["none"]]
    except IndexError:
        classes = sorted(set(values))
        if len(classes) > MOST_CLASSES or len(classes) < 2:
            return [f"# no task: the labels are {len(classes)} different texts"]
        lines = ["task: # guess", "  kind: classes", "  classes: # in alphabetical order"]
        lines += [
            f"    {json.dumps(name, ensure_ascii=False)}: [{json.dumps(name, ensure_ascii=False)}]" for name in classes
        ]
        return [*lines, 'prompt: "\\nEmotion:" # guess']
    low, high = min(numbers), max(numbers)
    if low >= -1 and high <= 1:
        low, high, metrics = -1.0, 1.0, "sims"
    elif low >= -3 and high <= 3:
        low, high, metrics = -3.0, 3.0, "mosei"
    else:
        metrics = "mosei"
    task = (
        f"task: {{kind: intensity, low: {low:g}, high: {high:g}, metrics: {metrics}}} # guess: labels lie in this range"
    )
    return [task, 'prompt: "\\nSentiment:" # guess']


def _from_files(files: list[str]) -> list[str]:
    """YAML for a folder without a table: parts of the names, where all have as many; else the whole path."""
    for mark in "-_":
        parts = [Path(path).stem.split(mark) for path in files]
        count = len(parts[0])
        if count > 1 and all(len(part) == count for part in parts):
            names = mark.join(f"{{part{i + 1}}}" for i in range(count))
            pattern = json.dumps("{folder,(?:.*/)?}" + names + ".{ending}")
            lines = [f"files: {pattern} # guess: give the parts telling names"]
            for i in range(count):
                values = sorted({part[i] for part in parts})
                some = ", ".join(values[:8]) + (", ..." if len(values) > 8 else "")
                lines.append(f"# part{i + 1}: {len(values)} values ({some})")
            alone = len({Path(path).stem for path in files}) == len(files)
            return [*lines, "columns:", "  media: file", f"  clip_id: {'stem' if alone else 'name'}"]
    lines = ['files: "{path}.{ending}" # any video or sound file', "columns: {clip_id: name, media: file}"]
    return [*lines, "# Long recordings? cut: {at: sentences} makes utterances of them."]


def _modalities(root: Path, files: list[str]) -> list[str]:
    """What the first files hold."""
    probed = []
    for path in files[:5]:
        try:
            probed.append(media.probe(root / path))
        except media.MediaError:
            continue
    heard, seen = any(info.has_audio for info in probed), any(info.has_video for info in probed)
    names = [*(["acoustic"] if heard else []), *(["facial"] if seen else []), "text"]
    return [f"modalities: [{', '.join(names)}] # guess: streams of the first files"]


def write_new(name: str, root: Path, out: Path) -> None:
    """Write a guessed YAML file.

    Raises:
        UserError: the file is there already, or the guess is no valid description (the message holds it).
    """
    if out.exists():
        raise UserError(f"{out}: is there already; choose another name, or delete it first")
    text = new(name, root)
    parse(Dataset, yaml.safe_load(text), f"guessed {out}")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
