"""Iterative PET (Schick and Schütze 2021): models of several patterns label records for each other.

Generation 0 is trained on the labelled records. In each later one, the model of a pattern begins
anew and is trained on these and on unlabeled records, as the models of the *other* patterns in the
generation before see them. There are more of them each time, the surest ones, with labels in the
proportion of the labelled records. Theirs asks a random quarter of the other models, here all of
them do; and theirs distils the last generation into a classifier, here its mean is the result.

Each model is trained, asked and dropped. What stays of it is what it said.

Shapes: M records, L labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from ptune_scale.superglue.finetune import Ask, finetuned
from ptune_scale.superglue.job import TaskJob, Trial, shares
from ptune_scale.superglue.results import TaskMethod, TaskResult, repeated
from ptune_scale.task.answers.answer import Prediction
from ptune_scale.task.answers.words import Words
from ptune_scale.task.asking import AskedTask
from ptune_scale.task.record import Record

GROWTH = 5
"""A generation is trained on so many times as many records as the one before, as in their paper."""


def run(job: TaskJob) -> list[TaskResult]:
    """Train all generations; the result is the mean of the last one's probabilities."""
    task, generations = job.task, job.config.ask.generations
    if not isinstance(task.wording.answer, Words):
        job.note(f"ipet: left out, since no words stand for the labels of {task.name}")
        return []
    if not task.splits.unlabeled:
        job.note("ipet: left out, since there are no records to label")
        return []
    if len(task.manual) == 1:
        job.note(
            f"ipet: only {next(iter(task.manual))} fits the model, so that it labels for itself"
        )
    described = (
        f"mean of the models of {', '.join(task.manual)}; rounds of labelling: {generations}"
    )
    asked = [job.asked_by(wording) for wording in task.manual.values()]
    train = partial(_train, generations)
    return [repeated(job, "ipet", described, asked, train, generations, _texts(job))]


IPET = TaskMethod(
    "ipet", run, "the same, by models that label for each other", tunes_backbone=True, asks="manual"
)


def _texts(job: TaskJob) -> list[Mapping[str, str]]:
    return [record.fields for record in job.task.splits.unlabeled]


def _train(generations: int, job: TaskJob, name: str) -> Trial:
    """The last generation's answers, and what its models were taught: id and label."""
    added: dict[str, list[Record]] = {pattern: [] for pattern in job.task.manual}
    for generation in range(generations):
        trials = _generation(job, f"{name}-generation{generation}", added, is_last=False)
        said = {pattern: torch.tensor(trial["unlabeled"]) for pattern, trial in trials.items()}
        added = {pattern: _added(job, pattern, said, generation + 1) for pattern in added}
    trials = _generation(job, f"{name}-generation{generations}", added, is_last=True)
    dev, test = (
        _answers(job, vote([torch.tensor(trial[part]) for trial in trials.values()]))
        for part in ("dev_scores", "test_scores")
    )
    return job.trial_of(dev, test) | {
        "added": {p: [[r.id, r.answer] for r in records] for p, records in added.items()},
        "test_of_pattern": {pattern: trial["test"] for pattern, trial in trials.items()},
    }


def _generation(
    job: TaskJob, name: str, added: Mapping[str, list[Record]], *, is_last: bool
) -> dict[str, Trial]:
    """One trial for each pattern, kept by itself."""
    trials = {}
    for pattern, wording in job.task.manual.items():
        asked = job.asked_by(wording, [*job.task.splits.learned, *added[pattern]])
        measure = partial(_score if is_last else _label, job, asked)
        run = partial(finetuned, asked, job, f"{name}-{pattern}", measure=measure)
        trials[pattern] = job.kept(f"{name}-{pattern}", [asked], run, is_last, _texts(job))
    return trials


def _label(job: TaskJob, asked: AskedTask, dev: list[Prediction], ask: Ask) -> Trial:
    return {"unlabeled": shares(ask(asked.questions(job.task.splits.unlabeled, "evaluate")))}


def _score(job: TaskJob, asked: AskedTask, dev: list[Prediction], ask: Ask) -> Trial:
    test = ask(asked.test)
    return {
        "test": job.measured(job.task.splits.test, test),
        "test_scores": shares(test),
        "dev_scores": shares(dev),
    }


def _added(job: TaskJob, pattern: str, said: Mapping[str, Tensor], generation: int) -> list[Record]:
    """What the other patterns' models make of the unlabeled records, for a pattern's model."""
    others = [scores for other, scores in said.items() if other != pattern] or [said[pattern]]
    labels = [record.answer for record in job.task.splits.learned]
    counts = {name: labels.count(name) * (GROWTH**generation - 1) for name in job.own.labels}
    return label_surest(job.task.splits.unlabeled, vote(others), counts)


def _answers(job: TaskJob, probabilities: Tensor) -> list[Prediction]:
    names = list(job.own.labels)
    return [
        Prediction(names[best], share[best], dict(zip(names, share, strict=True)))
        for share, best in zip(
            probabilities.tolist(), probabilities.argmax(-1).tolist(), strict=True
        )
    ]


def vote(probabilities: Sequence[Tensor]) -> Tensor:
    """Mean over models of the probability of each label, (M, L) each."""
    return torch.stack(list(probabilities)).mean(0)


def label_surest(
    records: Sequence[Record], probabilities: Tensor, counts: Mapping[str, int]
) -> list[Record]:
    """The records that are surest to have each label, with it, and in their order.

    Fixed numbers of each label keep the next models from the bias of those that label. (Schick and
    Schütze draw the records by chance, the surer the likelier.)

    Args:
        probabilities: (M, L), labels in the order of ``counts``.
        counts: how many records to take of each label; fewer where fewer are thought to have it.
    """
    best, names = probabilities.max(-1), list(counts)
    labels = [names[place] for place in best.indices.tolist()]
    order = best.values.argsort(descending=True, stable=True).tolist()
    chosen: list[int] = []
    for label, count in counts.items():
        chosen += [index for index in order if labels[index] == label][:count]
    return [replace(records[index], answer=labels[index]) for index in sorted(chosen)]
