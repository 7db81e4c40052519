"""One task of a run: what all methods share, and the trials that each of them leaves behind.

A trial is what one way of asking, or one training, came to: ``dev`` and ``test`` metrics, test
``predictions``, and whatever its method adds. It is ready for JSON and kept in a file of its own,
under a key that is computed from what it depends on.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ptune_scale.errors import UserError
from ptune_scale.files import write_json
from ptune_scale.reading import read_object
from ptune_scale.superglue.config import SuperglueConfig
from ptune_scale.superglue.task import SuperglueTask
from ptune_scale.task.answers.answer import Prediction, Question
from ptune_scale.task.asking import AskedTask, outcomes_of
from ptune_scale.task.metrics import find_metric
from ptune_scale.task.record import Record
from ptune_scale.task.task import Task, Wording
from ptune_scale.tune.job import Job, digest

Trial = dict[str, Any]

NAMES = {"macro_f1": "f1_macro", "em_by_group": "em"}
"""Metrics that SuperGLUE calls otherwise."""


@dataclass(kw_only=True)
class TaskJob(Job):
    """Everything that a method needs for one task.

    Attributes:
        own: what the task states about itself.
        test_split: the file that the test records were read from.
        together: the tasks whose prompts are trained in one job, this one among them.
        earlier: the task's directory in the run that is gone on with, if that is another one.
    """

    config: SuperglueConfig
    own: SuperglueTask
    test_split: str
    together: Sequence[Task]
    earlier: Path | None = None

    @property
    def task(self) -> Task:
        return self.tasks[0]

    @property
    def select_on(self) -> list[str]:
        """The metrics that decide, the main one first, by SuperGLUE's names."""
        return [NAMES.get(name, name) for name in self.task.select_on]

    def asked_by(self, wording: Wording, learn: Sequence[Record] | None = None) -> AskedTask:
        """The task asked by a wording.

        Args:
            learn: records to train on, if others than the task's.
        """
        task = self.task
        if learn is not None:
            task = replace(task, splits=replace(task.splits, learn=tuple(learn)))
        [asked] = replace(self, tasks=[task]).asked([wording])
        return asked

    def note_cut(self, asked: AskedTask, what: str) -> None:
        """Tell how many records are too long, of those that are scored or trained on."""
        for name, part in (("train", asked.learn), ("dev", asked.dev), ("test", asked.test)):
            cut = [question.cut for question in part if question.cut]
            if cut:
                self.note(
                    f"{what}: {len(cut)} of {len(part)} {name} records were cut to "
                    f"{asked.max_length} tokens ({sum(cut)} tokens)"
                )

    def scored(
        self, asked: AskedTask, prompts: Tensor, title: str, *, shared_tokens: int = 0
    ) -> Trial:
        """Metrics on dev and test, and the test predictions, with a progress bar.

        Args:
            prompts: (R, S, H).
            shared_tokens: see ``Asker``.
        """

        def answers(name: str, part: Callable[[AskedTask], list[Question]]) -> list[Prediction]:
            title_of_part = f"{self.task.name}, {title}, {name}"
            found = self.answers(
                [asked], prompts, title_of_part, part=part, shared_tokens=shared_tokens
            )
            return found[self.task.name]

        dev = answers("dev", lambda each: each.dev)
        same = self.task.splits.test is self.task.splits.dev
        return self.trial_of(dev, dev if same else answers("test", lambda each: each.test))

    def trial_of(self, dev: Sequence[Prediction], test: Sequence[Prediction]) -> Trial:
        """Metrics of predictions, and those of the test records as plain data."""
        labels = list(self.own.labels)
        trial: Trial = {
            "dev": self.measured(self.task.splits.dev, dev),
            "test": self.measured(self.task.splits.test, test),
            "predictions": [labels.index(found.answer) for found in test],
        }
        if all(found.scores is not None for found in test):
            trial["scores"] = shares(test)
        if all(found.text is not None for found in test):
            trial["texts"] = [found.text for found in test]
        return trial

    def measured(
        self, records: Sequence[Record], predictions: Sequence[Prediction]
    ) -> dict[str, float]:
        """The task's metrics, by SuperGLUE's names."""
        outcomes = outcomes_of(self.task.wording.answer, records, predictions)
        return {
            NAMES.get(name, name): find_metric(name).compute(outcomes) for name in self.task.metrics
        }

    def predictions_of(self, trial: Trial) -> list[Prediction]:
        """The test predictions of a trial."""
        labels, count = list(self.own.labels), len(trial["predictions"])
        scores, texts = trial.get("scores", [None] * count), trial.get("texts", [None] * count)
        return [
            Prediction(
                labels[place],
                1.0 if share is None else share[place],
                None if share is None else dict(zip(labels, share, strict=True)),
                text=text,
            )
            for place, share, text in zip(trial["predictions"], scores, texts, strict=True)
        ]

    def kept(
        self,
        name: str,
        asked: Sequence[AskedTask],
        run: Callable[[], Trial],
        *more: Any,
        trains: bool = True,
    ) -> Trial:
        """A trial that is made once: what an interrupted run has finished is read again.

        Args:
            name: of its file.
            asked: what it is trained for and scored on.
            more: what else it depends on.
            trains: it depends on the settings of training.
        """
        own = [each for each in asked if each.task.name == self.task.name]
        tests = [[(q.rows, q.record.answer) for q in each.test] for each in own]
        identity = self.identity(name, asked, tests, *more)
        if not trains:
            config = self.config
            settings = asdict(config.train) | asdict(config.prompt) | asdict(config.tune)
            identity = {key: value for key, value in identity.items() if key not in settings}
        key = digest(identity)
        # What one rank reads decides for all: another node may not see the file yet.
        found = self.world.together(lambda: self._read(name, key) if self.is_main else None)[0]
        if found is not None:
            return found
        trial = run()
        path = self.output / "trials" / f"{name}.json"
        sealed = digest(trial)
        self.world.on_main(lambda: write_json(path, {"key": key, "sha256": sealed, **trial}))
        return trial

    def _read(self, name: str, key: str) -> Trial | None:
        """A trial that was kept under the key; None if there is none, or it is damaged."""
        if name in self.resume_from:  # its checkpoint was named, to go on from there
            return None
        for directory in filter(None, (self.output, self.earlier)):
            try:
                saved = read_object(directory / "trials" / f"{name}.json", "trial")
            except UserError:
                continue
            if saved.pop("key", None) == key and saved.pop("sha256", None) == digest(saved):
                return saved
        return None


def shares(predictions: Sequence[Prediction]) -> list[list[float]]:
    """Probability of each label, of each prediction."""
    return [list((found.scores or {}).values()) for found in predictions]
