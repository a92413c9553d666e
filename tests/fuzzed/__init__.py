"""Everything that reads files which users bring: what it reads when all is well, and how its files are changed."""

from collections.abc import Callable
from pathlib import Path

from tests.fuzzed.hdf5 import shards
from tests.fuzzed.pickled import pickles, weights
from tests.fuzzed.text import configuration, own_tables, tables
from tests.fuzzing import Readers

GROUPS: dict[str, Callable[[Path], Readers]] = {
    "tables": tables,
    "configuration": configuration,
    "own tables": own_tables,
    "shards": shards,
    "pickles": pickles,
    "weights": weights,
}
