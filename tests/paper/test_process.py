"""A job's process: its errors are shown and kept, and signals reach it."""

import os
import signal
import sys
import threading
import time

from ptune_scale.paper.process import Launcher, said


def test_what_a_job_says_is_shown_and_kept(tmp_path, capsys):
    code = "import sys; print('bar\\rlama.py: error: no such model', file=sys.stderr); sys.exit(2)"
    log = tmp_path / "log"
    assert Launcher().run([sys.executable, "-c", code], log) == 2
    assert "no such model" in capsys.readouterr().err
    assert said(log) == "no such model"


def test_the_last_line_is_the_reason_where_there_is_no_error_line(tmp_path):
    log = tmp_path / "log"
    code = "import os; os.write(2, b'Traceback\\nMemoryError\\n'); os.kill(os.getpid(), 9)"
    assert Launcher().run([sys.executable, "-c", code], log) == 128 + signal.SIGKILL
    assert said(log) == "MemoryError"


def test_ctrl_c_reaches_the_job_and_is_remembered(tmp_path):
    launcher = Launcher()
    before = signal.getsignal(signal.SIGINT)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    started = time.monotonic()
    with launcher.listening():
        timer.start()
        status = launcher.run(
            [sys.executable, "-c", "import time; time.sleep(30)"], tmp_path / "log"
        )
    assert status == 128 + signal.SIGINT and launcher.stopped_by == signal.SIGINT
    assert time.monotonic() - started < 10
    assert signal.getsignal(signal.SIGINT) is before
