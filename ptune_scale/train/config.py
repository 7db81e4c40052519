"""How prompts, and backbones, are trained: the settings and their flags; imports nothing heavy."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from ptune_scale.flags import OnOff, flag

Schedule = Literal["linear", "constant", "exponential"]

Rule = Literal["standard_error", "reference", "reference_strict"]
"""Which evaluations keep a prompt, and which count as misses.

standard_error: a score within one standard error of the best so far is as good (Breiman et al.
    1984, section 3.4.3, chose among trees so): development sets are small, so the highest of many
    scores is mostly luck, and a later prompt has seen more.
reference: as the published code on facts: a score that equals the best or beats it.
reference_strict: as the published code on SuperGLUE: such a score, too, but all metrics have to be
    beaten, not equalled, or the evaluation counts as a miss.
"""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """training"""

    steps_per_task: ClassVar[int] = 40
    """Of a job of many tasks that is given no number of steps."""

    max_steps: int = flag(
        -1,
        "training steps; 0: as many as max_epochs needs; -1: by the number of tasks",
        common=True,
        at_least=-1,
    )
    max_epochs: int = flag(
        100, "with max_steps 0: most passes over each task's records", at_least=1
    )
    batch_size: int = flag(32, "records per step, over all ranks", common=True, at_least=1)
    batch_tokens: int = flag(
        0,
        "tokens per step, over all ranks, instead of batch_size: as many records as fit into them, "
        "shared evenly by the step's tasks; 0: count records",
        at_least=0,
    )
    tasks_per_batch: int = flag(8, "tasks that share a step", at_least=1)
    rows_per_forward: int = flag(
        0, "most rows in one forward pass of a rank, 0 for no limit", at_least=0
    )
    eval_batch_size: int = flag(256, "rows per evaluation batch, over all ranks", at_least=1)
    eval_batch_tokens: int = flag(
        0,
        "most tokens in an evaluation batch, over all ranks, padding counted, besides "
        "eval_batch_size: long records come in smaller batches; 0: no limit",
        at_least=0,
    )
    lr: float = flag(2e-3, "peak learning rate of Adam", common=True, positive=True)
    schedule: Schedule = flag(
        "linear", "linear: warm up, then down to 0; exponential: times 0.98 each epoch"
    )
    warmup: float = flag(0.15, "share of training in which the learning rate rises", share=True)
    weight_decay: float = flag(5e-4, "Adam's coupled L2 penalty", at_least=0)
    max_grad_norm: float = flag(
        1.0, "an encoder's gradient is scaled down to this norm, 0: never", at_least=0
    )
    eval_every: int = flag(
        25, "a task's own steps between evaluations on dev, 0: each epoch", at_least=0
    )
    selection: Rule = flag(
        "standard_error",
        "the prompt kept: the last within a standard error of the best on dev, or the last that "
        "equals or beats it (reference: the published code; reference_strict: its SuperGLUE one, "
        "where only better scores count as no miss)",
    )
    patience: int = flag(
        8, "early stopping: worse evaluations in a row before a task stops, 0: never", at_least=0
    )
    seed: int = flag(34, "seed of initial prompts and data order", common=True)


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """training the backbone"""

    backbone_lr: float = flag(
        2e-5, "peak learning rate of its AdamW, scheduled as that of prompts", positive=True
    )
    backbone_weight_decay: float = flag(
        0.1, "decoupled decay of its weights, but not of biases and norms", at_least=0
    )
    backbone_dropout: OnOff = flag(
        "off",
        "run its own dropout in training; one that stays frozen too, as the published code does",
    )
