"""Progress of long loops: a bar on a terminal, now and then a plain line in a log."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
LOG_EVERY_S = 10.0
bars = True  # on a terminal; not where several processes share one


def track(items: Iterable[T], what: str, total: int, unit: str = "clips") -> Iterator[T]:
    """Pass items through and show how far they are.

    Args:
        items: what to loop over.
        what: a few words, such as "acoustic 0003".
        total: how many items there will be.
        unit: what the items are.
    """
    if bars and sys.stderr.isatty():
        yield from tqdm(items, desc=what, total=total, unit=f" {unit}", leave=True)
        return
    said = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        if time.monotonic() - said > LOG_EVERY_S:
            said = time.monotonic()
            say(f"{what}: {done} of {total} {unit}")


def say(line: str) -> None:
    """One plain line on standard error, at once."""
    print(line, file=sys.stderr, flush=True)
