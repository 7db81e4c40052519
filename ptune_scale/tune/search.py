"""P-tuning with settings that are searched for, for each task: trials that compete in one job.

Each trial has a row of P for each task, and encoders of its own; after every rung the worse half of
a task's trials stops. A trial that stays to its end trains as it would by itself.

Shapes: T tasks, K trials, R = T * K rows of P, S slots, H embedding size.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ptune_scale.files import write_text
from ptune_scale.parallel import EncoderPlacement
from ptune_scale.prompt.bank import EncoderPlan, PromptBank
from ptune_scale.report.table import Table
from ptune_scale.task.asking import AskedTask
from ptune_scale.task.task import Wording
from ptune_scale.train.config import TrainConfig
from ptune_scale.train.halving import Halving
from ptune_scale.train.order import TaskOrder
from ptune_scale.train.schedule import (
    records_per_visit,
    tasks_per_step,
    tokens_per_visit,
    visit_budgets,
    with_default_steps,
)
from ptune_scale.train.trainer import Trainer
from ptune_scale.tune.job import Job, MethodResult
from ptune_scale.tune.prompts import export_of, planned_encoders, train_prompts
from ptune_scale.tune.trials import Wordings

NAME = "ptuning_search"


def run_search(
    job: Job,
    wordings: Wordings = MappingProxyType({}),
    exported: Callable[[Sequence[Wording]], Sequence[Wording]] = list,
) -> list[MethodResult]:
    """Train (or go on training) all trials, and export and score the one that won of each task.

    Args:
        wordings: ways to word a task that trials can name.
        exported: how prompts are asked by whoever loads them, of how they are trained.

    Raises:
        Stopped: the job was asked to stop.
        UserError: the checkpoint is of another run, or a trial does not fit the model.
    """
    trials, tasks = job.trials, job.tasks
    worded = [[trial.worded(task, wordings) for task in tasks] for trial in trials]
    rows = replace(
        job,
        tasks=[
            replace(task, name=f"{task.name}/{trial.name}", wording=wording)
            for trial, of_trial in zip(trials, worded, strict=True)
            for task, wording in zip(tasks, of_trial, strict=True)
        ],
    ).asked()
    config = with_default_steps(job.config.train, len(tasks))
    config = replace(config, tasks_per_batch=tasks_per_step(config, len(tasks)))
    trainer = _trainer(job, rows, config)
    halving = trainer.halving
    assert halving is not None
    owns = "ptuning" not in job.config.methods
    directory = job.output if owns else job.output / NAME
    identity = job.identity(NAME, rows, *((each.name, each.settings) for each in trials))
    trained = train_prompts(
        job,
        NAME,
        rows,
        directory=directory,
        config=config,
        trainer=trainer,
        resumed_from=job.resume_from.get(NAME),
        identity=identity | {"max_steps": config.max_steps},
        exports=False,
    )
    winners = halving.winners()
    prompts = trained.prompts[winners]
    best = [worded[row // len(tasks)][row % len(tasks)] for row in winners]
    asked = job.asked(best)
    export = export_of(job, asked, prompts, exported(best))
    job.world.on_main(lambda: export.save(directory / "prompt"))
    job.training[NAME] = _info(job, trained.info, trainer, winners)
    table = _table(job, trainer, winners)
    job.world.on_main(lambda: write_text(directory / "search.md", table))
    _note(job, winners, directory)
    predictions = job.answers(asked, prompts, f"{NAME}, test")
    # Scores of this process: a run that goes on behind its last evaluation has none.
    dev = {
        task.name: trained.dev.get(rows[row].task.name, {})
        for task, row in zip(tasks, winners, strict=True)
    }
    described = f"tuned prompts, each with the best on dev of {len(trials)} settings"
    patterns = {each.task.name: each.wording.pattern.text for each in asked}
    return [MethodResult(NAME, described, predictions, dev=dev, wordings=patterns)]


def _trainer(job: Job, rows: Sequence[AskedTask], config: TrainConfig) -> Trainer:
    """All trials at step 0."""
    count = len(job.tasks)
    turns = [range(first, first + count) for first in range(0, len(rows), count)]
    encoders: list[EncoderPlan] = []
    settings = []
    orders = []
    for number, (trial, turn) in enumerate(zip(job.trials, turns, strict=True)):
        slots = max(rows[row].num_slots for row in turn)
        names = [task.name for task in job.tasks]
        for plan in planned_encoders(job, names, slots, trial.prompt, trial.train.seed):
            encoders.append(
                replace(
                    plan,
                    name=f"{number:03d}-{plan.name}",
                    tasks=tuple(turn[place] for place in plan.tasks),
                )
            )
            settings.append(trial.train)
        size = records_per_visit(config, count)
        tokens = tokens_per_visit(config, count)
        orders += [
            TaskOrder(name, rows[row].learn, size, trial.train.seed, tokens_per_visit=tokens)
            for name, row in zip(names, turn, strict=True)
        ]
    budgets = visit_budgets(config, orders[:count])
    every = [config.eval_every or order.visits_per_epoch for order in orders[:count]]
    contests = [range(place, len(rows), count) for place in range(count)]
    placement = EncoderPlacement.build(
        job.config.parallel.encoder_placement, job.site.mesh, len(encoders)
    )
    names = [row.task.name for row in rows]
    most = max(row.num_slots for row in rows)
    bank = PromptBank(names, most, job.backbone.hidden_size, encoders, held=placement.held)
    return Trainer(
        bank.to(job.world.device),
        job.function,
        orders,
        job.problem(rows),
        config,
        placement,
        settings=settings,
        halving=Halving(contests, turns, budgets, every),
    )


def _info(
    job: Job, info: dict[str, Any], trainer: Trainer, winners: Sequence[int]
) -> dict[str, Any]:
    """What there is to say of the training: curves of those who won."""
    tasks = zip(job.tasks, winners, strict=True)
    curves = {task.name: trainer.dev_curve(row) for task, row in tasks}
    # Losses of steps are of one trial after another, and make no curve.
    kept = {key: value for key, value in info.items() if key != "losses"}
    return kept | {"dev_curve": curves, "search": _found(job, trainer, winners)}


def _found(job: Job, trainer: Trainer, winners: Sequence[int]) -> dict[str, Any]:
    """What the search came to, for results.json."""
    count = len(job.tasks)
    won = Counter(row // count for row in winners)
    best = trainer.selection.best
    return {
        "trials": {
            trial.name: {
                "settings": dict(trial.settings),
                "won": won[number],
                "records": trainer.records_in(_visits_of(trainer, number, count)),
            }
            for number, trial in enumerate(job.trials)
        },
        "tasks": {
            task.name: {
                "won": job.trials[winners[place] // count].name,
                "best_on_dev": {
                    trial.name: best[number * count + place]
                    for number, trial in enumerate(job.trials)
                },
                "visits": {
                    trial.name: trainer.visits[number * count + place]
                    for number, trial in enumerate(job.trials)
                },
            }
            for place, task in enumerate(job.tasks)
        },
    }


def _visits_of(trainer: Trainer, trial: int, count: int) -> list[int]:
    """Visits of a trial's rows; 0 of all others."""
    return [v if row // count == trial else 0 for row, v in enumerate(trainer.visits)]


def _table(job: Job, trainer: Trainer, winners: Sequence[int]) -> str:
    """Best dev score of each trial on each task; in brackets the steps it got, the winner bold."""
    count = len(job.tasks)
    diverged = trainer.halving.diverged if trainer.halving else []
    rows = []
    for number, trial in enumerate(job.trials):
        cells = []
        for row in range(number * count, (number + 1) * count):
            cell = f"{100 * trainer.selection.best[row]:.1f} ({trainer.visits[row]})"
            cell += ", diverged" if diverged[row] else ""
            cells.append(f"**{cell}**" if row in winners else cell)
        records = trainer.records_in(_visits_of(trainer, number, count))
        rows.append([trial.name, str(records), *cells])
    table = Table(["trial", "records", *(task.name for task in job.tasks)], rows)
    lines = [
        table.markdown(),
        "",
        "Best score on dev in percent, and in brackets the steps of the task that the trial got "
        "before half of those that were left stopped; what stayed to the end is bold. Scores of "
        "trials that got different steps are not compared.",
        "",
        *(f"- {trial.name}: {trial.described or 'as typed'}" for trial in job.trials),
    ]
    return "\n".join(lines) + "\n"


def _note(job: Job, winners: Sequence[int], directory: Path) -> None:
    won = Counter(job.trials[row // len(job.tasks)].name for row in winners)
    shown = ", ".join(f"{name} on {count}" for name, count in won.most_common())
    job.note(f"{NAME}: of {len(job.tasks)} tasks won {shown}; {directory / 'search.md'}")
