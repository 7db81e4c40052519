"""What of a training run is saved, and what remains of one that ends before its time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ptune_scale.board import TaskState
from ptune_scale.errors import UserError
from ptune_scale.parallel import LostContact, Stopped, StopSignal, World
from ptune_scale.trackers.tracker import Curves, Training
from ptune_scale.train import checkpoint
from ptune_scale.train.config import TrainConfig
from ptune_scale.train.session import Keeper, load, run_training, state_of
from ptune_scale.train.trainer import Diverged, Trainer

CONFIG = TrainConfig(
    max_steps=12, batch_size=4, tasks_per_batch=2, eval_every=3, lr=1e-2, warmup=0.0
)
MakeTrainer = Callable[..., Trainer]


def fail_at(run: Trainer, step: int, error: BaseException, *, in_update: bool = False) -> None:
    """Let a trainer fail when it makes a step, before the update or in the midst of it."""
    owner, name = (run.encoders, "update") if in_update else (run.function, "loss_and_gradient")
    original = getattr(owner, name)

    def failing(*given):
        if run.step == step - 1:
            raise error
        return original(*given)

    setattr(owner, name, failing)


def keeper_of(run: Trainer, out: Path, resumed_from: Path | None = None) -> Keeper:
    return Keeper(run, World(), out / "checkpoint", {"method": "ptuning"}, {}, resumed_from)


def finish(
    run: Trainer, out: Path, every: int, resumed_from: Path | None = None, **more: Any
) -> None:
    """Train to the end, as a method does."""
    run_training(
        keeper_of(run, out, resumed_from),
        more.get("stop", StopSignal(World())),
        title="test",
        names=[order.task_id for order in run.orders],
        checkpoint_every=every,
        curves=Curves(["tensorboard"], Training("test", out, out, run.step + 1)),
    )


def steps_saved(out: Path) -> list[int]:
    return [checkpoint.read_meta(p)["step"] for p in checkpoint.checkpoints(out / "checkpoint")]


@pytest.mark.parametrize(
    ("error", "saved"),
    [
        (RuntimeError("[gloo/transport/tcp/pair.cc:1] Connection closed by peer"), [5, 6]),
        (LostContact("lost contact with another rank (gloo: connection reset)"), [5, 6]),
        (OSError("disk full"), [5, 6]),
        (KeyboardInterrupt(), [5, 6]),
        (RuntimeError("prompt encoders differ between ranks"), [5]),
        (ValueError("a bug"), [5]),
    ],
)
def test_what_ends_a_run_decides_whether_its_state_is_saved(
    trainer: MakeTrainer, tmp_path: Path, error: BaseException, saved: list[int]
) -> None:
    run = trainer(["A"], CONFIG)
    fail_at(run, 7, error)
    with pytest.raises(type(error)) as raised:
        finish(run, tmp_path, 5)
    assert steps_saved(tmp_path) == saved
    notes = [] if 6 in saved else ["Nothing was saved: the last checkpoint is that of step 5."]
    assert getattr(raised.value, "__notes__", []) == notes


def test_a_half_made_update_is_not_saved(trainer: MakeTrainer, tmp_path: Path) -> None:
    run = trainer(["A"], CONFIG)
    fail_at(run, 7, KeyboardInterrupt(), in_update=True)
    with pytest.raises(KeyboardInterrupt):
        finish(run, tmp_path, 5)
    assert steps_saved(tmp_path) == [5]


def test_divergence_names_the_last_checkpoint_and_saves_none(
    trainer: MakeTrainer, tmp_path: Path
) -> None:
    run = trainer(["A"], CONFIG)
    fail_at(run, 7, Diverged("the loss is nan; start again with a lower --lr"))
    message = "lower --lr; the last checkpoint is that of step 5"
    with pytest.raises(UserError, match=message):
        finish(run, tmp_path, 5)
    assert steps_saved(tmp_path) == [5]


def test_replicas_that_differ_are_not_saved(trainer: MakeTrainer, tmp_path: Path) -> None:
    run = trainer(["A"], CONFIG)

    def differ(tasks):
        if run.step == 10:
            raise RuntimeError("prompt encoders differ between ranks")

    run.encoders.check_replicas = differ
    with pytest.raises(RuntimeError, match="differ between ranks"):
        finish(run, tmp_path, 5)
    assert steps_saved(tmp_path) == [5]


def test_no_step_is_saved_twice(
    trainer: MakeTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trainer(["A"], CONFIG)
    saved, save = [], checkpoint.save
    monkeypatch.setattr(
        checkpoint, "save", lambda *given, **more: saved.append(given[1]) or save(*given, **more)
    )
    finish(run, tmp_path / "to the end", 4)
    assert saved == [4, 8, 12]

    run = trainer(["A"], CONFIG)

    def stop_at_step_8():
        if run.step == 8:
            raise Stopped(15)

    stop = StopSignal(World())
    stop.check = stop_at_step_8
    saved.clear()
    with pytest.raises(Stopped):
        finish(run, tmp_path / "stopped", 4, stop=stop)
    assert saved == [4, 8]


def test_going_on_from_an_older_checkpoint_makes_its_run_the_newest(
    trainer: MakeTrainer, tmp_path: Path
) -> None:
    run = trainer(["A"], CONFIG)
    finish(run, tmp_path, 4)
    older, newest = checkpoint.checkpoints(tmp_path / "checkpoint")
    (newest / "state.pt").write_bytes(b"junk")
    again = trainer(["A"], CONFIG)
    load(again, older)
    fail_at(again, 11, OSError("disk full"))
    with pytest.raises(OSError, match="disk full"):
        finish(again, tmp_path, 0, older)
    assert steps_saved(tmp_path) == [8, 10]
    assert (newest.parent / f"abandoned-{newest.name}").is_dir()


def test_the_state_of_a_task_says_what_becomes_of_it(trainer: MakeTrainer) -> None:
    run = trainer(["A", "B"], CONFIG)
    assert state_of(run, 0, "A", None) == TaskState("A", 0, run.budgets[0], None, None, "waits")
    events = run.train()
    next(events)
    begun = state_of(run, 0, "A", 1.5)
    assert (begun.step, begun.loss, begun.state) == (1, 1.5, "trains")
    for _ in events:
        pass
    ended = state_of(run, 0, "A", 1.0)
    assert ended.step == ended.steps and ended.state == "done"
    assert ended.best == run.selection.best[0]
    run.selection.stopped[0] = True
    assert state_of(run, 0, "A", 1.0).state == f"stopped early, best at {ended.steps}"


def test_evaluations_are_kept_for_the_report_also_when_a_run_goes_on(
    trainer: MakeTrainer, tmp_path: Path
) -> None:
    run = trainer(["A", "B"], CONFIG)
    finish(run, tmp_path / "whole", 5)
    cut = trainer(["A", "B"], CONFIG)
    fail_at(cut, 8, OSError("disk full"))
    with pytest.raises(OSError):
        finish(cut, tmp_path / "cut", 5)
    again = trainer(["A", "B"], CONFIG)
    [newest] = checkpoint.checkpoints(tmp_path / "cut" / "checkpoint")[-1:]
    load(again, newest)
    finish(again, tmp_path / "cut", 5, newest)
    assert again.dev_curve(0) == run.dev_curve(0) and again.dev_curve(1) == run.dev_curve(1)
    assert [step for step, _ in run.dev_curve(0)][-1] == run.step
