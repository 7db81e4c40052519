"""The backbone itself trained: one fine-tuned model per relation.

mp_ft  on the manual prompt, read where ``manual`` reads it ("MP+FT" of Liu et al. 2021, Table 2)
ft     on the subject alone: nothing but the weights names the relation ("FT")

As in the experiments of the paper (section 4.1) each relation begins with the original weights, in
a copy that goes when the relation is done. What is done is kept in ``checkpoint/`` under the
method's directory: a run that is stopped goes on with the relation that it was at.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from ptune_scale.lama.job import LamaJob
from ptune_scale.lama.methods.done import DoneRelations
from ptune_scale.lama.methods.wordings import LamaMethod, Worded, on_manual, subject_alone
from ptune_scale.progress import bar
from ptune_scale.task.answers.answer import Prediction
from ptune_scale.task.asking import AskedTask
from ptune_scale.train.finetune import Course, Finetuned, courses, finetune, values_of
from ptune_scale.train.schedule import with_default_steps
from ptune_scale.train.selection import DevScore
from ptune_scale.train.trainable import FixedPrompts
from ptune_scale.train.trainer import StepResult
from ptune_scale.tune.job import MethodResult

Result = Finetuned[list[Prediction]]


def run_mp_ft(job: LamaJob) -> list[MethodResult]:
    """Fine-tune on the manual prompt; see ``_Method.run``."""
    return _Method(job, "mp_ft", on_manual).run("fine-tuned on the manual prompt")


MP_FT = LamaMethod(
    "mp_ft", run_mp_ft, "fine-tuned on the manual prompt", tunes_backbone=True, worded=on_manual
)


def run_ft(job: LamaJob) -> list[MethodResult]:
    """Fine-tune on the subject alone; see ``_Method.run``."""
    return _Method(job, "ft", subject_alone).run("fine-tuned, subject alone")


FT = LamaMethod(
    "ft", run_ft, "fine-tuned on the subject alone", tunes_backbone=True, worded=subject_alone
)


class _Method:
    def __init__(self, job: LamaJob, name: str, worded: Worded) -> None:
        self.job = job
        self.name = name
        self.asked = job.asked(
            [worded(task, job.config, job.backbone.tokens) for task in job.tasks]
        )
        self.names = [task.name for task in job.tasks]
        config = replace(job.config.train, lr=job.config.tune.backbone_lr)
        self.config = with_default_steps(config, len(self.asked))
        self.courses = courses(self.config, self.names, [task.learn for task in self.asked])
        tested = [question.rows for task in self.asked for question in task.test]
        self.identity = job.identity(name, self.asked, tested) | {
            "max_steps": self.config.max_steps
        }

    def run(self, description: str) -> list[MethodResult]:
        """Fine-tune on one relation after another (or go on doing so), and answer the test facts.

        Raises:
            Stopped: the job was asked to stop; relations that are done are kept.
            Diverged: the loss is not finite any more.
            UserError: the layout does not allow it, or the checkpoint is of another run.
        """
        done = DoneRelations(self.job, self.name, self.identity)
        planned = sum(course.records for course in self.courses)
        with bar(self.name, planned, "facts", shown=self.job.is_main) as progress:
            for task, course in zip(self.asked, self.courses, strict=True):
                progress.set_postfix(relation=task.task.name)
                shown = progress.n
                if task.task.name not in done:
                    started = time.perf_counter()
                    result = asdict(self._finetune(task, course, progress))
                    # Loading the model, development and test facts are in them.
                    seconds = time.perf_counter() - started
                    done.keep(task.task.name, {"result": result, "seconds": seconds})
                # A relation that stopped early, or was done before, is as good as shown.
                progress.update(shown + course.records - progress.n)
        results = [Finetuned(**done[name]["result"]) for name in self.names]
        records = sum(result.records for result in results)
        seconds = sum(done[name]["seconds"] for name in self.names)
        self.job.training[self.name] = {
            "steps": sum(len(result.losses) for result in results),
            "records": records,
            "final_loss_of_relation": self._by_relation([r.losses[-1] for r in results]),
            "losses_of_relation": self._by_relation([r.losses for r in results]),
            "best_step_of_relation": self._by_relation([r.best_step for r in results]),
            "throughput": {"records_per_second": records / seconds, "seconds": seconds},
        }
        found = [[Prediction(**each) for each in result.tested] for result in results]
        return [MethodResult(self.name, description, self._by_relation(found))]

    def _by_relation(self, values: Sequence[Any]) -> dict[str, Any]:
        return dict(zip(self.names, values, strict=True))

    def _finetune(self, task: AskedTask, course: Course, progress: Any) -> Result:
        job = self.job
        # Whatever was trained before in this process.
        job.world.seed_noise(self.config.seed, self.name, course.order.task_id)
        function = job.tunable_copy()
        relation = course.order.task_id
        curves = job.curves(f"{self.name}, {relation}", job.output / self.name / relation)

        def after_step(result: StepResult, score: DevScore | None) -> None:
            curves.add(values_of(result, score), result.step)
            progress.update(result.records)
            shown = {"relation": relation, "step": f"{result.step}/{course.steps}"}
            progress.set_postfix({**shown, "loss": f"{result.loss:.2f}"})
            job.stop.check()

        problem = job.problem(self.asked, function)
        try:
            return finetune(
                function,
                course,
                problem,
                FixedPrompts(job.no_prompts),
                lambda prompts: problem.predict(task.test, prompts),
                self.config,
                after_step,
                task=task.index,
            )
        finally:
            curves.close()
            function.close()
