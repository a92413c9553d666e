"""Between a label and the text that the LLM is to write."""

import math
import re
from dataclasses import dataclass
from typing import Protocol

from mse.config import Classes, Intensity, Task

NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


class LabelText(Protocol):
    """How labels of a task are written; a label is an intensity, or a class's place in the order."""

    def write(self, value: float) -> str:
        """The text of a label."""

    def read(self, answer: str) -> float | None:
        """The label that an answer states, or None where it states none."""

    def legal(self) -> list[str]:
        """Every text that `write` can give, in the labels' order."""

    def weights(self, value: float, spread: float) -> list[float]:
        """How right each of the K legal texts is for a label: its own 1, and others the less, the farther they are.

        Args:
            value: the label.
            spread: deviation, as a share of the labels' range; 0: its own text alone is right.

        Returns:
            K weights in the order of `legal`.
        """


def label_text(task: Task, explicit_plus: bool) -> LabelText:
    """How the labels of a task are written for a backbone."""
    return ClassText(task) if isinstance(task, Classes) else IntensityText(task, explicit_plus)


@dataclass(frozen=True)
class ClassText:
    """Classes as their names, or as their numbers in the order.

    Attributes:
        task: classes and which of the two is written.
    """

    task: Classes

    def write(self, value: float) -> str:
        """The class's name or number."""
        return self.legal()[int(value)]

    def read(self, answer: str) -> float | None:
        """The class's place in the order, or None where the answer is none of the legal texts."""
        legal = [text.casefold() for text in self.legal()]
        text = answer.strip().casefold()
        return float(legal.index(text)) if text in legal else None

    def weights(self, value: float, spread: float) -> list[float]:
        """The class alone, for classes have no distance."""
        return [float(text == self.write(value)) for text in self.legal()]

    def legal(self) -> list[str]:
        """The text of every class, in order."""
        names = self.task.names
        return names if self.task.answer == "name" else [str(index) for index in range(len(names))]


@dataclass(frozen=True)
class IntensityText:
    """Intensities as text with a fixed number of decimals, such as -1.2.

    Attributes:
        task: range and decimals.
        explicit_plus: write +1.2 instead of 1.2, so that every answer starts with its sign.
    """

    task: Intensity
    explicit_plus: bool

    def write(self, value: float) -> str:
        """The text of a label, rounded to the task's decimals; zero has no minus."""
        rounded = round(value, self.task.decimals) + 0.0  # + 0.0 turns -0.0 into 0.0
        sign = "+" if self.explicit_plus else "-"
        return format(rounded, f"{sign}.{self.task.decimals}f")

    def read(self, answer: str) -> float | None:
        """The intensity that an answer states, or None where it is not one number within the range."""
        text = answer.strip()
        if not NUMBER.fullmatch(text):
            return None
        value = float(text)
        return value if self.task.low <= value <= self.task.high else None

    def weights(self, value: float, spread: float) -> list[float]:
        """A Gaussian around the label as it is written, of neighbours that are legal on both of its sides.

        A Gaussian cut off at one side would have another mean than the label, and `expected` would learn that.
        """
        if not spread:
            return [float(text == self.write(value)) for text in self.legal()]
        centre, sd = float(self.write(value)), spread * (self.task.high - self.task.low)
        reach = min(centre - self.task.low, self.task.high - centre) + 1e-9
        away = [abs(float(text) - centre) for text in self.legal()]
        return [math.exp(-0.5 * (distance / sd) ** 2) if distance <= reach else 0.0 for distance in away]

    def legal(self) -> list[str]:
        """Every text that `write` can give, from the least label to the greatest."""
        scale = 10**self.task.decimals
        return [
            self.write(step / scale) for step in range(round(self.task.low * scale), round(self.task.high * scale) + 1)
        ]
