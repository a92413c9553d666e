"""Mutations of files that users bring, and a process of its own that reads them: it may crash, hang or eat memory.

`python -m tests.fuzzing GROUP COUNT FOLDER [READER CASE]` prints a line of JSON for each case that ends in anything
else than a result or a UserError. Every case has a number; the same number makes the same file.
"""

import contextlib
import copy
import json
import os
import random
import resource
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from mse.errors import UserError

LONGEST_S = 30  # of CPU time for one case
MOST_BYTES = 3 << 30  # of private memory in all; and one case may take no more than
MOST_GROWTH_KB = 1 << 20
LARGEST = 8 << 20  # bytes of a file; repeated lines repeated again are no new case
LONGEST_MESSAGE = 100_000  # characters

Read = Callable[[Path], object]
Mutator = Callable[[random.Random, bytes], bytes]


@dataclass(frozen=True)
class Reader:
    """Something that reads what users bring.

    Attributes:
        seeds: valid files by their paths; those named in `mutated` are changed, one a case.
        read: reads them; gets their folder.
        mutated: which; none given: all.
        mutators: how; one is drawn for each change.
    """

    seeds: dict[str, bytes]
    read: Read
    mutators: tuple[Mutator, ...]
    mutated: tuple[str, ...] = ()


Readers = dict[str, Reader]


TOKENS = [
    *("", "\0", "\ufeff", "\x1b[2J", "\u202e", "é" * 300, "NaN", "-inf", "1e999", "9" * 5000, "-1", "0x10", "1_000"),
    *("../../../etc/passwd", "/etc/passwd", "..", "~", "~nobody-here/x", "a\\..\\b", "x" * 5000, "CON"),
    *(
        "$(touch pwned)",
        "`touch pwned`",
        "; touch pwned #",
        "| touch pwned",
        "'\"",
        "\n- x",
        "--out=pwned",
        "{x}",
        "{{",
    ),
    *("{0.__class__}", "{a:0>99999999999}", "{a!r}", "{a,(x+x+)+y}", "{a,[}", "%s%n", '=cmd|"/c calc"!A0', "@SUM(1)"),
    *("!!python/object/apply:os.system ['touch pwned']", "!!binary x", "!!timestamp 2024-99-99", "&a [*a]", "*gone"),
    *("<<: *gone", "? [a]", "1:2:3", "2024-02-31", "null", "true", "[", "{", "}", '"', "'", ",", ";", "\t", "\r"),
]
ODD: list[Any] = [
    *(None, True, 0, -1, 10**400, 1.5, float("nan"), float("inf"), "", "\0", "x" * 10_000, "../../x", "/etc/passwd"),
    *("{", "{a:0>99999999999}", "~nobody-here", [], [[]], [None], ["a"] * 500, {}, {"": ""}, {"a": {"b": []}}, {1: 2}),
]


def flip(rng: random.Random, data: bytes) -> bytes:
    """One to eight bits."""
    changed = bytearray(data or b"\0")
    for _ in range(rng.randint(1, 8)):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut_off(rng: random.Random, data: bytes) -> bytes:
    """The beginning alone."""
    return data[: rng.randrange(len(data) + 1)]


def take_out(rng: random.Random, data: bytes) -> bytes:
    """Without some bytes."""
    start = rng.randrange(len(data) + 1)
    return data[:start] + data[start + rng.choice((1, 2, 8, 100)) :]


def put_in(rng: random.Random, data: bytes) -> bytes:
    """With some bytes more, or some twice."""
    start = rng.randrange(len(data) + 1)
    length = rng.choice((1, 2, 4, 8, 50))
    more = rng.choice((rng.randbytes(length), bytes(length), b"\xff" * length, data[start : start + length] * 2))
    return data[:start] + more + data[start:]


def overwrite(rng: random.Random, data: bytes) -> bytes:
    """Sizes and offsets that lie: 2, 4 or 8 bytes that are all ones, nearly so, zero, or random."""
    width = rng.choice((2, 4, 8))
    start = rng.randrange(max(1, len(data) - width))
    lie = rng.choice((b"\xff" * width, b"\xff" * (width - 1) + b"\x7f", bytes(width), rng.randbytes(width)))
    return data[:start] + lie + data[start + width :]


BYTES: tuple[Mutator, ...] = (flip, flip, cut_off, take_out, put_in, overwrite)


def token(rng: random.Random, data: bytes) -> bytes:
    """A token that means something to some reader, put in or put in place of a word."""
    start = rng.randrange(len(data) + 1)
    end = start + rng.choice((0, 0, 1, 6))
    return data[:start] + rng.choice(TOKENS).encode() + data[end:]


