"""What decoding one recording may cost, in time and in pixels; one that asks for more is given up, and named."""

DECODE_S = 60.0  # time that a decoder may take, whatever comes out,
DECODE_S_PER_S = 30.0  # and for each second of sound or pictures that came out
MOST_PIXELS = 8192 * 4352  # of a picture: 8K; as 8 bits in three colours 107 MB
MOST_MISSING = 10.0  # a header that tells more than this many times the true length is wrong, and the file not cut off
LONGEST_S = 7 * 24 * 3600.0  # that a file may last


class TimeLimit:
    """Counts the time that a decoder takes.

    What is counted is the decoder's work, or waiting in steps while the job itself runs: neither a busy machine nor a
    job that was stopped for a while is a fault of the file's.
    """

    def __init__(self) -> None:
        self._spent_s = 0.0

    def spend(self, seconds: float, decoded_s: float) -> None:
        """Count some more time.

        Args:
            seconds: taken since the last call.
            decoded_s: seconds of sound or pictures that came out so far.

        Raises:
            TimeoutError: it is too much for what came out.
        """
        self._spent_s += seconds
        allowed_s = DECODE_S + DECODE_S_PER_S * decoded_s
        if self._spent_s > allowed_s:
            raise TimeoutError(
                f"given up: decoding took more than {allowed_s:g} s, the limit for the {decoded_s:.1f} s that came out"
            )
