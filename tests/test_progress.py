"""Where there is no terminal, lines tell what goes on; on one, bars do."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable

import pytest

from ptune_scale import progress

_WAIT = 30.0


@pytest.fixture
def quick(monkeypatch) -> None:
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.01)


def until(said: Callable[[], str], what: str) -> str:
    """What has been said once it holds a text."""
    text, deadline = "", time.monotonic() + _WAIT
    while what not in text:
        assert time.monotonic() < deadline, text
        time.sleep(0.01)
        text += said()
    return text


def test_a_bar_is_lines_with_what_is_known_of_it(quick, capsys) -> None:
    with progress.bar("ptuning", 40, "records", shown=True, initial=4) as bar:
        bar.set_postfix({"step": "2/10", "loss": "1.25"})
        bar.update(6)
        text = until(lambda: capsys.readouterr().err, "25%")
    assert "ptuning: 25%, 10/40 records, step=2/10, loss=1.25, " in text
    assert " records/s, " in text and " left\n" in text


def test_lines_come_though_nothing_moves(quick, capsys) -> None:
    with progress.bar("answers", None, "records", shown=True):
        until(lambda: capsys.readouterr().err, "answers: 0 records")
        until(lambda: capsys.readouterr().err, "answers: 0 records")


def test_what_is_not_counted_is_told_with_the_time_it_has_taken(quick, capsys) -> None:
    with progress.doing("lama.py", shown=True):
        with progress.doing("loading the model", shown=True):
            until(lambda: capsys.readouterr().err, "loading the model: 00:0")
        with progress.bar("manual", 3, "records", shown=True):
            with progress.bar("again", 3, "records", shown=True):
                until(lambda: capsys.readouterr().err, "again: 0%")
            until(lambda: capsys.readouterr().err, "manual: 0%")
        until(lambda: capsys.readouterr().err, "lama.py: 00:0")
    assert not progress._pulse._going_on


def test_ranks_that_are_not_shown_say_nothing(capsys) -> None:
    with progress.doing("loading", shown=False), progress.bar("x", 3, "y", shown=False) as bar:
        bar.update(3)
        assert not progress._pulse._going_on
    assert capsys.readouterr().err == ""


def test_what_is_over_at_once_says_nothing(capsys) -> None:
    with progress.bar("x", 3, "y", shown=True) as bar:
        bar.update(3)
    assert capsys.readouterr().err == ""


def test_a_log_that_cannot_be_written_ends_nothing(quick) -> None:
    script = (
        "import sys, time\n"
        "from ptune_scale import progress\n"
        "progress._SECONDS_BETWEEN_LINES = 0.01\n"
        "with progress.bar('x', 3, 'y', shown=True) as bar:\n"
        "    time.sleep(0.1)\n"
        "print('done')\n"
    )
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=full, text=True
        )
    assert done.stdout == "done\n"


def on_a_terminal(script: str) -> str:
    """What a script writes to a terminal of 100 columns."""
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    of_terminal = {**os.environ, "TERM": "xterm"}
    command = [sys.executable, "-c", script]
    subprocess.run(command, env=of_terminal, stderr=other, check=True)
    os.close(other)
    text = os.read(main, 2**16).decode()
    os.close(main)
    return text


def test_a_terminal_gets_bars() -> None:
    script = (
        "from ptune_scale.progress import bar\n"
        "with bar('ptuning', 3, 'records', shown=True) as b:\n"
        "    b.set_postfix(loss='1.25')\n"
        "    b.update(3)\n"
    )
    text = on_a_terminal(script)
    assert "ptuning: 100%|" in text and "3/3" in text and "loss=1.25" in text


def test_several_tasks_are_a_table_on_a_terminal() -> None:
    script = (
        "from ptune_scale.board import Board, TaskState, board_console\n"
        "tasks = lambda: [TaskState('cb [x]', 2, 9, 1.25, 0.5, 'trains'),\n"
        "                 TaskState('rte', 0, 9, None, None, 'waits')]\n"
        "console = board_console()\n"
        "with Board(desc='ptuning', total=4, console=console, tasks=tasks) as board:\n"
        "    board.update(4)\n"
        "    board._live.refresh()\n"
    )
    text = on_a_terminal(script)
    assert "best on dev" in text and "waits" in text
    assert "cb [x]  2/9   1.25  0.500" in text
    # The table goes, the last line stays.
    assert "ptuning: 100%, 4/4" in text.rstrip().splitlines()[-1]


def test_where_a_table_cannot_be_redrawn_there_is_none() -> None:
    script = "from ptune_scale.board import board_console; assert board_console() is None"
    dumb = {**os.environ, "TERM": "dumb"}
    subprocess.run([sys.executable, "-c", script], env=dumb, check=True, stderr=subprocess.PIPE)
