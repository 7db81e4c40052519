"""A job put together: tasks, one frozen backbone in its layout, and what all methods share.

Shapes: R tasks, S prompt slots, H embedding size.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from ptune_scale.backbone import Backbone
from ptune_scale.backbone.parity import Ids
from ptune_scale.backbone.tuned import NewHead
from ptune_scale.parallel import (
    PromptFunction,
    StopSignal,
    TextLimit,
    TunedFunction,
    TuneSettings,
    World,
    parallelize,
    tune,
)
from ptune_scale.progress import bar, doing
from ptune_scale.run.config import MethodConfig
from ptune_scale.run.self_check import self_check
from ptune_scale.run.site import Site
from ptune_scale.run.speed import choose_speed
from ptune_scale.run.told import find_run
from ptune_scale.task.answers.answer import Prediction, Question
from ptune_scale.task.ask import Asker
from ptune_scale.task.asking import GROUP, AskedTask, Panels
from ptune_scale.task.task import Task, Wording
from ptune_scale.trackers.tracker import Curves, Training, check_trackers
from ptune_scale.train import checkpoint
from ptune_scale.train.problem import TaskProblem, asker_of
from ptune_scale.tune.planned import ask, planned
from ptune_scale.tune.trials import PromptTrial

# Settings of training that change rounding and memory, but not what is learned.
_FREE = frozenset({"rows_per_forward", "eval_batch_size", "eval_batch_tokens"})
# The self-check needs rows of unlike lengths, not many.
_TRIED_TASKS, _TRIED_RECORDS = 4, 16


@dataclass(frozen=True)
class MethodResult:
    """What a method answers.

    Attributes:
        name: key in results.json.
        description: one line that says what was measured.
        predictions: of each task's test records, by the task's name.
        dev: metrics on dev, by the task's name, where they were looked at.
        wordings: what was asked, by task, where the method chose it.
        control: it is no way to answer, but shows what little is needed for a score.
    """

    name: str
    description: str
    predictions: dict[str, list[Prediction]]
    dev: dict[str, dict[str, float]] = field(default_factory=dict)
    wordings: dict[str, str] = field(default_factory=dict)
    control: bool = False


@dataclass
class Job:
    """Everything that a method needs.

    Attributes:
        tasks: in the order of the prompt matrix' rows.
        backbone: what is known of the frozen model, and ways to its weights.
        function: the frozen side, in the layout that was chosen.
        site: the ranks, and the directory of results.
        resume_from: by method, a checkpoint to go on from.
        notes: what a reader of the results has to know, in the order in which it was found.
        training: by method, what those that train say about it.
        trials: settings that are searched for the best, if any are.
        is_shown: whether progress is.
    """

    config: MethodConfig
    tasks: Sequence[Task]
    backbone: Backbone
    function: PromptFunction
    site: Site
    resume_from: dict[str, Path] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    training: dict[str, dict[str, Any]] = field(default_factory=dict)
    trials: Sequence[PromptTrial] = ()
    is_shown: bool = True

    @classmethod
    def start(
        cls, config: MethodConfig, tasks: Sequence[Task], backbone: Backbone, site: Site
    ) -> Self:
        """Lay the backbone out on the ranks.

        Raises:
            UserError: a layout or a checkpoint does not fit.
            Stopped: the job was asked to stop.
        """
        if config.model.speed == "auto":
            with doing("timing ways to compute", shown=site.world.is_main):
                choose_speed(backbone, site.mesh, lambda: planned(config, tasks, backbone))
        backbone.embeddings.center  # noqa: B018 (read before a layout takes the weights away)
        site.stop.check()
        with doing("loading the model", shown=site.world.is_main):
            function = parallelize(
                backbone,
                site.mesh,
                deepspeed_config=config.parallel.deepspeed_json,
                rows_per_forward=config.train.rows_per_forward or None,
                texts=TextLimit(config.model.text_cache, site.output),
                while_waiting=site.stop.check,
            )
        site.stop.check()
        resumed = Path(config.run.resume_from)

        def look() -> dict[str, Path]:
            return checkpoint.find_all(resumed) if site.world.is_main else {}

        # What one rank finds decides for all.
        found = site.world.together(look)[0] if config.run.resume_from else {}
        job = cls(config, tasks, backbone, function, site, found)
        if backbone.served_by:  # which looks at itself
            job.note(f"the backbone is served by {backbone.served_by}")
        elif config.model.self_check == "on":
            with doing("comparing the model with transformers", shown=site.world.is_main):
                self_check(backbone, site.mesh, job._some_rows)
        return job

    def _some_rows(self) -> list[Ids]:
        """Token ids of some test records."""
        some = replace(self, tasks=self.tasks[:_TRIED_TASKS]).asked()
        return [
            row.ids
            for task in some
            for question in task.questions(task.task.splits.test[:_TRIED_RECORDS], "evaluate")
            for row in question.rows
        ]

    @property
    def world(self) -> World:
        return self.site.world

    @property
    def stop(self) -> StopSignal:
        return self.site.stop

    @property
    def output(self) -> Path:
        """The directory of results."""
        return self.site.output

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.world.is_main

    @property
    def no_prompts(self) -> Tensor:
        """A prompt matrix without slots, (R, 0, H)."""
        return torch.zeros(len(self.tasks), 0, self.backbone.hidden_size)

    def note(self, text: str) -> None:
        """Tell the reader of the results, once."""
        if text not in self.notes:
            self.notes.append(text)

    def tunable_copy(self, head: NewHead | None = None) -> TunedFunction:
        """A copy of the backbone that trains, with the original weights, beside the frozen one.

        It lies in memory until it is closed; see ``parallel.tuned`` for its size.

        Args:
            head: in place of the vocabulary's.

        Raises:
            UserError: the layout does not allow it.
        """
        config = self.config
        return tune(
            self.backbone,
            self.site.mesh,
            TuneSettings(
                weight_decay=config.tune.backbone_weight_decay,
                max_grad_norm=config.train.max_grad_norm,
                dropout=config.tune.backbone_dropout == "on",
            ),
            deepspeed_config=config.parallel.deepspeed_json,
            rows_per_forward=config.train.rows_per_forward or None,
            head=head,
        )

    def curves(self, name: str, directory: Path, first_step: int = 1) -> Curves:
        """Where the values of a training's steps go; nowhere on all ranks but the main one.

        Args:
            name: of the training within the run.
            directory: of the training.
            first_step: that is to be written, again if it has been.
        """
        run = find_run(directory) or self.output
        trackers = check_trackers(self.config.run.report_to) if self.is_main else ()
        return Curves(trackers, Training(name, directory, run, first_step, self.config.as_flags()))

    def asked(
        self,
        wordings: Sequence[Wording] | None = None,
        *,
        beginnings: Sequence[Sequence[int]] | None = None,
    ) -> list[AskedTask]:
        """The tasks, ready for the model.

        Args:
            wordings: how each is asked; None for the tasks' own.
            beginnings: token ids that the rows of each begin with.

        Raises:
            UserError: a wording does not fit the model.
        """
        return [
            ask(
                task,
                self.backbone,
                index,
                self.config.train.seed,
                wording=wordings[index] if wordings else None,
                beginning=beginnings[index] if beginnings else (),
            )
            for index, task in enumerate(self.tasks)
        ]

    def problem(
        self, asked: Sequence[AskedTask], function: PromptFunction | None = None
    ) -> TaskProblem:
        """What is trained for.

        Args:
            function: asked instead of the frozen backbone.
        """
        asker = asker_of(function or self.function, self.config.train, self.no_prompts)
        asker.after_batch = lambda rows: self.stop.check()
        return TaskProblem(asker, asked)

    def answers(
        self,
        asked: Sequence[AskedTask],
        prompts: Tensor,
        title: str,
        *,
        part: Callable[[AskedTask], list[Question]] = lambda task: task.test,
        function: PromptFunction | None = None,
        shared_tokens: int = 0,
    ) -> dict[str, list[Prediction]]:
        """Predictions of each task, with a progress bar.

        Args:
            prompts: (R, S, H).
            part: which of a task's questions are asked.
            shared_tokens: see ``Asker``.

        Raises:
            Stopped: the job was asked to stop.
        """
        parts = {task.task.name: part(task) for task in asked}
        questions = [question for each in parts.values() for question in each]
        is_shown = self.is_main and self.is_shown
        with bar(title, len(questions), "records", shown=is_shown) as progress:
            asker = self._asker(asked, prompts, function)
            asker.shared_tokens = shared_tokens
            rows = sum(len(question.rows) for question in questions) / max(1, len(questions))

            def after_batch(count: int) -> None:
                progress.update(min(count / rows, len(questions) - progress.n))
                self.stop.check()

            asker.after_batch = after_batch
            found = Panels(asked).predict(asker, questions) if questions else []
        ends = iter(found)
        return {name: [next(ends) for _ in each] for name, each in parts.items()}

    def _asker(
        self, asked: Sequence[AskedTask], prompts: Tensor, function: PromptFunction | None
    ) -> Asker:
        asker = asker_of(function or self.function, self.config.train, prompts)
        asker.wants_likelihood = any("perplexity" in task.task.metrics for task in asked)
        return asker

    def identity(self, method: str, asked: Sequence[AskedTask], *more: Any) -> dict[str, Any]:
        """What two runs of a method that learn the same have in common.

        It is made of what is trained on and of all settings but those that only round otherwise, so
        that nothing has to be listed for it.

        Args:
            more: what else the method depends on.
        """
        config = self.config
        settings = {k: v for k, v in asdict(config.train).items() if k not in _FREE}
        content = [
            [task.task.name, task.task.select_on, repr(task.wording), task.max_length]
            + [
                # Rows do not say all that is scored: texts, and which records belong together.
                [question.record.answer, question.record.fields.get(GROUP, "")]
                + [
                    (row.ids, row.slots, row.targets, row.answers, row.label)
                    for row in question.rows
                ]
                for question in (*task.learn, *task.dev)
            ]
            for task in asked
        ]
        return {
            "method": method,
            "backbone": self.backbone.fingerprint,
            "dtype": str(self.backbone.dtype).removeprefix("torch."),
            "weight_bits": self.backbone.weight_bits,
            "tokenizer": self.backbone.tokens.digest,
            **settings,
            **asdict(config.prompt),
            **asdict(config.tune),
            "tasks": [task.task.name for task in asked],
            "patterns": list(dict.fromkeys(task.wording.pattern.text for task in asked)),
            "content": digest(content),
            "more": digest([repr(each) for each in more]),
        }

    def metrics_of(
        self,
        task: AskedTask,
        predictions: Sequence[Prediction],
        part: Callable[[AskedTask], list[Question]] = lambda task: task.test,
    ) -> dict[str, float]:
        """The task's metrics of predictions."""
        return task.measured(task.task.metrics, part(task), predictions)


def digest(content: Any) -> str:
    """SHA-256 of lists, dictionaries, texts and numbers."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
