"""A job has the directory of its results to itself, or does not start."""

import signal
from pathlib import Path

import pytest

from ptune_scale.errors import UserError
from ptune_scale.parallel import Degrees, World
from ptune_scale.run.config import RunConfig
from ptune_scale.run.site import check_output, choose_output, claimed


@pytest.fixture(autouse=True)
def signals():
    """Jobs take them over for as long as their process lives."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def earlier_run(directory: Path) -> Path:
    directory.mkdir()
    (directory / "run.json").write_text("{}")
    return directory


def test_a_new_directory_and_an_empty_one_can_be_used_and_are_not_touched(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".lock").touch()
    (tmp_path / "empty" / ".run.json.abc.partial").mkdir()  # of a process that was killed
    for name in ("new", "new/below", "empty"):
        check_output(RunConfig(output_dir=str(tmp_path / name)))
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("/proc/out", "No such file"),
        ("file/out", "Not a directory"),
        ("file", "is not a directory"),
        ("full", "is in use; choose another, or go on with its run by --resume_from"),
    ],
)
def test_a_directory_that_cannot_be_used_is_refused(tmp_path, output, reason):
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "results.json").write_text("precious")
    with pytest.raises(UserError, match=f"--output_dir .*{output}.*{reason}"):
        check_output(RunConfig(output_dir=str(tmp_path / output)))


def test_a_run_goes_on_in_its_own_directory_but_not_in_one_above(tmp_path):
    run = earlier_run(tmp_path / "run")
    step = run / "checkpoint" / "step-000001"
    step.mkdir(parents=True)
    for place in (run, step):
        check_output(RunConfig(output_dir=str(run), resume_from=str(place)))
        with pytest.raises(UserError, match="is in use"):
            check_output(RunConfig(output_dir=str(tmp_path), resume_from=str(place)))


def test_what_one_run_works_in_another_cannot_claim(tmp_path):
    out = tmp_path / "out"
    with claimed(World(), Degrees(), out) as site:
        assert site.output == out and site.world.size == 1
        other = claimed(World(), Degrees(), out)
        with pytest.raises(UserError, match="in use by another run"), other:
            pass
    with claimed(World(), Degrees(), out):
        pass


def test_a_directory_that_cannot_be_locked_is_one_line(tmp_path):
    (tmp_path / ".lock").mkdir()
    with (
        pytest.raises(UserError, match=f"--output_dir {tmp_path}: "),
        claimed(World(), Degrees(), tmp_path),
    ):
        pass


def test_results_go_into_runs_where_no_directory_is_named():
    assert choose_output(RunConfig(), World()).parent == Path("runs")
    assert choose_output(RunConfig(output_dir="a/b"), World()) == Path("a/b")
