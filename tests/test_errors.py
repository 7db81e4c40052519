"""What is said of an error is one line, whatever it quotes."""

import pickle

from ptune_scale.errors import UserError


def test_a_message_is_one_line_and_what_is_printed_is_not_endless() -> None:
    error = UserError("file a\nb\r\nc\u2028d is missing" + "x" * 5000)
    assert str(error).startswith("file a b c d is missing")
    assert len(error.line) < 2010 and error.line.endswith("...")
    assert UserError("short").line == "short"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
