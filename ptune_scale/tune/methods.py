"""Ways to answer any task; each is one record of a registry."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ptune_scale.task.answers.answer import Prediction
from ptune_scale.task.answers.ranked import Ranked
from ptune_scale.task.answers.words import Words
from ptune_scale.task.asking import AskedTask
from ptune_scale.task.task import Task, Wording
from ptune_scale.tune.job import Job, MethodResult
from ptune_scale.tune.prompts import Trained, train_prompts
from ptune_scale.tune.search import run_search

Result = TypeVar("Result")


@dataclass(frozen=True)
class Method(Generic[Result]):
    """A way to answer.

    Attributes:
        name: as ``--method`` takes it.
        run: does it, on all ranks.
        help: what it is, in a line.
        trains_prompts: by an encoder.
        tunes_backbone: it trains a copy of the backbone, which not every layout allows.
        can_be_served: all that it asks can be asked of a server.
    """

    name: str
    run: Callable[[Any], list[Result]]
    help: str
    trains_prompts: bool = False
    tunes_backbone: bool = False
    can_be_served: bool = True


def run_majority(job: Job) -> list[MethodResult]:
    """Control: always the task's commonest training answer; no model is asked."""
    predictions = {task.name: _commonest(task) for task in job.tasks}
    described = "the commonest training answer, whatever is asked"
    return [MethodResult("majority", described, predictions, control=True)]


def _commonest(task: Task) -> list[Prediction]:
    answer = task.wording.answer
    known = (*task.splits.train, *task.splits.dev)
    counts = Counter(answer.expected(record) for record in known if record.answer is not None)
    order = sorted(counts, key=lambda text: (-counts[text], text))
    total = counts.total()
    rank = {text: place for place, text in enumerate(order, start=1)}
    scores = (
        {label: counts[label] / total for label in answer.words}
        if isinstance(answer, Words)
        else None
    )
    found = []
    for record in task.splits.test:
        ranks = None
        if isinstance(answer, Ranked) and record.answer is not None:
            # An answer that was never seen stands behind all that were.
            place = rank.get(answer.expected(record), len(order) + 1)
            ranks = dict.fromkeys(answer.sets, place)
        found.append(Prediction(order[0], counts[order[0]] / total, scores, ranks))
    return found


def run_manual(job: Job) -> list[MethodResult]:
    """The hand-written pattern, of several the best on dev, or the tuned one without its slots."""
    wordings = [_best_on_dev(job, index) for index in range(len(job.tasks))]
    asked = job.asked(wordings)
    predictions = job.answers(asked, job.no_prompts, "manual")
    texts = {task.name: w.pattern.text for task, w in zip(job.tasks, wordings, strict=True)}
    return [MethodResult("manual", "manual prompt, nothing trained", predictions, wordings=texts)]


def _best_on_dev(job: Job, index: int) -> Wording:
    task = job.tasks[index]
    wordings = manual_wordings(task)
    if len(wordings) == 1 or not task.splits.dev:
        return wordings[0]

    def score(wording: Wording) -> float:
        asked = job.asked([wording if i == index else t.wording for i, t in enumerate(job.tasks)])
        return job.problem(asked[index : index + 1]).score([index], job.no_prompts)[index].main

    return max(wordings, key=score)


def manual_wordings(task: Task) -> list[Wording]:
    """How a task is asked by hand: one way or several."""
    bare = Wording(task.wording.pattern.without_slots(), task.wording.answer)
    return list(task.manual.values()) or [bare]


def run_ptuning(job: Job) -> list[MethodResult]:
    """Tuned prompts, frozen backbone, all tasks in one run."""
    asked = job.asked()
    trained = train_prompts(
        job,
        "ptuning",
        asked,
        directory=job.output,
        resumed_from=job.resume_from.get("ptuning"),
    )
    return tuned(job, asked, trained)


def tuned(job: Job, asked: Sequence[AskedTask], trained: Trained) -> list[MethodResult]:
    """What tuned prompts answer."""
    job.training["ptuning"] = trained.info
    predictions = job.answers(asked, trained.prompts, "ptuning, test")
    wordings = {task.task.name: task.wording.pattern.text for task in asked}
    described = "frozen backbone, tuned prompt"
    return [MethodResult("ptuning", described, predictions, dev=trained.dev, wordings=wordings)]


METHODS: dict[str, Method[MethodResult]] = {
    method.name: method
    for method in (
        Method("majority", run_majority, "control: always the commonest training answer"),
        Method("manual", run_manual, "the pattern without its slots, or hand-written ones"),
        Method("ptuning", run_ptuning, "tuned prompts, frozen backbone", trains_prompts=True),
        Method("ptuning_search", run_search, "the best of settings to try", trains_prompts=True),
    )
}
"""Every way to answer, by the name that ``--method`` takes."""
