"""The one exception type whose message is meant for the user, shown without a traceback."""

# What MediaPipe and OpenCV's wheels take for granted; a bare Debian or Ubuntu has none of them.
SYSTEM_PACKAGES = "libegl1 libgles2 libgl1 libglib2.0-0"
MISSING_LIBRARY = f"a system library is missing; on Debian and Ubuntu: apt-get install {SYSTEM_PACKAGES}"


class UserError(Exception):
    """Bad input or a missing piece; the message names it, says what was expected and what to do."""


def describe_error(error: Exception) -> str:
    """An exception of a library's in one line."""
    return " ".join(str(error).split()) or type(error).__name__
