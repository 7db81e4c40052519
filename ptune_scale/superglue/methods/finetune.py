"""What the methods that train the backbone share: one training of a copy, scored at its best.

The copy begins with the original weights, lies in memory beside the frozen backbone (see
``parallel.tuned`` for its size), and goes when its trial is done.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from ptune_scale.backbone.classifier import NewHead
from ptune_scale.config import TrainConfig
from ptune_scale.finetune import Course, finetune
from ptune_scale.parallel import TunedFunction, TuneSettings, tune
from ptune_scale.progress import bar
from ptune_scale.prompt_source import FixedPrompts, PromptSource
from ptune_scale.superglue.job import TaskJob
from ptune_scale.superglue.methods.ptuning import training_order
from ptune_scale.superglue.pattern import Pattern
from ptune_scale.superglue.problem import SuperglueProblem
from ptune_scale.superglue.task import Record
from ptune_scale.superglue.trials import Trial
from ptune_scale.train import StepResult, visit_budgets

Measure = Callable[[SuperglueProblem, Tensor], Trial]
"""What a trial says of the present weights and P, besides its dev metrics."""


def finetuned(
    job: TaskJob,
    name: str,
    config: TrainConfig,
    problem_of: Callable[[TunedFunction], SuperglueProblem],
    records: Sequence[Record],
    *,
    prompts: PromptSource | None = None,
    head: NewHead | None = None,
    measure: Measure | None = None,
) -> Trial:
    """Train a fresh copy of the backbone.

    Args:
        name: of the trial.
        config: with the learning rate of the backbone.
        problem_of: what is trained for, asked of the copy.
        records: to train on.
        prompts: None for no prompt.
        head: of the copy, in place of the vocabulary's.
        measure: None for the metrics on test.

    Raises:
        Stopped: the job was asked to stop.
        Diverged: the loss is not finite any more.
        UserError: the layout does not allow it.
    """
    started = time.perf_counter()
    path = job.config.parallel.deepspeed_config
    function = tune(
        job.backbone,
        job.function.mesh,
        TuneSettings(
            weight_decay=job.config.tune.backbone_weight_decay,
            max_grad_norm=config.max_grad_norm,
            dropout=job.config.tune.backbone_dropout == "on",
        ),
        deepspeed_config=Path(path) if path else None,
        rows_per_forward=config.rows_per_forward or None,
        head=head,
    )
    try:
        problem = problem_of(function)
        measured = measure or job.tested
        order = training_order(job, problem, config, records)
        steps = visit_budgets(config, [order])[0]
        course = Course(order, steps, config.eval_every or order.visits_per_epoch)
        title = f"{job.task.name}, {name}"
        with bar(title, course.facts, "records", shown=job.is_main) as progress:

            def after_step(result: StepResult) -> None:
                progress.update(result.facts)
                progress.set_postfix(loss=f"{result.loss:.2f}", **_first(problem.last_scores))
                job.stop.check()

            def test(present: Tensor) -> Trial:
                progress.set_postfix_str("scoring")
                return {"dev": problem.last_scores, **measured(problem, present)}

            result = finetune(
                function,
                course,
                problem,
                prompts or FixedPrompts(job.no_prompts),
                test,
                config,
                after_step,
            )
        seconds = time.perf_counter() - started
        return result.tested | {
            "steps": len(result.losses),
            "best_step": result.best_step,
            "losses": list(result.losses),
            "trainable_parameters": function.num_parameters,
            # Loading the model and all scoring are in it.
            "throughput": {"records_per_second": result.facts / seconds, "seconds": seconds},
        }
    finally:
        function.close()


def on_pattern(
    job: TaskJob,
    name: str,
    config: TrainConfig,
    pattern: Pattern,
    records: Sequence[Record],
    *,
    prompts: PromptSource | None = None,
    measure: Measure | None = None,
) -> Trial:
    """Train a fresh copy of the backbone to answer by a pattern; see ``finetuned``."""
    encoder = job.encoder(pattern)
    return finetuned(
        job,
        name,
        config,
        lambda function: job.problem(encoder, function),
        records,
        prompts=prompts,
        measure=measure,
    )


def _first(scores: dict[str, float]) -> dict[str, str]:
    return {f"dev_{name}": f"{value:.3f}" for name, value in list(scores.items())[:1]}
