"""Manual prompts, nothing trained ("MP zero-shot" of Liu et al. 2021, Tables 3 and 4)."""

from collections.abc import Mapping

from ptune_scale.superglue.job import TaskJob
from ptune_scale.superglue.methods.result import TaskResult
from ptune_scale.superglue.trials import Trial


def run(job: TaskJob) -> list[TaskResult]:
    """Ask with every hand-written pattern; the one that does best on dev is reported as ``manual``.

    ``manual_mean`` is their mean and deviation: one chosen on a few records may be a lucky one.
    """
    trials = zero_shot(job)
    name = best(job, trials)
    pattern = job.task.patterns[name].text
    return [
        TaskResult.of("manual", f"zero-shot, best on dev: {pattern}", [trials[name]], trials),
        TaskResult.of("manual_mean", "zero-shot, mean over patterns", list(trials.values())),
    ]


def zero_shot(job: TaskJob) -> dict[str, Trial]:
    """Metrics of every manual pattern that the model can use, by its name."""
    trials = {}
    for name, pattern in job.manual_patterns().items():
        problem = job.problem(job.encoder(pattern))
        job.note_cut(problem.encoder, name)
        trials[name] = job.kept(
            f"manual-{name}",
            pattern,
            lambda problem=problem, name=name: job.scored(problem, job.no_prompts, name),
        )
    return trials


def best(job: TaskJob, trials: Mapping[str, Trial]) -> str:
    """The pattern that does best on dev, the first of several."""
    first = job.task.deciding[0]
    return max(trials, key=lambda name: trials[name]["dev"][first])
