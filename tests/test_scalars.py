"""Scalars are TensorBoard's to read, and no reason to end a run."""

import resource
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ptune_scale.scalars import Scalars


def curve(directory: Path, tag: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(directory))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


def test_what_was_added_is_there_and_a_resumed_run_replaces_what_it_repeats(tmp_path):
    first = Scalars(tmp_path, 1)
    for step in (1, 2, 3):
        first.add({"train/loss": step, "dev/P36": 0.5}, step)
    first.close()
    [written] = tmp_path.iterdir()
    assert curve(tmp_path, "train/loss") == [(1, 1.0), (2, 2.0), (3, 3.0)]
    written.rename(tmp_path / "events.out.tfevents.1.a.1.0")
    again = Scalars(tmp_path, 3)
    again.add({"train/loss": 7.0}, 3)
    again.close()
    assert curve(tmp_path, "train/loss") == [(1, 1.0), (2, 2.0), (3, 7.0)]


def test_a_disk_that_is_full_ends_the_curves_with_one_line(tmp_path, capsys):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    scalars = Scalars(tmp_path, 1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        for step in range(1000):
            scalars.add({"train/loss": 1.0}, step)
        scalars.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert capsys.readouterr().err.count("cannot be written any more: File too large") == 1


def test_a_directory_that_cannot_be_made_is_one_line(tmp_path, capsys):
    (tmp_path / "file").touch()
    scalars = Scalars(tmp_path / "file" / "below", 1)
    scalars.add({"train/loss": 1.0}, 1)
    scalars.close()
    assert capsys.readouterr().err.count("its curves end here") == 1


def test_without_a_directory_nothing_is_written():
    scalars = Scalars(None, 1)
    scalars.add({"train/loss": 1.0}, 1)
    scalars.close()
