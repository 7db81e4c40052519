"""What a SuperGLUE run can be told: validated dataclasses, the source of flags and defaults.

Values are layered: defaults, the task's own where a value says so, the preset, then (when resuming)
the run's, then what the user typed. Imports nothing heavy.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from ptune_scale.flags import MOST, OnOff, flag, names_in
from ptune_scale.reading import shown
from ptune_scale.run.config import (
    JobConfig,
    ModelConfig,
    ParallelConfig,
    PromptConfig,
    RunConfig,
    ServedConfig,
    TrainConfig,
    TuneConfig,
)
from ptune_scale.superglue.methods import METHODS
from ptune_scale.superglue.tasks import TASKS

if TYPE_CHECKING:
    from ptune_scale.superglue.task import FewShot


@dataclass(frozen=True, kw_only=True)
class RecordsConfig:
    """the records"""

    data_dir: str = flag(
        "", "directory of FewGLUE or SuperGLUE, with a directory for each task", common=True
    )
    tasks: str = flag("all", f"comma-separated: {', '.join(TASKS)}; or 'all'", common=True)
    train_split: str = flag("train", "file that is trained on, without .jsonl")
    dev_split: str = flag("dev32", "file that the best step is chosen on")
    test_split: str = flag(
        "auto", "file that is reported; auto: val where the task has it, else the one chosen on"
    )
    unlabeled_split: str = flag(
        "auto",
        "file that ipet labels itself; auto: unlabeled where the task has it, else the texts that "
        "are reported, without their labels",
    )
    train_records: int = flag(0, "most training records, the first ones; 0 for all", at_least=0)
    eval_records: int = flag(
        0, "most records of each other split, the first ones; 0 for all", at_least=0
    )
    max_length: int = flag(
        0,
        "most tokens of a row, but for demonstrations in front of it; 0: the task's own of the "
        "published scripts",
        at_least=0,
    )
    on_bad_record: Literal["skip", "stop"] = flag("stop", "what to do with an unreadable record")


@dataclass(frozen=True, kw_only=True)
class AskConfig:
    """the question"""

    method: str = flag(
        "manual,ptuning",
        f"comma-separated: {', '.join(METHODS)}",
        common=True,
    )
    pattern: str = flag(
        "ptuning",
        "the task's pattern for tuned prompts: ptuning, behind (slots behind all texts, which are "
        "then computed once), or no_anchors (slots alone)",
    )
    spelling: Literal["correct", "reference"] = flag(
        "correct", "how patterns become tokens; reference: as in the published code"
    )
    num_slots: int = flag(
        0,
        "prompt slots in each place of the pattern, in all with --spelling reference; 0: 1, or "
        "what the published scripts take",
        at_least=0,
    )
    joint: OnOff = flag(
        "off",
        "ptuning trains the prompts of all tasks in one job, mixed in batches; off: one task after "
        "another, as published",
    )
    demonstrations: int = flag(
        8, "training records in front of an incontext question, at most", at_least=1
    )
    generations: int = flag(2, "rounds of ipet", at_least=1)


@dataclass(frozen=True, kw_only=True)
class FewShotConfig(TrainConfig):
    """training"""

    preset: Literal["practical", "reference", "full"] = flag(
        "practical",
        "bundle of defaults; reference: the published few-shot scripts; full: the paper's grid "
        "for whole training sets, chosen and reported on val",
        common=True,
    )
    max_steps: int = flag(
        250,
        "training steps; 0: as many as max_epochs needs; -1: the task's own",
        at_least=-1,
        common=True,
    )
    lr: float = flag(
        1e-3, "peak learning rate of the prompts; 0: the task's own", at_least=0, common=True
    )
    warmup: float = flag(0.1, "share of training in which it rises; -1: the task's own")
    grid_lr: str = flag(
        "",
        "comma-separated learning rates of the backbone to try where it trains; the best on dev is "
        "reported",
    )
    grid_prompt_lr: str = flag("", "the same of prompts, where the backbone is frozen")
    grid_batch_size: str = flag("", "comma-separated batch sizes to try with each of them")
    repetitions: int = flag(
        1,
        "trainings whose mean and deviation are reported; their seeds count on from --seed",
        at_least=1,
        common=True,
    )


_PRESETS: dict[str, dict[str, Any]] = {
    "practical": {},
    # The published few-shot scripts: what tasks say of them, and the language model tuned with it.
    "reference": {
        "spelling": "reference",
        "max_steps": -1,
        "lr": 0.0,
        "warmup": -1.0,
        "prompt_start": "random",
        "backbone_lr": 1e-5,
        "backbone_weight_decay": 0.1,
        "backbone_dropout": "on",
        "repetitions": 3,
    },
    # Liu et al. 2021, section 4.2: a grid over learning rate and batch size, dev at each epoch.
    "full": {
        "dev_split": "val",
        "test_split": "val",
        "max_steps": 0,
        "max_epochs": 20,
        "grid_lr": "1e-5,2e-5,3e-5",
        "grid_batch_size": "16,32",
        "eval_every": 0,
        "patience": 5,
    },
}


@dataclass(frozen=True, kw_only=True)
class SuperglueConfig(JobConfig):
    """Everything that a SuperGLUE run can be told."""

    presets = _PRESETS

    data: RecordsConfig = RecordsConfig()
    ask: AskConfig = AskConfig()
    model: ModelConfig = ModelConfig()
    served: ServedConfig = ServedConfig()
    prompt: PromptConfig = PromptConfig()
    train: FewShotConfig = FewShotConfig(
        max_epochs=20,
        batch_size=16,
        eval_batch_size=64,
        eval_batch_tokens=8192,
        weight_decay=0.0,
        eval_every=20,
        selection="reference_strict",
        patience=10,
        seed=42,
    )
    tune: TuneConfig = TuneConfig()
    parallel: ParallelConfig = ParallelConfig()
    run: RunConfig = RunConfig()

    def contradictions(self) -> Iterator[str]:
        t = self.train
        if not (0 <= t.warmup < 1 or t.warmup == -1):
            yield f"--warmup must be in [0, 1) or -1, got {t.warmup!r}"
        for name, kind in (
            ("grid_lr", float),
            ("grid_prompt_lr", float),
            ("grid_batch_size", int),
        ):
            try:
                good = all(0 < value < MOST for value in _numbers(getattr(t, name), kind))
            except ValueError:
                good = False
            if not good:
                yield f"--{name} must be positive numbers, got {shown(getattr(t, name))}"
        if self.ask.joint == "on":
            own = [
                n for n, v in (("max_steps", -1), ("lr", 0), ("warmup", -1)) if getattr(t, n) == v
            ]
            for name in own:
                yield f"--joint on with --{name} {getattr(t, name):g} (each task's own): give one"
            if "ptuning" not in self.methods:
                yield f"--joint on is for ptuning, which --method {self.ask.method} leaves out"
        has_encoders = {"ptuning", "ptuning_joint"} & set(self.methods)
        if self.parallel.encoder_placement == "owned" and not has_encoders:
            yield (
                f"--encoder_placement owned with --method {self.ask.method}: it trains no prompts, "
                "so there is no encoder to place; leave it out"
            )

    @property
    def methods(self) -> tuple[str, ...]:
        return names_in(self.ask.method)

    def grid(self, own: "FewShot", *, tunes_backbone: bool) -> list[FewShotConfig]:
        """The settings to train with, each to be tried.

        Args:
            own: settings of the task.
            tunes_backbone: ``lr`` is that of the backbone, else that of the prompts.
        """
        t = self.train
        lr = self.tune.backbone_lr if tunes_backbone else self.encoder_lr(own)
        return [
            replace(
                t,
                max_steps=own.max_steps if t.max_steps < 0 else t.max_steps,
                warmup=own.warmup_steps / own.max_steps if t.warmup < 0 else t.warmup,
                lr=rate,
                batch_size=size,
                # What else is tried is no part of it.
                grid_lr="",
                grid_prompt_lr="",
                grid_batch_size="",
                repetitions=1,
                preset="practical",
            )
            for rate in _numbers(t.grid_lr if tunes_backbone else t.grid_prompt_lr, float) or [lr]
            for size in _numbers(t.grid_batch_size, int) or [t.batch_size]
        ]

    def encoder_lr(self, own: "FewShot") -> float:
        """Peak learning rate of the prompts."""
        return self.train.lr or own.encoder_lr


def _numbers(text: str, kind: type) -> list[Any]:
    return [kind(part) for part in names_in(text)]
