"""Control: always answer with the commonest training label."""

from collections import Counter

from ptune_scale.superglue.job import TaskJob
from ptune_scale.superglue.methods.result import TaskResult


def run(job: TaskJob) -> list[TaskResult]:
    """Score it; no model is asked."""
    counts = Counter(record.label for record in job.train)
    label = min(counts, key=lambda one: (-counts[one], one))
    trial = {
        "dev": job.task.score(job.dev, [label] * len(job.dev)),
        "test": job.task.score(job.test, [label] * len(job.test)),
    }
    of_test = Counter(record.label for record in job.test).most_common(1)[0][1] / len(job.test)
    job.note(f"the commonest label of {job.test_split} itself has {100 * of_test:.1f} %")
    name = job.task.labels[label]
    return [TaskResult.of("majority", f"always {name!r}, the commonest training label", [trial])]
