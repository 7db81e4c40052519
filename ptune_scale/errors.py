"""The one exception that means "tell the user, in one line, and stop"."""


class UserError(Exception):
    """What was asked cannot be done as asked.

    The message is one line that says what was wrong and what to do about it.
    Launchers print it without a traceback and exit with status 2.
    """
