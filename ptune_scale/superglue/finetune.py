"""What the methods that train the backbone share: one training of a copy, scored at its best.

The copy begins with the original weights and goes when its trial is done.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor

from ptune_scale.backbone.tuned import NewHead
from ptune_scale.progress import bar
from ptune_scale.superglue.job import TaskJob, Trial
from ptune_scale.task.answers.answer import Prediction, Question
from ptune_scale.task.asking import AskedTask
from ptune_scale.train.finetune import courses, finetune, values_of
from ptune_scale.train.selection import DevScore
from ptune_scale.train.trainable import FixedPrompts, PromptSource
from ptune_scale.train.trainer import StepResult

Ask = Callable[[Sequence[Question]], list[Prediction]]
Measure = Callable[[list[Prediction], Ask], Trial]
"""What a trial says of the present weights, from answers to dev and a way to ask for others."""


def finetuned(
    asked: AskedTask,
    job: TaskJob,
    name: str,
    *,
    prompts: PromptSource | None = None,
    head: NewHead | None = None,
    measure: Measure | None = None,
) -> Trial:
    """Train a fresh copy of the backbone to answer a task.

    Args:
        job: with the settings of training, among them the learning rate of the backbone.
        name: of the trial.
        prompts: None for no prompt.
        head: of the copy, in place of the vocabulary's.
        measure: None for the metrics on dev and test.

    Raises:
        Stopped: the job was asked to stop.
        Diverged: the loss is not finite any more.
        UserError: the layout does not allow it.
    """
    started = time.perf_counter()
    scored: list[list[float]] = []
    config, function = job.config, job.tunable_copy(head)
    curves = job.curves(f"{job.task.name}, {name}", job.output / name)
    try:
        problem = job.problem([asked], function)
        [course] = courses(config.train, [job.task.name], [asked.learn])
        title = f"{job.task.name}, {name}"
        with bar(title, course.records, "records", shown=job.is_main) as progress:

            def after_step(result: StepResult, score: DevScore | None) -> None:
                curves.add(values_of(result, score), result.step)
                if score is not None and score.count:
                    scored.append([result.step, score.main])
                progress.update(result.records)
                scores = problem.metrics.get(0, {})
                first = {f"dev_{n}": f"{value:.3f}" for n, value in list(scores.items())[:1]}
                step = f"{result.step}/{course.steps}"
                progress.set_postfix({"step": step, "loss": f"{result.loss:.2f}", **first})
                job.stop.check()

            def test(present: Tensor) -> Trial:
                progress.set_postfix_str("scoring")
                ask = partial(problem.predict, prompts=present)
                if measure is not None:
                    return measure(problem.found[0], ask)
                return job.trial_of(problem.found[0], ask(asked.test))

            result = finetune(
                function,
                course,
                problem,
                prompts or FixedPrompts(job.no_prompts),
                test,
                config.train,
                after_step,
            )
        seconds = time.perf_counter() - started
        return result.tested | {
            "steps": len(result.losses),
            "best_step": result.best_step,
            "losses": list(result.losses),
            "dev_curve": {job.task.name: scored},
            "trainable_parameters": function.num_parameters,
            # Loading the model and all scoring are in it.
            "throughput": {"records_per_second": result.records / seconds, "seconds": seconds},
        }
    finally:
        curves.close()
        function.close()
