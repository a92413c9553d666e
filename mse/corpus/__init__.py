"""From a corpus as it lies on the disk to the manifest: one row a clip, checked, with its shard."""

from mse.corpus.build import Corpus, read_corpus, require_root, say_corpus
from mse.corpus.manifest import (
    EXTRACTION_COLUMNS,
    MANIFEST_COLUMNS,
    SPLITS,
    read_excluded,
    read_manifest,
    shard_files,
    write_manifest,
)

__all__ = [
    "EXTRACTION_COLUMNS",
    "MANIFEST_COLUMNS",
    "SPLITS",
    "Corpus",
    "read_corpus",
    "read_excluded",
    "read_manifest",
    "require_root",
    "say_corpus",
    "shard_files",
    "write_manifest",
]
