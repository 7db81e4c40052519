"""Fine-tuning on manual prompts: "PET" of Liu et al. 2021, Table 5, and "MP" fine-tuned in 3 and 4.

One model for each pattern, as Schick and Schütze 2021 train them; the ensemble that they make of
these models, and the model that they distil of it, are left out, as in the paper's comparison.
"""

from ptune_scale.superglue.job import TaskJob
from ptune_scale.superglue.methods.finetune import on_pattern
from ptune_scale.superglue.methods.repeat import on_metrics, repeated
from ptune_scale.superglue.methods.result import TaskResult


def run(job: TaskJob) -> list[TaskResult]:
    """Train with every manual pattern that the model can use.

    ``pet`` is the mean and the deviation over patterns. ``pet_best`` is the pattern that does best
    on the split that is reported, as the paper has it: an optimistic number.
    """
    records = job.task.training_records(job.train)
    grid = job.config.grid(job.task.name, tunes_backbone=True)
    of_pattern = {}
    for name, pattern in job.manual_patterns().items():
        job.note_cut(job.encoder(pattern), name)
        of_pattern[name] = repeated(
            job,
            f"pet-{name}",
            pattern.text,
            grid,
            lambda trial, config, pattern=pattern: on_pattern(job, trial, config, pattern, records),
            depends_on=pattern.text,
        )
    best = max(of_pattern, key=lambda name: on_metrics(job, of_pattern[name].test))
    trials = {name: trial for each in of_pattern.values() for name, trial in each.trials.items()}
    patterns = [{"dev": each.dev, "test": each.test} for each in of_pattern.values()]
    return [
        TaskResult.of(
            "pet", f"fine-tuned, mean over patterns: {', '.join(of_pattern)}", patterns, trials
        ),
        TaskResult(
            "pet_best",
            f"fine-tuned, the pattern that is best on {job.test_split} itself, which it is scored "
            f"on: {of_pattern[best].description}",
            of_pattern[best].dev,
            of_pattern[best].test,
            of_pattern[best].deviation,
        ),
    ]
