"""Between a label and the text that the LLM is to write."""

import re
from dataclasses import dataclass

from mse.config import Intensity

NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


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

    def legal(self) -> list[str]:
        """Every text that `write` can give, from the least label to the greatest."""
        scale = 10**self.task.decimals
        return [
            self.write(step / scale) for step in range(round(self.task.low * scale), round(self.task.high * scale) + 1)
        ]
