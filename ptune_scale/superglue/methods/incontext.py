"""In-context learning as GPT-3 does it: training records and answers in front of the question.

Nothing is trained. The pattern is the manual one that does best on dev without demonstrations:
choosing among all of them with demonstrations would cost as many passes over much longer rows.
"""

from functools import partial

from ptune_scale.backbone.families import can_pack, context_length
from ptune_scale.superglue.demonstrations import Demonstrations, demonstrate, take_turns
from ptune_scale.superglue.job import TaskJob, Trial
from ptune_scale.superglue.methods.untrained import best, zero_shot
from ptune_scale.superglue.results import TaskMethod, TaskResult
from ptune_scale.task.answers.answer import Question
from ptune_scale.task.answers.span import Span
from ptune_scale.task.asking import AskedTask


def run(job: TaskJob) -> list[TaskResult]:
    """Ask behind demonstrations, each repetition with others; all questions get the same ones."""
    if job.backbone.kind == "masked":
        job.note("incontext: a masked model goes on from no text, so it was left out")
        return []
    wording = job.task.manual[best(job, zero_shot(job))]
    alone = job.asked_by(wording)
    trials: dict[str, Trial] = {}
    for repetition in range(job.config.train.repetitions):
        seed = job.config.train.seed + repetition
        shown = _demonstrations(job, alone, seed)
        _note(job, shown, seed)
        if not shown.records:
            return []
        name = f"incontext-seed{seed}"
        [behind] = job.asked([wording], beginnings=[shown.ids])
        trials[name] = job.kept(name, [behind], partial(_ask, job, behind, shown), trains=False)
    counts = sorted({len(trial["demonstrations"]) for trial in trials.values()})
    description = (
        f"{' or '.join(map(str, counts))} training records in front, "
        f"the pattern that is best on dev without any: {wording.pattern.text}"
    )
    made = list(trials.values())
    return [TaskResult.of("incontext", description, made, trials, job.predictions_of(made[0]))]


INCONTEXT = TaskMethod("incontext", run, "training records in front", asks="manual")


def _demonstrations(job: TaskJob, asked: AskedTask, seed: int) -> Demonstrations:
    """As many records as were asked for, or as fit into the context with the longest question."""
    splits = job.task.splits
    records = splits.learned if isinstance(asked.wording.answer, Span) else splits.train
    context = context_length(job.backbone.config)
    longest = max(_length(asked, question) for question in (*asked.dev, *asked.test))
    return demonstrate(
        asked,
        take_turns(records, list(job.own.labels), seed),
        at_most=job.config.ask.demonstrations,
        room=None if context is None else context - longest,
    )


def _length(asked: AskedTask, question: Question) -> int:
    """Tokens of its longest row with those that the model writes and sees again."""
    answer = asked.wording.answer
    if not isinstance(answer, Span):
        return question.num_tokens
    return question.num_tokens + len(asked.filler.spell(question.record.fields[answer.field])) - 1


def _ask(job: TaskJob, asked: AskedTask, shown: Demonstrations) -> Trial:
    trial = job.scored(
        asked,
        job.no_prompts,
        f"{len(shown.records)} demonstrations",
        shared_tokens=packed_beginning(job, asked),
    )
    return trial | {"demonstrations": [record.id for record in shown.records]}


def packed_beginning(job: TaskJob, asked: AskedTask) -> int:
    """Tokens that rows begin with and that packing lets them share."""
    backbone, beginning = job.backbone, len(asked.filler.beginning)
    longest = beginning + (asked.max_length or 0)
    packs = (
        backbone.shortcuts.packing
        and not backbone.dropout
        and job.site.mesh.degrees.pipeline == 1
        and can_pack(backbone.config, longest)
    )
    return beginning if packs else 0


def _note(job: TaskJob, shown: Demonstrations, seed: int) -> None:
    asked, count = job.config.ask.demonstrations, len(shown.records)
    what = f"incontext, seed {seed}: {count} of {asked} demonstrations"
    if not count:
        job.note(f"{what} fit into the context with the longest question; left out")
    elif count < asked:
        job.note(f"{what}, {len(shown.ids)} tokens: no other record fits, or there is none")
    else:
        job.note(f"{what}, {len(shown.ids)} tokens")
