"""Ways to answer in which nothing is trained: a control, and manual prompts."""

from collections import Counter
from collections.abc import Mapping
from functools import partial

from ptune_scale.superglue.job import TaskJob, Trial
from ptune_scale.superglue.results import TaskMethod, TaskResult
from ptune_scale.task.answers.answer import Prediction


def run_majority(job: TaskJob) -> list[TaskResult]:
    """Control: always the commonest training label; no model is asked."""
    splits, labels = job.task.splits, list(job.own.labels)
    counts = Counter(record.answer for record in splits.train)
    label = min(labels, key=lambda one: -counts[one])
    scores = {one: counts[one] / len(splits.train) for one in labels}
    found = Prediction(label, scores[label], scores)
    trial = job.trial_of([found] * len(splits.dev), [found] * len(splits.test))
    of_test = Counter(record.answer for record in splits.test).most_common(1)[0][1]
    share = 100 * of_test / len(splits.test)
    job.note(f"the commonest label of {job.test_split} itself has {share:.1f} %")
    described = f"always {label!r}, the commonest training label"
    return [TaskResult.of("majority", described, [trial], {}, [found] * len(splits.test))]


MAJORITY = TaskMethod("majority", run_majority, "control: the commonest training label")


def run_manual(job: TaskJob) -> list[TaskResult]:
    """Ask with every hand-written pattern; the one that does best on dev is reported as ``manual``.

    "MP zero-shot" of Liu et al. 2021, Tables 3 and 4. ``manual_mean`` is their mean and deviation:
    one chosen on a few records may be a lucky one.
    """
    trials = zero_shot(job)
    name = best(job, trials)
    described = f"zero-shot, best on dev: {job.task.manual[name].pattern.text}"
    found = job.predictions_of(trials[name])
    return [
        TaskResult.of("manual", described, [trials[name]], trials, found),
        TaskResult.of("manual_mean", "zero-shot, mean over patterns", list(trials.values())),
    ]


MANUAL = TaskMethod("manual", run_manual, "hand-written prompts", asks="manual")


def zero_shot(job: TaskJob) -> dict[str, Trial]:
    """Metrics of every manual pattern that the model can use, by its name."""
    trials = {}
    for name, wording in job.task.manual.items():
        asked = job.asked_by(wording)
        job.note_cut(asked, name)
        ask = partial(job.scored, asked, job.no_prompts, name)
        trials[name] = job.kept(f"manual-{name}", [asked], ask, trains=False)
    return trials


def best(job: TaskJob, trials: Mapping[str, Trial]) -> str:
    """The pattern that does best on dev, the first of several."""
    first = job.select_on[0]
    return max(trials, key=lambda name: trials[name]["dev"][first])
