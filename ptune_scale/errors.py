"""The one exception that means "tell the user, in one line, and stop"."""

_LONGEST_LINE = 2000


class UserError(Exception):
    """What was asked cannot be done as asked.

    The message is one line that says what was wrong and what to do about it; line breaks in it, of
    a file's name or of what a library says, become spaces. Launchers print it without a traceback
    and exit with status 2.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))

    @property
    def line(self) -> str:
        """The message as it is printed: what it quotes may be as long as a file."""
        text = str(self)
        return text if len(text) <= _LONGEST_LINE else f"{text[:_LONGEST_LINE]}..."


class PartlyDone(UserError):
    """What was asked was right, and some of it is done; the message says what is not."""
