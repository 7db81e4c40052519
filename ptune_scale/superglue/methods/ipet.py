"""Iterative PET (Schick and Schütze 2021): models of several patterns label records for each other.

Generation 0 is trained on the labelled records. In each later one, the model of a pattern begins
anew and is trained on these and on unlabeled records, as the models of the *other* patterns in the
generation before see them. There are more of them each time, the surest ones, with labels in the
proportion of the labelled records: see ``self_training``. Theirs asks a random quarter of the other
models, here all of them do; and theirs distils the last generation into a classifier, here its
mean is the result.

Each model is trained, asked and dropped. What stays of it is what it said.
"""

from dataclasses import replace

import torch
from torch import Tensor

from ptune_scale.config import TrainConfig
from ptune_scale.data.facts import digest
from ptune_scale.superglue.job import TaskJob
from ptune_scale.superglue.methods.finetune import Measure, on_pattern
from ptune_scale.superglue.methods.repeat import repeated, settings_of
from ptune_scale.superglue.methods.result import TaskResult
from ptune_scale.superglue.problem import SuperglueProblem
from ptune_scale.superglue.self_training import GROWTH, label_surest, vote
from ptune_scale.superglue.task import Record
from ptune_scale.superglue.trials import Trial


def run(job: TaskJob) -> list[TaskResult]:
    """Train all generations; the result is the mean of the last one's probabilities."""
    if job.task.answer != "words":
        job.note(f"ipet: left out, since no words stand for the labels of {job.task.name}")
        return []
    if not job.unlabeled:
        job.note("ipet: left out, since there are no records to label")
        return []
    patterns = job.manual_patterns()
    if len(patterns) == 1:
        job.note(f"ipet: only {next(iter(patterns))} fits the model, so that it labels for itself")
    generations = job.config.ask.generations
    return [
        repeated(
            job,
            "ipet",
            f"mean of the models of {', '.join(patterns)}; rounds of labelling: {generations}",
            job.config.grid(job.task.name, tunes_backbone=True),
            lambda name, config: _Run(job, name, config).result(),
            depends_on=(generations, _Run.texts(job)),
        )
    ]


class _Run:
    def __init__(self, job: TaskJob, name: str, config: TrainConfig) -> None:
        self.job = job
        self.name = name
        self.config = config
        self.patterns = job.manual_patterns()
        # Whatever a file says of them is not known here.
        self.unlabeled = [replace(record, label=None) for record in job.unlabeled]

    @staticmethod
    def texts(job: TaskJob) -> str:
        """Identity of what is labelled and asked."""
        patterns = [pattern.text for pattern in job.manual_patterns().values()]
        return digest([*patterns, *(repr(replace(r, label=None)) for r in job.unlabeled)])

    def result(self) -> Trial:
        """The last generation's answers, and what its models were taught: ``idx`` and label."""
        job, last = self.job, self.job.config.ask.generations
        added: dict[str, list[Record]] = {name: [] for name in self.patterns}
        for generation in range(last):
            trials = self._generation(generation, added, self._label)
            said = {name: torch.tensor(trial["unlabeled"]) for name, trial in trials.items()}
            added = {name: self._added(name, said, generation + 1) for name in self.patterns}
        trials = self._generation(last, added, self._score)
        dev, test = (
            vote([torch.tensor(trial[f"{part}_scores"]) for trial in trials.values()])
            for part in ("dev", "test")
        )
        answers = test.argmax(-1).tolist()
        return {
            "dev": job.task.score(job.dev, dev.argmax(-1).tolist()),
            "test": job.task.score(job.test, answers),
            "predictions": answers,
            "scores": test.log().tolist(),
            "added": {
                name: [[*record.idx, record.label] for record in records]
                for name, records in added.items()
            },
            "test_of_pattern": {name: trial["test"] for name, trial in trials.items()},
        }

    def _generation(
        self, generation: int, added: dict[str, list[Record]], measure: Measure
    ) -> dict[str, Trial]:
        """One trial for each pattern, kept by itself."""
        job = self.job
        records = job.task.training_records(job.train)
        trials = {}
        for pattern_name, pattern in self.patterns.items():
            trial_name = f"{self.name}-generation{generation}-{pattern_name}"
            more = added[pattern_name]
            trials[pattern_name] = job.kept(
                trial_name,
                (settings_of(job, self.config), self.texts(job), repr(more), measure.__name__),
                lambda name=trial_name, pattern=pattern, more=more: on_pattern(
                    job, name, self.config, pattern, [*records, *more], measure=measure
                ),
            )
        return trials

    def _added(self, name: str, said: dict[str, Tensor], generation: int) -> list[Record]:
        """What the other patterns' models make of the unlabeled records, for a pattern's model."""
        others = [scores for other, scores in said.items() if other != name] or [said[name]]
        labels = [record.label for record in self.job.task.training_records(self.job.train)]
        counts = {
            label: labels.count(label) * (GROWTH**generation - 1) for label in sorted(set(labels))
        }
        return label_surest(self.unlabeled, vote(others), counts)

    def _label(self, problem: SuperglueProblem, prompts: Tensor) -> Trial:
        return {"unlabeled": problem.predict(self.unlabeled, prompts).scores.tolist()}

    def _score(self, problem: SuperglueProblem, prompts: Tensor) -> Trial:
        found = problem.predict(self.job.test, prompts)
        return {
            "test": self.job.task.score(self.job.test, found.labels),
            "test_scores": found.scores.tolist(),
            "dev_scores": problem.last_found.scores.tolist(),
        }
