"""What a prompt study can be told, and the LAMA or SuperGLUE run that it means."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ptune_scale.flags import flag
from ptune_scale.lama.config import LamaConfig
from ptune_scale.run.config import JobConfig, ModelConfig, ParallelConfig, RunConfig, TuneConfig
from ptune_scale.superglue.config import SuperglueConfig


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """the study"""

    relation: str = flag("", "LAMA relation whose prompts are compared, such as P17", common=True)
    task: str = flag(
        "", "SuperGLUE task whose patterns are compared, instead of a relation", common=True
    )
    data_dir: str = flag("", "directory of LAMA facts, or of FewGLUE or SuperGLUE", common=True)
    prompts: str = flag(
        "",
        "file of a relation's prompts, one a line, as '[X] is in [Y].' or "
        '{"template": "[X] is in [Y]."}, or \'paper\' for those of Liu et al. 2021; by default '
        "these, the relation's own, and those in DATA_DIR/prompts/lpaqa",
        common=True,
    )
    patterns: str = flag(
        "",
        "file of a task's patterns besides the built-in ones, one a line, as '{premise...} "
        '{hypothesis}? [Y]\' or {"pattern": ..., "words": {LABEL: WORD}}',
        common=True,
    )
    method: Literal["manual", "pet"] = flag(
        "manual", "for a task: ask as it is, or train the backbone on the few records with each"
    )
    candidates: str = flag("auto", "what a relation's answers are ranked among, see lama.py")
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
class PromptStudyConfig(JobConfig):
    """Everything that a study can be told."""

    study: StudyConfig = StudyConfig()
    model: ModelConfig = ModelConfig()
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

    def of_job(self) -> LamaConfig | SuperglueConfig:
        """The LAMA or SuperGLUE run that has the model and the records."""
        kind = LamaConfig if self.study.relation else SuperglueConfig
        flags = self.as_flags() | {
            "relations": self.study.relation,
            "tasks": self.study.task,
            "test_facts": self.study.eval_records,
            # The study's directory is not one of a LAMA or SuperGLUE run.
            "output_dir": "",
            "resume_from": "",
        }
        return kind.from_flags({n: value for n, value in flags.items() if n in kind.flags()})
