"""Runs a trainer to its end: progress bar, TensorBoard, checkpoints, and a way to be stopped."""

import time
from collections.abc import Sequence
from pathlib import Path

import torch

from ptune_scale.errors import UserError
from ptune_scale.keeper import Keeper
from ptune_scale.parallel import Stopped, StopSignal, contact
from ptune_scale.progress import Scalars, bar, peak_memory_mb
from ptune_scale.train import Diverged, StepResult

# Ends of a run that say nothing against what it has learned.
_ACCIDENTS = (OSError, MemoryError, torch.OutOfMemoryError, KeyboardInterrupt)


def run_training(
    keeper: Keeper,
    stop: StopSignal,
    *,
    title: str,
    names: Sequence[str],
    checkpoint_every: int,
    tensorboard: Path,
    unit: str = "facts",
) -> dict[str, float]:
    """Train from wherever the keeper's trainer is, showing and saving.

    Args:
        title: of the progress bar.
        names: of the relations or tasks, for TensorBoard.
        checkpoint_every: steps between checkpoints; 0 for none but at the end or on a signal.
        tensorboard: directory of its files.
        unit: what a batch consists of.

    Returns:
        throughput of training alone; {} if nothing was left to train.

    Raises:
        Stopped: after a checkpoint was saved.
        UserError: training has diverged; the message names the last checkpoint.
        RuntimeError: the ranks' encoders differ; nothing is saved.
    """
    trainer, is_main = keeper.trainer, keeper.world.is_main
    scalars = Scalars(tensorboard if is_main else None, trainer.step + 1)
    facts = tokens = 0
    seconds = evaluating = 0.0
    planned, done = trainer.facts_in(trainer.budgets), trainer.facts_in(trainer.visits)
    started = time.perf_counter()
    cpu_started = time.process_time()
    with bar(title, planned, unit, shown=is_main, initial=done) as progress:
        try:
            for event in trainer.train():
                now = time.perf_counter()
                if isinstance(event, StepResult):
                    seconds += now - started
                    facts += event.facts
                    tokens += event.tokens
                    progress.update(event.facts)
                    scalars.add(
                        {
                            "train/loss": event.loss,
                            "train/lr": event.lr,
                            f"throughput/{unit}_per_second": event.facts / (now - started),
                            "memory/peak_mb": peak_memory_mb(),
                        },
                        event.step,
                    )
                else:
                    evaluating += now - started
                    best = trainer.selection.best
                    mean = sum(best) / len(best)
                    progress.set_postfix(loss=f"{trainer.losses[-1]:.2f}", dev=f"{mean:.3f}")
                    scalars.add(
                        {f"dev/{names[r]}": score.main for r, score in event.scores.items()},
                        event.step,
                    )
                is_due = checkpoint_every and event.step % checkpoint_every == 0
                if is_due and isinstance(event, StepResult):
                    keeper.save()
                stop.check()
                started = time.perf_counter()
        except Stopped:
            # All ranks agreed to stop at this point, so they can save together.
            keeper.save()
            raise
        except Diverged as error:
            raise UserError(f"{error}; {keeper.remains}") from error
        except BaseException as error:
            # Any other error may come of a state that is wrong. Saved, it would be the newest
            # checkpoint, and one that is right would be removed for it.
            if contact.loss_of_contact(error) is None and not isinstance(error, _ACCIDENTS):
                error.add_note(f"Nothing was saved: {keeper.remains}.")
            else:
                keeper.save_alone()
            raise
        finally:
            scalars.close()
    keeper.save()
    if not facts:
        if is_main:
            print(f"{title}: nothing is left to train after step {trainer.step}")
        return {}
    return {
        f"{unit}_per_second": facts / seconds,
        "tokens_per_second": tokens / seconds,
        "training_seconds": seconds,
        "dev_evaluation_seconds": evaluating,
        "cpu_seconds_of_this_rank": time.process_time() - cpu_started,
    }
