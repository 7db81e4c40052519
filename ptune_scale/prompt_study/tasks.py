"""The manual patterns of a SuperGLUE task: each on the small development set and on the large."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ptune_scale.errors import UserError
from ptune_scale.parallel import Mesh, StopSignal
from ptune_scale.prompt_study.config import PromptStudyConfig
from ptune_scale.prompt_study.measured import Measured, PromptScore
from ptune_scale.prompt_study.wording import papers_patterns, papers_setting, read_patterns
from ptune_scale.superglue.assemble import build_jobs
from ptune_scale.superglue.check import TaskRecords, check
from ptune_scale.superglue.job import TaskJob
from ptune_scale.superglue.methods import METHODS
from ptune_scale.superglue.trials import Trial, mean_of


@dataclass(frozen=True)
class TaskStudy:
    """A task and its patterns, those of a file among them, checked."""

    config: PromptStudyConfig
    records: TaskRecords

    @classmethod
    def of(cls, config: PromptStudyConfig) -> "TaskStudy":
        """Read what is asked for.

        Raises:
            UserError: the first thing that is wrong.
        """
        found = check(config.for_task())
        if len(found) != 1:
            raise UserError(f"--task {config.study.task!r}: name one task")
        (records,) = found
        if config.study.patterns:
            more = read_patterns(records.task, Path(config.study.patterns))
            patterns = {**records.task.patterns, **more}
            records = replace(records, task=replace(records.task, patterns=patterns))
        return cls(config, records)

    def measure(self, mesh: Mesh, stop: StopSignal, output: Path) -> Measured:
        """Ask with every pattern, or train with it first.

        Raises:
            UserError: the model can use none of them, or the layout does not fit it.
            Stopped: the job was asked to stop.
        """
        config = self.config.for_task()
        (job,) = build_jobs(config, [self.records], config.as_flags(), mesh, stop, output)
        method = self.config.study.method
        trials = METHODS[method](job)[0].trials
        metric, numbers = job.task.deciding[0], papers_patterns(job.task.name)
        prompts = []
        for name in job.manual_patterns():
            own = list(_of_pattern(name, trials))
            pattern = job.task.patterns[name]
            words = "/".join(pattern.words.get(label, "") for label in job.task.labels)
            prompts.append(
                PromptScore(
                    name.removeprefix("manual_"),
                    f"{pattern.text} ({words})" if pattern.words else pattern.text,
                    _source(name, self.config.study.patterns),
                    mean_of(own, "dev")[metric],
                    mean_of(own, "test")[metric],
                    numbers.get(name, {}),
                )
            )
        how = "zero-shot" if method == "manual" else f"{method} on {len(job.train)} records"
        dev, test = self._names(job)
        return Measured(
            subject=f"{job.task.name}, {how}",
            metric=metric,
            small_name=dev,
            full_name=test,
            prompts=tuple(prompts),
            paper=papers_setting(job.task.name),
            notes=tuple(job.notes),
        )

    def _names(self, job: TaskJob) -> tuple[str, str]:
        dev_split = job.config.data.dev_split
        return (
            f"{dev_split}, {len(job.dev)} records",
            f"{job.test_split}, {len(job.test)} records",
        )


def _of_pattern(name: str, trials: dict[str, Trial]) -> Iterator[Trial]:
    """A pattern's own trials: one, or its trainings with each seed."""
    for trial_name, trial in trials.items():
        if trial_name == name or f"-{name}-seed" in trial_name:
            yield trial


def _source(name: str, patterns: str) -> str:
    from_file = patterns and name.startswith(f"manual_{Path(patterns).stem}_")
    return Path(patterns).name if from_file else "built in"
