"""The one exception that means "tell the user, in one line, and stop"."""


class UserError(Exception):
    """What was asked cannot be done as asked.

    The message is one line that says what was wrong and what to do about it.
    Launchers print it without a traceback and exit with status 2.
    """


_LONGEST_LINE = 2000


def in_one_line(error: UserError) -> str:
    """The message as it is printed: some quote what somebody typed or wrote into a file."""
    line = " ".join(str(error).splitlines())
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}..."
