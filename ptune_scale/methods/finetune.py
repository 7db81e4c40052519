"""What the methods that train the backbone share: one fine-tuned model per relation.

As in the experiments of Liu et al. 2021 (section 4.1) each relation begins with the original
weights. The copy that trains lies in memory beside the frozen backbone, see ``parallel.tuned`` for
its size, and goes when its relation is done.

What is done is kept in ``checkpoint/`` under the method's directory: a run that is stopped goes
on with the relation that it was at.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ptune_scale.data.batch import Example
from ptune_scale.data.facts import digest
from ptune_scale.data.prepare import fill
from ptune_scale.evaluate import all_ranks
from ptune_scale.finetune import Course, Finetuned, courses, finetune
from ptune_scale.job import Job
from ptune_scale.methods.by_relation import DoneRelations
from ptune_scale.methods.result import MethodResult
from ptune_scale.parallel import TunedFunction, TuneSettings, tune
from ptune_scale.problem import FactProblem
from ptune_scale.progress import bar
from ptune_scale.prompt_source import FixedPrompts
from ptune_scale.template import Template
from ptune_scale.train import StepResult


def finetune_relations(
    job: Job, name: str, description: str, templates: Sequence[Template]
) -> list[MethodResult]:
    """Fine-tune on one relation after another (or go on doing so), and score on the test facts.

    Args:
        templates: of each relation, without slots.

    Raises:
        Stopped: the job was asked to stop; relations that are done are kept.
        Diverged: the loss is not finite any more.
        UserError: the layout does not allow it, or the checkpoint is of another run.
    """
    return _Method(job, name, templates).run(description)


class _Method:
    def __init__(self, job: Job, name: str, templates: Sequence[Template]) -> None:
        self.job = job
        self.name = name
        relations = job.facts.relations
        self.train, self.dev, self.test = (
            [
                fill(index, getattr(relation, part), template, job.tokens)
                for index, (relation, template) in enumerate(zip(relations, templates, strict=True))
            ]
            for part in ("train", "dev", "test")
        )
        self.config = replace(job.config.train, lr=job.config.tune.backbone_lr)
        self.courses = courses(self.config, [r.id for r in relations], self.train)
        examples = [
            (e.ids, e.targets, e.label)
            for part in (self.train, self.dev, self.test)
            for relation in part
            for e in relation
        ]
        tuning = {"method": name, "examples": digest(examples), **asdict(job.config.tune)}
        self.identity = job.identity | tuning

    def run(self, description: str) -> list[MethodResult]:
        relations = self.job.facts.relations
        done = DoneRelations(self.job, self.name, self.identity)
        facts, seconds = 0, 0.0
        planned = sum(course.facts for course in self.courses)
        with bar(self.name, planned, "facts", shown=self.job.is_main) as progress:
            for index, (relation, course) in enumerate(zip(relations, self.courses, strict=True)):
                progress.set_postfix(relation=relation.id)
                shown = progress.n
                if relation.id not in done:
                    started = time.perf_counter()
                    result = self._finetune(index, course, progress)
                    seconds += time.perf_counter() - started
                    facts += result.facts
                    done.keep(relation.id, asdict(result))
                # A relation that stopped early, or was done before, is as good as shown.
                progress.update(shown + course.facts - progress.n)
        results = [Finetuned(**done[relation.id]) for relation in relations]
        self.job.training[self.name] = {
            "steps": sum(len(result.losses) for result in results),
            "facts": sum(result.facts for result in results),
            "final_loss_of_relation": self._by_relation([r.losses[-1] for r in results]),
            "losses_of_relation": self._by_relation([r.losses for r in results]),
            "best_step_of_relation": self._by_relation([r.best_step for r in results]),
        }
        # Loading the model, development and test facts are in it.
        if facts:
            self.job.throughput[self.name] = {
                "facts_per_second": facts / seconds,
                "seconds": seconds,
            }
        return [MethodResult(self.name, description, torch.cat([r.tested for r in results]))]

    def _by_relation(self, values: Sequence[Any]) -> dict[str, Any]:
        return dict(zip((r.id for r in self.job.facts.relations), values, strict=True))

    def _finetune(self, relation: int, course: Course, progress: Any) -> Finetuned[Tensor]:
        job = self.job
        # Whatever was trained before in this process.
        job.function.world.seed_noise(self.config.seed, self.name, course.order.relation_id)
        settings, path = job.config.tune, job.config.parallel.deepspeed_config
        function = tune(
            job.backbone,
            job.function.mesh,
            TuneSettings(
                weight_decay=settings.backbone_weight_decay,
                max_grad_norm=self.config.max_grad_norm,
                dropout=settings.backbone_dropout == "on",
            ),
            deepspeed_config=Path(path) if path else None,
            rows_per_forward=self.config.rows_per_forward or None,
        )

        def after_step(result: StepResult) -> None:
            progress.update(result.facts)
            progress.set_postfix(relation=course.order.relation_id, loss=f"{result.loss:.2f}")
            job.stop.check()

        pad = job.tokens.placeholder
        problem = FactProblem(function, self.dev, job.candidates, self.config, pad)
        try:
            return finetune(
                function,
                course,
                problem,
                FixedPrompts(job.no_prompts),
                lambda prompts: self._rank(function, self.test[relation]),
                self.config,
                after_step,
                relation=relation,
            )
        finally:
            function.close()

    def _rank(self, function: TunedFunction, examples: list[Example]) -> Tensor:
        job = self.job
        return all_ranks(
            function,
            examples,
            job.no_prompts,
            job.candidates,
            batch_size=self.config.eval_batch_size,
            batch_tokens=self.config.eval_batch_tokens,
            pad=job.tokens.placeholder,
            after_batch=lambda rows: job.stop.check(),
        )[:, 0]
