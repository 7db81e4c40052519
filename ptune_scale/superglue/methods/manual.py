"""Manual prompts, nothing trained ("MP zero-shot" of Liu et al. 2021, Tables 3 and 4)."""

from ptune_scale.superglue.job import TaskJob
from ptune_scale.superglue.methods.result import TaskResult


def run(job: TaskJob) -> list[TaskResult]:
    """Ask with every hand-written pattern; the one that does best on dev is reported as ``manual``.

    ``manual_mean`` is their mean and deviation: one chosen on a few records may be a lucky one.
    """
    trials = {}
    for name, pattern in job.manual_patterns().items():
        problem = job.problem(job.encoder(pattern))
        job.note_cut(problem.encoder, name)
        trials[name] = job.kept(
            f"manual-{name}",
            pattern.text,
            lambda problem=problem, name=name: job.scored(problem, job.no_prompts, name),
        )
    first = job.task.deciding[0]
    best = max(trials, key=lambda name: trials[name]["dev"][first])
    pattern = job.task.patterns[best].text
    return [
        TaskResult.of("manual", f"zero-shot, best on dev: {pattern}", [trials[best]], trials),
        TaskResult.of("manual_mean", "zero-shot, mean over patterns", list(trials.values())),
    ]
