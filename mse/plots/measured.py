"""What people read of quality.csv: what its columns are called, their units, how values are written."""

from typing import NamedTuple


class Measured(NamedTuple):
    """A column."""

    name: str
    unit: str
    form: str

    @property
    def title(self) -> str:
        """Name and unit, of an axis."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    def write(self, value: float) -> str:
        """A value with its unit."""
        return f"{value:{self.form}} {self.unit}".rstrip()


MEASURED = {
    "duration_s": Measured("duration", "s", ".1f"),
    "loudness_dbfs": Measured("loudness", "dBFS", ".1f"),
    "snr_db": Measured("signal to noise", "dB", ".0f"),
    "clipping": Measured("clipped", "of the sound", ".1%"),
    "facial_coverage": Measured("face seen", "of the pictures", ".0%"),
    "faces": Measured("faces at once", "", ".0f"),
    "speaking": Measured("the face speaks", "", ".2f"),
    "asr_confidence": Measured("probability of the words", "", ".2f"),
    "word_error_rate": Measured("word error rate", "", ".0%"),
    "speech_rate": Measured("speech rate", "words a second", ".1f"),
}
