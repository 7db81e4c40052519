"""In-context learning as GPT-3 does it: training records and answers in front of the question.

Nothing is trained. The pattern is the manual one that does best on dev without demonstrations:
choosing among all of them with demonstrations would cost as many passes over much longer rows.
"""

from ptune_scale.backbone.families import context_length
from ptune_scale.superglue.demonstrations import Demonstrations, demonstrate, take_turns
from ptune_scale.superglue.job import TaskJob
from ptune_scale.superglue.methods import manual
from ptune_scale.superglue.methods.result import TaskResult
from ptune_scale.superglue.pattern import Pattern
from ptune_scale.superglue.row import Row
from ptune_scale.superglue.trials import Trial


def run(job: TaskJob) -> list[TaskResult]:
    """Ask behind demonstrations, each repetition with others; all questions get the same ones."""
    if job.backbone.kind == "masked":
        job.note("incontext: a masked model goes on from no text, so it was left out")
        return []
    pattern = job.task.patterns[manual.best(job, manual.zero_shot(job))]
    trials: dict[str, Trial] = {}
    for repetition in range(job.config.train.repetitions):
        seed = job.config.train.seed + repetition
        shown = _demonstrations(job, pattern, seed)
        _note(job, shown, seed)
        if not shown.records:
            return []
        trials[f"incontext-seed{seed}"] = job.kept(
            f"incontext-seed{seed}",
            (pattern, shown.ids),
            lambda shown=shown, seed=seed: _ask(job, pattern, shown, seed),
        )
    counts = sorted({len(trial["demonstrations"]) for trial in trials.values()})
    description = (
        f"{' or '.join(map(str, counts))} training records in front, "
        f"the pattern that is best on dev without any: {pattern.text}"
    )
    return [TaskResult.of("incontext", description, list(trials.values()), trials)]


def _demonstrations(job: TaskJob, pattern: Pattern, seed: int) -> Demonstrations:
    """As many records as were asked for, or as fit into the context with the longest question."""
    is_span = job.task.answer == "span"
    records = job.task.training_records(job.train) if is_span else job.train
    encoder = job.encoder(pattern)
    rows = encoder.encode([*job.dev, *job.test], "evaluate").rows
    context = context_length(job.backbone.config)
    return demonstrate(
        encoder,
        pattern,
        take_turns(records, seed),
        at_most=job.config.ask.demonstrations,
        room=None if context is None else context - max(map(_length, rows)),
    )


def _ask(job: TaskJob, pattern: Pattern, shown: Demonstrations, seed: int) -> Trial:
    problem = job.problem(job.encoder(pattern, shown.ids))
    title = f"{len(shown.records)} demonstrations, seed {seed}"
    trial = job.scored(problem, job.no_prompts, title)
    return trial | {"demonstrations": [list(record.idx) for record in shown.records]}


def _note(job: TaskJob, shown: Demonstrations, seed: int) -> None:
    asked, count = job.config.ask.demonstrations, len(shown.records)
    what = f"incontext, seed {seed}: {count} of {asked} demonstrations"
    if not count:
        job.note(f"{what} fit into the context with the longest question; left out")
    elif count < asked:
        job.note(f"{what}, {len(shown.ids)} tokens: no other record fits, or there is none")
    else:
        job.note(f"{what}, {len(shown.ids)} tokens")


def _length(row: Row) -> int:
    """Tokens of a row with those that the model writes and sees again."""
    return len(row.ids) + max(0, row.decode - 1)
