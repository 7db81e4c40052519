"""Curves can be read by the software that they are for, each step once, and never end a run."""

import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ptune_scale.errors import UserError
from ptune_scale.trackers import TRACKERS
from ptune_scale.trackers.tracker import Curves, Tracker, Training, check_trackers

Points = list[tuple[int, float]]


def of_tensorboard(run: Path, curve: str) -> Points:
    # Two parts of a test begin within a second, and files are read in the order of their names.
    ordered = Path(tempfile.mkdtemp(dir=run))
    for number, path in enumerate(sorted(run.glob("tensorboard/*"), key=os.path.getmtime)):
        shutil.copy(path, ordered / f"events.out.tfevents.{number}.a.1.0")
    events = EventAccumulator(str(ordered))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(curve)]


def of_jsonl(run: Path, curve: str) -> Points:
    lines = map(json.loads, (run / "curves.jsonl").read_text().splitlines())
    return [(line["step"], line[curve]) for line in lines if curve in line]


def of_wandb(run: Path, curve: str) -> Points:
    from wandb.proto.wandb_internal_pb2 import Record

    points = []
    for path in sorted((run / "wandb").glob("offline-run-*/*.wandb"), key=os.path.getmtime):
        for data in records(path.read_bytes()):
            history = Record.FromString(data).history
            items = {"/".join(i.nested_key) or i.key: i.value_json for i in history.item}
            if curve in items:
                points.append((history.step.num, float(items[curve])))
    return points


def records(data: bytes) -> Iterator[bytes]:
    """The records of a LevelDB log, whose blocks of 32 KiB begin behind W&B's own header."""
    place, whole = 7, b""
    while place + 7 <= len(data):
        if (rest := -place % 2**15) and rest < 7:
            place += rest
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        if kind == 0:
            break
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield whole
            whole = b""


def of_mlflow(run: Path, curve: str) -> Points:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{run}/mlflow.db")
    found = client.get_experiment_by_name("ptune_scale")
    assert found is not None
    [one] = client.search_runs([found.experiment_id])
    return [(m.step, m.value) for m in client.get_metric_history(one.info.run_id, curve)]


READ: dict[str, Callable[[Path, str], Points]] = {
    "tensorboard": of_tensorboard,
    "jsonl": of_jsonl,
    "wandb": of_wandb,
    "mlflow": of_mlflow,
}


@pytest.fixture(params=TRACKERS)
def name(request) -> str:
    if missing := TRACKERS[request.param].missing:
        pytest.skip(f"{', '.join(missing)} is not installed")
    return request.param


def curves(run: Path, name: str, first_step: int = 1) -> Curves:
    return Curves([name], Training("ptuning", run, run, first_step, {"lr": 0.1, "model": "m"}))


def test_every_tracker_is_read_back_here() -> None:
    assert set(READ) == set(TRACKERS)
    assert all(TRACKERS[name].name == name for name in TRACKERS)


def test_values_are_where_the_software_looks_for_them(name: str, tmp_path: Path, capsys) -> None:
    written = curves(tmp_path, name)
    for step in (1, 2, 3):
        written.add({"train/loss": 1 / step, "train/lr": 0.1}, step)
    written.add({"dev/P36": 0.5}, 3)
    written.close()
    found = READ[name](tmp_path, "train/loss")
    assert [step for step, _ in found] == [1, 2, 3]
    assert [value for _, value in found] == pytest.approx([1, 1 / 2, 1 / 3])
    assert READ[name](tmp_path, "dev/P36") == [(3, 0.5)]
    assert "curves end here" not in capsys.readouterr().err


def test_a_training_that_goes_on_writes_no_step_twice(name: str, tmp_path: Path) -> None:
    first = curves(tmp_path, name)
    for step in (1, 2, 3, 4):
        first.add({"train/loss": step}, step)
    first.close()
    # Gone on with from a checkpoint of step 2; what is due after it comes first.
    again = curves(tmp_path, name, 3)
    again.add({"dev/P36": 0.5}, 2)
    for step in (3, 4, 5):
        again.add({"train/loss": step}, step)
    again.close()
    assert READ[name](tmp_path, "train/loss") == [(step, step) for step in (1, 2, 3, 4, 5)]
    assert READ[name](tmp_path, "dev/P36") == [(2, 0.5)]


_KILLED = """
import os, signal, sys
from pathlib import Path
from ptune_scale.trackers.tracker import Curves, Training
run = Path(sys.argv[1])
curves = Curves([sys.argv[2]], Training("ptuning", run, run))
for step in (1, 2, 3, 4):
    curves.add({"train/loss": float(step)}, step)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_training_that_was_killed_goes_on_without_writing_a_step_twice(
    name: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", _KILLED, str(tmp_path), name]
    # Else it would lean on the service of this process, as no run does.
    own = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    assert subprocess.run(command, env=own, capture_output=True).returncode == -signal.SIGKILL
    again = curves(tmp_path, name, 2)
    for step in (2, 3, 4, 5):
        again.add({"train/loss": step}, step)
    again.close()
    steps = [step for step, _ in READ[name](tmp_path, "train/loss")]
    # What lay in memory when it was killed may be gone.
    assert len(set(steps)) == len(steps) and steps[-1] == 5


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "curves.jsonl").write_text('{"step": 1, "train/loss": 1}\n{"step": 2, "tr')
    again = curves(tmp_path, "jsonl", 2)
    again.add({"train/loss": 2.0}, 2)
    again.close()
    assert of_jsonl(tmp_path, "train/loss") == [(1, 1), (2, 2)]


def test_a_disk_that_is_full_ends_the_curves_with_one_line(tmp_path: Path, capsys) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    written = curves(tmp_path, "tensorboard")
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        for step in range(1000):
            written.add({"train/loss": 1.0}, step)
        written.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert capsys.readouterr().err.count("its curves end here: File too large") == 1


def test_a_tracker_that_cannot_be_opened_is_one_line(name: str, tmp_path: Path, capsys) -> None:
    (tmp_path / "file").touch()
    written = curves(tmp_path / "file" / "below", name)
    written.add({"train/loss": 1.0}, 1)
    written.close()
    assert capsys.readouterr().err.count(f"{name} cannot be written to any more") == 1


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("tensorbord", "'tensorbord': choose from tensorboard, jsonl, .*, or none alone"),
        ("none,jsonl", "none alone"),
        ("", "choose from tensorboard"),
    ],
)
def test_what_cannot_be_reported_to_is_refused(typed: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_trackers(typed)


def test_a_missing_library_is_refused_with_the_command_that_installs_it(monkeypatch) -> None:
    absent = Tracker(
        "jsonl", "", lambda training: pytest.fail("opened"), needs=("no_such_library",)
    )
    monkeypatch.setattr("ptune_scale.trackers.jsonl.JSONL", absent)
    with pytest.raises(UserError, match="--report_to jsonl needs .*: pip install no_such_library"):
        check_trackers("tensorboard,jsonl")


def test_none_reports_nothing(tmp_path: Path) -> None:
    assert check_trackers("none") == ()
    written = Curves((), Training("ptuning", tmp_path, tmp_path))
    written.add({"train/loss": 1.0}, 1)
    written.close()
    assert not list(tmp_path.iterdir())