def cell(rng: random.Random, data: bytes) -> bytes:
    """Another content of one cell of a table."""
    lines = data.split(b"\n")
    place = rng.randrange(len(lines))
    cells = lines[place].split(b",")
    cells[rng.randrange(len(cells))] = rng.choice(TOKENS).encode()
    lines[place] = b",".join(cells)
    return b"\n".join(lines)


def lines(rng: random.Random, data: bytes) -> bytes:
    """Lines swapped, left out, or repeated."""
    found = data.split(b"\n")
    a, b = rng.randrange(len(found)), rng.randrange(len(found))
    what = rng.randrange(3)
    if what == 0:
        found[a], found[b] = found[b], found[a]
    elif what == 1:
        del found[a]
    else:
        found[a:a] = [found[b]] * rng.choice((1, 3, 200))
    return b"\n".join(found)


def recode(rng: random.Random, data: bytes) -> bytes:
    """Another encoding, or other ends of lines."""
    text = data.decode("utf-8", errors="replace")
    encoding = rng.choice(("utf-16", "utf-8-sig", "cp1252", "utf-32", "utf-7", "utf-16-be"))
    return rng.choice((text, text.replace("\n", "\r"))).encode(encoding, errors="replace")


TEXT: tuple[Mutator, ...] = (flip, cut_off, take_out, put_in, token, token, lines, recode)
CSV: tuple[Mutator, ...] = (*TEXT, cell, cell, cell)


def swap_one(rng: random.Random, tree: Any, odd: list[Any]) -> Any:
    """A copy of nested dicts and lists with one thing in it replaced, left out or renamed."""
    if not isinstance(tree, dict | list):
        return rng.choice(odd)
    tree = copy.deepcopy(tree)
    holders = [tree]
    for holder in holders:
        inner = holder.values() if isinstance(holder, dict) else holder
        holders += [value for value in inner if isinstance(value, dict | list)]
    holders = [holder for holder in holders if holder]
    if not holders:
        return rng.choice(odd)
    holder = rng.choice(holders)
    key = rng.choice(list(holder)) if isinstance(holder, dict) else rng.randrange(len(holder))
    what = rng.randrange(8)
    if what == 0:
        del holder[key]
    elif what == 1 and isinstance(holder, dict):
        holder[rng.choice(TOKENS)] = holder.pop(key)
    elif what == 2:
        return rng.choice(odd)
    else:
        holder[key] = rng.choice((rng.choice(odd), rng.choice(TOKENS)) if odd is ODD else odd)
    return tree


def in_yaml(rng: random.Random, data: bytes) -> bytes:
    """One value of a YAML file."""
    if b"*" in data:  # aliases: what was put in before may be larger than memory
        return token(rng, data)
    try:
        tree = swap_one(rng, yaml.safe_load(data), ODD)
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError):  # mutated before
        return token(rng, data)
    return yaml.safe_dump(tree, allow_unicode=True).encode()


def in_json(rng: random.Random, data: bytes) -> bytes:
    """One value of a JSON file."""
    try:
        return json.dumps(swap_one(rng, json.loads(data), ODD)).encode()
    except (ValueError, RecursionError):  # mutated before
        return token(rng, data)


def bomb(rng: random.Random, data: bytes) -> bytes:
    """What is small on disk and large in memory, or nested deeply."""
    laughs = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    merged = "m0: &m0 {x: 1}\n" + "".join(f"m{n}: &m{n} {{<<: [*m{n - 1}, *m{n - 1}]}}\n" for n in range(1, 40))
    return rng.choice(
        (
            laughs.encode() + data,
            merged.encode() + data,
            data + b"\nroot: &r [*r]\n",
            b"tables: &t {file: *t}\n" + data,
            b"[" * 100_000,
            b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
            b"- " * 20_000 + b"x",
            b"{" * 3_000 + b"a: 1" + b"}" * 3_000,
            b"\n".join(b"k%d: 1" % n for n in range(20_000)),
            b",".join(b"c%d" % n for n in range(200_000)) + b"\n1,2\n",
            b"\n".join(b'{"k%d": 1}' % n for n in range(20_000)),
            b"[" + b",".join(b'{"k%d": 1}' % n for n in range(20_000)) + b"]",
            b'"' * 100_001,
            b"x" * 3_000_000,
        )
    )


YAML: tuple[Mutator, ...] = (*TEXT, in_yaml, in_yaml, in_yaml, in_yaml)
JSON: tuple[Mutator, ...] = (*TEXT, in_json, in_json, in_json)


