"""What an original layout of weights has to say to be turned into a native one."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from mse.config import Section


class OriginalConfig(Section):
    """The keys of an original config.json that matter here; the others are passed over."""

    model_config = Section.model_config | {"extra": "ignore"}


@dataclass(frozen=True)
class Move:
    """Where a tensor goes.

    Attributes:
        source: its name in the original; {i} stands for a layer's number, {kind} for weight or bias.
        targets: its native names; none for a buffer that is computed anew.
        rows: rows for each target, where one tensor is split into several.
    """

    source: str
    targets: tuple[str, ...] = ()
    rows: tuple[int, ...] = ()

    def matched(self, name: str) -> tuple[str, ...] | None:
        """The native names for a tensor of this name, or None where it is another tensor."""
        pattern = re.escape(self.source).replace(r"\{i\}", r"(?P<i>\d+)").replace(r"\{kind\}", r"(?P<kind>weight|bias)")
        found = re.fullmatch(pattern, name)
        return tuple(target.format(**found.groupdict()) for target in self.targets) if found else None

    def parts(self, tensor: Any) -> Iterator[Any]:
        """The rows of a tensor for each target; views, so nothing is read."""
        return iter(tensor.split(self.rows) if self.rows else [tensor])


class Layout(ABC):
    """An original layout of weights and tokenizer.

    Args:
        config: content of config.json.
        source: its path, for messages.

    Raises:
        UserError: a key is missing, or says something that the native architecture can't do.
    """

    model_type: ClassVar[str]  # of config.json
    tokenizer_file: ClassVar[str]

    @abstractmethod
    def __init__(self, config: dict[str, Any], source: str) -> None: ...

    @property
    @abstractmethod
    def moves(self) -> list[Move]:
        """Every tensor that the original may hold."""

    @abstractmethod
    def native_config(self) -> Any:
        """The transformers configuration of the same model."""

    @abstractmethod
    def tokenizer(self, folder: Path) -> Any:
        """A fast tokenizer (transformers) with the original's ids.

        Raises:
            UserError: the tokenizer's file is missing or damaged.
        """
