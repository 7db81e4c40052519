"""What a SuperGLUE run can be told: validated dataclasses, the source of flags and defaults.

Values are layered: defaults, the task's own where a value says so, the preset, then (when resuming)
the run's, then what the user typed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from ptune_scale.backbone.shortcuts import Shortcuts
from ptune_scale.config import (
    ModelConfig,
    ParallelConfig,
    RunConfig,
    Schedule,
    TrainConfig,
    TuneConfig,
)
from ptune_scale.encoder import EncoderKind
from ptune_scale.flag import Sections, flag, names_in
from ptune_scale.selection import Rule
from ptune_scale.superglue.few_shot import FEW_SHOT, FewShotSettings
from ptune_scale.superglue.pattern import Layout


@dataclass(frozen=True, kw_only=True)
class RecordsConfig:
    """the records"""

    data_dir: str = flag("", "directory of FewGLUE or SuperGLUE, with a directory for each task")
    tasks: str = flag("all", "comma-separated: BoolQ, CB, COPA, MultiRC, RTE, WiC, WSC; or 'all'")
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


@dataclass(frozen=True, kw_only=True)
class AskConfig:
    """the question"""

    method: str = flag(
        "manual,ptuning",
        "comma-separated: manual, incontext, ptuning, ptuning_joint, pet, ipet, ft",
    )
    pattern: str = flag(
        "ptuning", "the task's pattern for tuned prompts: ptuning, or no_anchors (slots alone)"
    )
    layout: Layout = flag(
        "correct", "how patterns become tokens; reference: as in the published code"
    )
    num_slots: int = flag(
        0,
        "prompt slots in each place of the pattern, in all with --layout reference; 0: 1, or what "
        "the published scripts take",
        at_least=0,
    )
    encoder: EncoderKind = flag("lstm", "prompt encoder; none trains the prompt itself")
    prompt_start: Literal["mean_word", "random"] = flag(
        "mean_word", "where prompts begin: around the mean word embedding, or as the encoder falls"
    )
    demonstrations: int = flag(
        8, "training records in front of an incontext question, at most", at_least=1
    )
    generations: int = flag(2, "rounds of ipet", at_least=1)


@dataclass(frozen=True, kw_only=True)
class FewShotConfig:
    """training"""

    preset: Literal["practical", "reference", "full"] = flag(
        "practical",
        "bundle of defaults; reference: the published few-shot scripts; full: the paper's grid "
        "for whole training sets, chosen and reported on val",
    )
    max_steps: int = flag(
        250, "training steps; 0: as many as max_epochs needs; -1: the task's own", at_least=-1
    )
    max_epochs: int = flag(20, "with max_steps 0: most epochs", at_least=1)
    batch_size: int = flag(16, "records per step, over all ranks", at_least=1)
    rows_per_forward: int = flag(
        0, "most rows in one forward pass of a rank, 0 for no limit", at_least=0
    )
    eval_batch_size: int = flag(64, "rows per evaluation batch, over all ranks", at_least=1)
    eval_batch_tokens: int = flag(
        8192, "most tokens in an evaluation batch; 0: no limit", at_least=0
    )
    lr: float = flag(1e-3, "peak learning rate of the prompts; 0: the task's own", at_least=0)
    schedule: Schedule = flag(
        "linear", "linear: warm up, then down to 0; exponential: times 0.98 each epoch"
    )
    warmup: float = flag(0.1, "share of training in which it rises; -1: the task's own")
    weight_decay: float = flag(0.0, "Adam's coupled L2 penalty on the prompts", at_least=0)
    max_grad_norm: float = flag(1.0, "gradients are scaled down to this norm, 0: never", at_least=0)
    grid_lr: str = flag(
        "",
        "comma-separated learning rates of the backbone to try where it trains; the best on dev is "
        "reported",
    )
    grid_prompt_lr: str = flag("", "the same of prompts, where the backbone is frozen")
    grid_batch_size: str = flag("", "comma-separated batch sizes to try with each of them")
    eval_every: int = flag(20, "steps between evaluations on dev, 0: each epoch", at_least=0)
    selection: Rule = flag("reference_strict", "which step is kept, see lama.py --help")
    patience: int = flag(10, "misses in a row before training stops, 0: never", at_least=0)
    repetitions: int = flag(1, "trainings whose mean and deviation are reported", at_least=1)
    seed: int = flag(42, "seed of the first repetition; the next ones count on from it")


_PRESETS: dict[str, dict[str, Any]] = {
    "practical": {},
    # The published few-shot scripts: what FEW_SHOT says, and the language model tuned with it.
    "reference": {
        "layout": "reference",
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
class SuperglueConfig(Sections):
    """Everything that a SuperGLUE run can be told."""

    presets = _PRESETS

    model: ModelConfig = ModelConfig()
    shortcut: Shortcuts = Shortcuts()
    data: RecordsConfig = RecordsConfig()
    ask: AskConfig = AskConfig()
    train: FewShotConfig = FewShotConfig()
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
                good = all(value > 0 for value in _numbers(getattr(t, name), kind))
            except ValueError:
                good = False
            if not good:
                yield f"--{name} must be positive numbers, got {getattr(t, name)!r}"

    @property
    def methods(self) -> tuple[str, ...]:
        return names_in(self.ask.method)

    def max_length(self, task: str) -> int:
        """Most tokens of a row."""
        return self.data.max_length or _own(task).max_length

    def num_slots(self, task: str) -> int | None:
        """Slots as ``Task.pattern`` takes them; None for what the pattern has."""
        if self.ask.num_slots:
            return self.ask.num_slots
        return _own(task).num_slots if self.ask.layout == "reference" else None

    def grid(self, task: str, *, tunes_backbone: bool) -> list[TrainConfig]:
        """The settings to train with, each to be tried.

        Args:
            tunes_backbone: ``lr`` is that of the backbone, else that of the prompts.
        """
        t = self.train
        lr = self.tune.backbone_lr if tunes_backbone else self.encoder_lr(task)
        return [
            TrainConfig(
                max_steps=_own(task).max_steps if t.max_steps < 0 else t.max_steps,
                max_epochs=t.max_epochs,
                batch_size=size,
                relations_per_batch=1,
                rows_per_forward=t.rows_per_forward,
                eval_batch_size=t.eval_batch_size,
                eval_batch_tokens=t.eval_batch_tokens,
                lr=rate,
                schedule=t.schedule,
                warmup=self._warmup(task),
                weight_decay=t.weight_decay,
                max_grad_norm=t.max_grad_norm,
                eval_every=t.eval_every,
                patience=t.patience,
                selection=t.selection,
                seed=t.seed,
            )
            for rate in _numbers(t.grid_lr if tunes_backbone else t.grid_prompt_lr, float) or [lr]
            for size in _numbers(t.grid_batch_size, int) or [t.batch_size]
        ]

    def encoder_lr(self, task: str) -> float:
        """Peak learning rate of the prompts."""
        return self.train.lr or _own(task).encoder_lr

    def _warmup(self, task: str) -> float:
        own = _own(task)
        return own.warmup_steps / own.max_steps if self.train.warmup < 0 else self.train.warmup


def _own(task: str) -> FewShotSettings:
    return FEW_SHOT[task]


def _numbers(text: str, kind: type) -> list[Any]:
    return [kind(part) for part in names_in(text)]
