"""The one exception type whose message is meant for the user, shown without a traceback."""


class UserError(Exception):
    """Bad input or a missing piece; the message names it, says what was expected and what to do."""
