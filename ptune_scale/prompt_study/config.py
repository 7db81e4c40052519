"""What a prompt study can be told, and the LAMA or SuperGLUE run that it means."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from ptune_scale.backbone.shortcuts import Shortcuts
from ptune_scale.config import LamaConfig, ModelConfig, ParallelConfig, RunConfig, TuneConfig
from ptune_scale.flag import Sections, flag
from ptune_scale.superglue.config import SuperglueConfig


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """the study"""

    relation: str = flag("", "LAMA relation whose prompts are compared, such as P17")
    task: str = flag("", "SuperGLUE task whose patterns are compared, instead of a relation")
    data_dir: str = flag("", "directory of LAMA facts, or of FewGLUE or SuperGLUE")
    prompts: str = flag(
        "",
        "file of a relation's prompts, one a line, as '[X] is in [Y].' or "
        '{"template": "[X] is in [Y]."}; by default those in DATA_DIR/prompts/lpaqa and the '
        "relation's own, for P17 also the paper's",
    )
    patterns: str = flag(
        "",
        "file of a task's patterns besides the built-in ones, one a line, as '{premise...} "
        '{hypothesis}? [Y]\' or {"pattern": ..., "words": {LABEL: WORD}}',
    )
    method: Literal["manual", "pet"] = flag(
        "manual", "for a task: ask as it is, or train the backbone on the few records with each"
    )
    dev_facts: int = flag(32, "facts of a relation that make its small set", at_least=2)
    eval_records: int = flag(
        0,
        "most facts or records of the full set, and of a task's small one; 0: all",
        at_least=0,
    )


@dataclass(frozen=True, kw_only=True)
class StudyTrainConfig:
    """training and scoring (training: method pet)"""

    max_steps: int = flag(250, "training steps", at_least=1)
    batch_size: int = flag(16, "records per step, over all ranks", at_least=1)
    repetitions: int = flag(1, "trainings with each pattern, of which the mean counts", at_least=1)
    seed: int = flag(42, "seed of the first repetition; the next ones count on from it")
    eval_batch_size: int = flag(256, "rows per evaluation batch, over all ranks", at_least=1)
    eval_batch_tokens: int = flag(
        8192, "most tokens in an evaluation batch; 0: no limit", at_least=0
    )


@dataclass(frozen=True, kw_only=True)
class PromptStudyConfig(Sections):
    """Everything that a study can be told."""

    model: ModelConfig = ModelConfig()
    shortcut: Shortcuts = Shortcuts()
    study: StudyConfig = StudyConfig()
    train: StudyTrainConfig = StudyTrainConfig()
    tune: TuneConfig = TuneConfig()
    parallel: ParallelConfig = ParallelConfig()
    run: RunConfig = RunConfig()

    def contradictions(self) -> Iterator[str]:
        study = self.study
        if bool(study.relation) == bool(study.task):
            yield "give --relation or --task: one of them, whose prompts are compared"
        if not study.data_dir:
            yield "--data_dir DIR is needed: LAMA facts, or FewGLUE for a task"
        for name, needs in (("prompts", "relation"), ("patterns", "task")):
            if getattr(study, name) and not getattr(study, needs):
                yield f"--{name} is for a --{needs}"
        if study.method == "pet" and study.relation:
            yield "--method pet trains on a task's records; a relation is only asked"

    def for_facts(self) -> LamaConfig:
        """The LAMA run that prepares model and facts."""
        study = self.study
        return LamaConfig.from_flags(
            self._shared()
            | {
                "data_dir": study.data_dir,
                "relations": study.relation,
                "method": "manual",
                "dev_facts": study.dev_facts,
                "test_facts": study.eval_records,
            }
        )

    def for_task(self) -> SuperglueConfig:
        """The SuperGLUE run that has the task and the method."""
        study = self.study
        return SuperglueConfig.from_flags(
            self._shared()
            | {
                "data_dir": study.data_dir,
                "tasks": study.task,
                "method": study.method,
                "eval_records": study.eval_records,
            }
        )

    def _shared(self) -> dict[str, Any]:
        sections = (self.model, self.shortcut, self.train, self.tune, self.parallel, self.run)
        values = {name: value for one in sections for name, value in vars(one).items()}
        # The study's directory is not one of a LAMA or SuperGLUE run.
        return values | {"output_dir": "", "resume_from": ""}
