"""Fine-tuning on manual prompts: "PET" of Liu et al. 2021, Table 5, and "MP" fine-tuned in 3 and 4.

One model for each pattern, as Schick and Schütze 2021 train them; the ensemble that they make of
these models, and the model that they distil of it, are left out, as in the paper's comparison.
"""

from dataclasses import replace
from functools import partial

from ptune_scale.superglue.finetune import finetuned
from ptune_scale.superglue.job import TaskJob
from ptune_scale.superglue.results import TaskMethod, TaskResult, decisive, repeated


def run(job: TaskJob) -> list[TaskResult]:
    """Train with every manual pattern that the model can use.

    ``pet`` is the mean and the deviation over patterns. ``pet_best`` is the pattern that does best
    on the split that is reported, as the paper has it: an optimistic number.
    """
    of_pattern = {}
    for name, wording in job.task.manual.items():
        asked = job.asked_by(wording)
        job.note_cut(asked, name)
        train = partial(finetuned, asked)
        of_pattern[name] = repeated(job, f"pet-{name}", wording.pattern.text, [asked], train)
    best = max(of_pattern.values(), key=lambda each: decisive(job, each.test))
    trials = {name: trial for each in of_pattern.values() for name, trial in each.trials.items()}
    means = [{"dev": each.dev, "test": each.test} for each in of_pattern.values()]
    described = (
        f"fine-tuned, the pattern that is best on {job.test_split} itself, which it is scored "
        f"on: {best.description}"
    )
    return [
        TaskResult.of(
            "pet", f"fine-tuned, mean over patterns: {', '.join(of_pattern)}", means, trials
        ),
        replace(best, name="pet_best", description=described, trials={}),
    ]


PET = TaskMethod(
    "pet", run, "backbone trained on manual prompts", tunes_backbone=True, asks="manual"
)