class _TooLong(BaseException):
    """A case took more than LONGEST_S."""


def _too_long(signum: int, frame: FrameType | None) -> None:
    raise _TooLong(f"more than {LONGEST_S} s")


class Guard:
    """Notes whatever Python is asked to do that no reader may: run programs, use the network, write elsewhere."""

    NEVER = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.spawn", "subprocess.Popen", "socket.connect")
    CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.chmod", "os.truncate")

    def __init__(self, folder: Path) -> None:
        self.folder, self.active = os.path.realpath(folder), False
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.active:
            return
        if event in self.NEVER:
            self.seen.append(f"{event} {arguments!r}"[:200])
        elif event == "open":
            path, _, flags = arguments
            if isinstance(path, str | bytes) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                self._within(event, path)
        elif event in self.CHANGES:
            for path in arguments[:2] if event in ("os.rename", "os.symlink", "os.link") else arguments[:1]:
                if isinstance(path, str | bytes):
                    self._within(event, path)

    def _within(self, event: str, path: str | bytes) -> None:
        real = os.path.realpath(os.fsdecode(path))
        if real != "/dev/null" and os.path.commonpath([real, self.folder]) != self.folder:
            self.seen.append(f"{event} {real}")

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Look out while the block runs."""
        self.seen.clear()
        self.active = True
        try:
            yield
        finally:
            self.active = False


def case_files(name: str, reader: Reader, case: int) -> dict[str, bytes]:
    """The files of a case: one of the seeds is changed up to three times."""
    rng = random.Random(f"{name} {case}")
    files = dict(reader.seeds)
    target = rng.choice(reader.mutated or tuple(files))
    for _ in range(rng.choice((1, 1, 2, 3))):
        files[target] = rng.choice(reader.mutators)(rng, files[target])[:LARGEST]
    return files


def _write(folder: Path, files: dict[str, bytes]) -> None:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)


def _peak_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def attempt(reader: Reader, folder: Path, guard: Guard) -> tuple[str, bool]:
    """What is wrong with how a reader took what lies in the folder ("" where nothing is), and whether it was read."""
    before, wrong, read = _peak_kb(), "", False
    signal.setitimer(signal.ITIMER_PROF, LONGEST_S)
    try:
        with guard.watching(), warnings.catch_warnings(), open(os.devnull, "w") as nowhere:
            warnings.simplefilter("ignore")
            with contextlib.redirect_stderr(nowhere), contextlib.redirect_stdout(nowhere):
                reader.read(folder)
        read = True
    except UserError as e:
        wrong = f"a message of {len(str(e)):,} characters" if len(str(e)) > LONGEST_MESSAGE else ""
    except (Exception, _TooLong) as e:
        trace, where = e.__traceback__, ""
        while trace:
            if "/mse/" in (file := trace.tb_frame.f_code.co_filename):
                where = f"{file.rpartition('/mse/')[2]}:{trace.tb_lineno}"
            trace = trace.tb_next
        wrong = f"{type(e).__name__}: {str(e)[:200]} ({where})"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    if guard.seen:
        wrong += f" did {guard.seen[0]}"
    grown = _peak_kb() - before
    return wrong + (f" took {grown // 1024} MB" if grown > MOST_GROWTH_KB else ""), read


def main(group: str, count: int, folder: Path, only: str = "", case: int = -1) -> None:
    """Run the cases of a group's readers, in a folder of its own."""
    from tests.fuzzed import GROUPS

    signal.signal(signal.SIGPROF, _too_long)
    guard = Guard(folder)
    folder.mkdir(parents=True, exist_ok=True)
    readers = GROUPS[group](folder / "seeds")
    place = folder / "case"
    os.chdir(folder)
    for reader in readers.values():
        _write(place, reader.seeds)
        reader.read(place)  # the seeds are valid, and all that it imports is imported
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))
    for name, reader in readers.items():
        if only and name != only:
            continue
        read = 0
        for number in range(count) if case < 0 else [case]:
            shutil.rmtree(place, ignore_errors=True)
            (folder / "running").write_text(f"{name} {number}")  # for whoever finds this process dead
            _write(place, case_files(name, reader, number))
            wrong, done = attempt(reader, place, guard)
            read += done
            if wrong:
                print(json.dumps({"reader": name, "case": number, "wrong": wrong}), flush=True)
        print(json.dumps({"reader": name, "cases": count, "read": read}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:5], *map(int, sys.argv[5:6]))
