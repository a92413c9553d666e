"""One typed, closed definition of every configuration file.

`Config` is config/config.yaml, `Dataset` is a file in config/datasets/, `Backbone` one in config/backbones/.
Unknown keys, wrong types and impossible values raise a UserError that names file, key, value and choices.
"""

from mse.config.backbone import Backbone
from mse.config.dataset import (
    Classes,
    Columns,
    Cut,
    Dataset,
    Exclusion,
    HashSplit,
    Intensity,
    Released,
    Table,
    Task,
    ValueSplit,
)
from mse.config.files import (
    Experiment,
    find,
    known_names,
    load_backbone,
    load_dataset,
    load_variant,
    segment_settings,
    write_schemas,
)
from mse.config.section import Section, parse, read_yaml, settings
from mse.config.settings import (
    AcousticSettings,
    AdapterSettings,
    AssembleSettings,
    Config,
    Decoding,
    FacialSettings,
    Overlay,
    SegmentSettings,
    TrainSettings,
    TranscribeSettings,
    Variant,
)

__all__ = [
    "AcousticSettings",
    "AdapterSettings",
    "AssembleSettings",
    "Backbone",
    "Classes",
    "Columns",
    "Config",
    "Cut",
    "Dataset",
    "Decoding",
    "Exclusion",
    "Experiment",
    "FacialSettings",
    "HashSplit",
    "Intensity",
    "Overlay",
    "Released",
    "Section",
    "SegmentSettings",
    "Table",
    "Task",
    "TrainSettings",
    "TranscribeSettings",
    "ValueSplit",
    "Variant",
    "find",
    "known_names",
    "load_backbone",
    "load_dataset",
    "load_variant",
    "parse",
    "read_yaml",
    "segment_settings",
    "settings",
    "write_schemas",
]
