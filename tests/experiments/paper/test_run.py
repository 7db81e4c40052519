"""A job's process: its errors are shown and kept, signals reach it, and no directory is removed."""

import os
import resource
import signal
import sys
import threading
import time

import pytest

from ptune_scale.errors import UserError
from ptune_scale.experiments.paper.jobs import PaperJob
from ptune_scale.experiments.paper.run import Runner, said


def test_what_a_job_says_is_shown_and_kept(tmp_path, capsys):
    code = "import sys; print('bar\\rlama.py: error: no such model', file=sys.stderr); sys.exit(2)"
    log = tmp_path / "log"
    assert Runner(tmp_path).call([sys.executable, "-c", code], log) == 2
    assert "no such model" in capsys.readouterr().err
    assert said(log) == "no such model"


def test_the_last_line_is_the_reason_where_there_is_no_error_line(tmp_path):
    log = tmp_path / "log"
    code = "import os; os.write(2, b'Traceback\\nMemoryError\\n'); os.kill(os.getpid(), 9)"
    assert Runner(tmp_path).call([sys.executable, "-c", code], log) == 128 + signal.SIGKILL
    assert said(log) == "MemoryError"


def test_ctrl_c_reaches_the_job_and_is_remembered(tmp_path):
    class Sleeper(Runner):
        def call(self, command, log):
            return super().call([sys.executable, "-c", "import time; time.sleep(30)"], log)

    runner, job = Sleeper(tmp_path), PaperJob("lama", (), "job")
    before = signal.getsignal(signal.SIGINT)
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    started = time.monotonic()
    runner.run([job, PaperJob("lama", ("--seed", "1"), "another")])
    assert runner.stopped_by == signal.SIGINT
    assert not runner.failures and not runner.is_finished(job)
    assert runner.directory(job).with_suffix(".log").exists()
    assert time.monotonic() - started < 20
    assert signal.getsignal(signal.SIGINT) is before


def test_what_a_job_refuses_to_go_on_with_is_kept_and_said(tmp_path):
    job = PaperJob("lama", ("--max_steps", "1"), "job")
    runner = Runner(tmp_path)
    kept = runner.directory(job) / "checkpoint" / "step-3" / "meta.json"
    kept.parent.mkdir(parents=True)
    kept.write_text("precious")
    (runner.directory(job) / "run.json").write_text("damaged")
    runner.run([job])
    [reason] = runner.failures.values()
    assert "run.json" in reason
    assert kept.read_text() == "precious"


def test_a_log_on_a_full_disk_is_one_line_when_the_job_has_been_heard_to_its_end(tmp_path, capsys):
    code = "import sys; print('x' * 50_000, file=sys.stderr); print('the end', file=sys.stderr)"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(UserError, match="log cannot be written: File too large"):
            Runner(tmp_path).call([sys.executable, "-c", code], tmp_path / "log")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "the end" in capsys.readouterr().err
