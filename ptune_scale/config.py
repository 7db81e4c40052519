"""What a run can be told: validated dataclasses, the single source of flags, defaults and help.

Values are layered: defaults, then the preset, then (when resuming) the checkpoint's, then what the
user typed. See ``ptune_scale.cli``.
"""

from dataclasses import dataclass
from typing import Any, Literal

from ptune_scale.backbone.quantized_linear import WeightBits
from ptune_scale.backbone.shortcuts import Shortcuts
from ptune_scale.encoder import EncoderKind
from ptune_scale.flag import OnOff, Sections, flag, names_in
from ptune_scale.prompt import EncoderSharing
from ptune_scale.selection import Rule

Schedule = Literal["linear", "constant", "exponential"]


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """the frozen language model"""

    model: str = flag(
        "smollm2-135m", "packaged model, model directory, GGUF file or Hugging Face id"
    )
    dtype: Literal["float32", "bfloat16"] = flag("bfloat16", "precision of the backbone")
    attention: Literal["eager", "sdpa"] = flag("eager", "attention implementation")
    weight_bits: WeightBits = flag(
        "full",
        "bits of the frozen weights: full, those of dtype; 8 or 4 in all layers, for models that "
        "are whole on each rank (needs bitsandbytes, the extra 'quantized')",
    )


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """the facts"""

    data_dir: str = flag("embedded", "directory with LAMA facts, or 'embedded' for built-in ones")
    relations: str = flag("all", "comma-separated relation ids, or 'all'")
    candidates: str = flag(
        "auto",
        "what answers are ranked among: full_vocab, common_vocab, relation (the relation's "
        "training objects) or a file with a word a line; auto is common_vocab where the data has "
        "one, else full_vocab",
    )
    on_bad_record: Literal["skip", "stop"] = flag("stop", "what to do with an unreadable record")
    dev_facts: int = flag(64, "most development facts per relation, 0 for all", at_least=0)
    test_facts: int = flag(0, "most test facts per relation, 0 for all", at_least=0)


@dataclass(frozen=True, kw_only=True)
class PromptConfig:
    """the prompt"""

    method: str = flag(
        "manual,ptuning",
        "comma-separated: manual, ptuning, ptuning_anchored, ptuning_from_manual, mp_ft, ft, "
        "lpaqa, autoprompt, autoprompt_bert, autoprompt_roberta",
    )
    template: str = flag(
        "(3, sub, 3, obj)",
        "cloze pattern, as '(3, sub, 3, obj)' or '[P]*3 [X] is in [P] [Y]': [P] prompt slots, "
        "[X] subject, [Y] target, anything else literal",
    )
    encoder: EncoderKind = flag("lstm", "prompt encoder; none trains the prompt itself")
    encoder_sharing: EncoderSharing = flag(
        "all", "all: one encoder for all relations; none: one each, as in the paper"
    )
    layout: Literal["correct", "reference"] = flag(
        "correct",
        "how the template becomes tokens, for --method ptuning; reference: as in the published "
        "code, --template then being three numbers, as '(3, 3, 3)'",
    )
    prompt_start: Literal["mean_word", "random"] = flag(
        "mean_word", "where prompts begin: around the mean word embedding, or as the encoder falls"
    )


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """training"""

    preset: Literal["practical", "paper", "reference"] = flag(
        "practical",
        "bundle of defaults; paper: settings of Liu et al. 2021 (slow); reference: also the token "
        "layout, selection and dropout of the published code",
    )
    max_steps: int = flag(
        -1, "training steps; 0: as many as max_epochs needs; -1: by relations", at_least=-1
    )
    max_epochs: int = flag(
        100, "with max_steps 0: most epochs over each relation's facts", at_least=1
    )
    batch_size: int = flag(32, "facts per step, over all ranks", at_least=1)
    batch_tokens: int = flag(
        0,
        "tokens per step, over all ranks, instead of batch_size: as many facts as fit into them, "
        "shared evenly by the step's relations; 0: count facts",
        at_least=0,
    )
    loss_over: Literal["full_vocab", "candidates"] = flag(
        "full_vocab",
        "words that the loss normalizes over: all, or the candidates that answers are ranked among "
        "(less to compute, another objective)",
    )
    relations_per_batch: int = flag(8, "relations that share a step", at_least=1)
    rows_per_forward: int = flag(
        0, "most facts in one forward pass of a rank, 0 for no limit", at_least=0
    )
    eval_batch_size: int = flag(256, "facts per evaluation batch, over all ranks", at_least=1)
    eval_batch_tokens: int = flag(
        0,
        "most tokens in an evaluation batch, over all ranks, padding counted, besides "
        "eval_batch_size: long facts come in smaller batches; 0: no limit",
        at_least=0,
    )
    lr: float = flag(2e-3, "peak learning rate of Adam", positive=True)
    schedule: Schedule = flag(
        "linear", "linear: warm up, then down to 0; exponential: times 0.98 each epoch"
    )
    warmup: float = flag(0.15, "share of training in which the learning rate rises", share=True)
    weight_decay: float = flag(5e-4, "Adam's coupled L2 penalty", at_least=0)
    max_grad_norm: float = flag(
        1.0, "an encoder's gradient is scaled down to this norm, 0: never", at_least=0
    )
    eval_every: int = flag(
        25, "a relation's own steps between evaluations on dev, 0: each epoch", at_least=0
    )
    selection: Rule = flag(
        "standard_error",
        "the prompt kept: the last within a standard error of the best on dev, or the last that "
        "equals or beats it (reference: the published code; reference_strict: its SuperGLUE one, "
        "where only better scores count as no miss)",
    )
    patience: int = flag(
        8, "worse evaluations in a row before a relation stops, 0: never", at_least=0
    )
    fused_adam: OnOff = flag(
        "on", "an encoder's parameters are stepped in one kernel; off: one after another"
    )
    seed: int = flag(34, "seed of initial prompts and data order")


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """training the backbone (methods ft, mp_ft)"""

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


@dataclass(frozen=True, kw_only=True)
class DiscreteConfig:
    """prompts made of words (methods lpaqa, autoprompt, autoprompt_bert, autoprompt_roberta)"""

    prompts_dir: str = flag(
        "", "directory with LPAQA's and AutoPrompt's published prompts; by default DATA_DIR/prompts"
    )
    lpaqa_prompts: int = flag(
        10,
        "most LPAQA prompts per relation and kind, by their published weights; 0 for all",
        at_least=0,
    )
    lpaqa_facts: int = flag(
        64,
        "most training facts per relation by which they are chosen and weighted; 0 for all",
        at_least=0,
    )
    autoprompt_words: int = flag(5, "words that AutoPrompt searches for, in tokens", at_least=1)
    autoprompt_steps: int = flag(
        30, "steps of the search per relation (the published code takes 1000)", at_least=0
    )
    autoprompt_candidates: int = flag(10, "tokens tried in each step", at_least=1)
    autoprompt_facts: int = flag(
        32, "facts of a gradient, and as many others to try tokens on", at_least=1
    )


@dataclass(frozen=True, kw_only=True)
class ParallelConfig:
    """the layout"""

    num_gpus: int = flag(0, "number of ranks on this machine; 0: as launched", at_least=0)
    tensor_parallel: int = flag(1, "ranks that share each layer; -1: all that are left")
    pipeline_parallel: int = flag(1, "stages of consecutive layers; -1: all that are left")
    zero_stage: int = flag(
        -1,
        "3: data-parallel ranks share each weight (DeepSpeed ZeRO-3); 0: each has a replica; "
        "-1: 3 where neither tensor nor pipeline parallelism is used",
    )
    encoder_placement: Literal["replicated", "owned"] = flag(
        "replicated",
        "replicated: each rank of the first stage holds all prompt encoders; owned: each encoder "
        "on one of these ranks, which needs --encoder_sharing none to spread anything (after a "
        "crash the last periodic checkpoint is what remains)",
    )
    deepspeed_config: str = flag(
        "", "another DeepSpeed JSON than ds_configs/zero3.json, for layouts with ZeRO-3"
    )


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """the run"""

    output_dir: str = flag("", "where results go; by default runs/DATE-TIME")
    resume_from: str = flag("", "output directory or checkpoint of an earlier run to go on with")
    checkpoint_every: int = flag(
        50, "steps between checkpoints, 0 for none but on a signal", at_least=0
    )


# Liu et al. 2021 give the learning rate; the rest is the published code's: Adam with coupled
# decay, batch 8, 100 epochs, dev once per epoch, patience 20, one encoder per relation.
_PAPER = {
    "lr": 1e-5,
    "schedule": "exponential",
    "warmup": 0.0,
    "weight_decay": 5e-4,
    "batch_size": 8,
    "relations_per_batch": 1,
    "encoder_sharing": "none",
    "prompt_start": "random",
    "max_grad_norm": 0.0,
    "max_steps": 0,
    "max_epochs": 100,
    "eval_every": 0,
    "patience": 20,
    "dev_facts": 0,
}

_PRESETS: dict[str, dict[str, Any]] = {
    "practical": {},
    "paper": _PAPER,
    "reference": {
        **_PAPER,
        "layout": "reference",
        "template": "(3, 3, 3)",
        "selection": "reference",
        "backbone_lr": 5e-6,
        "backbone_dropout": "on",
    },
}


@dataclass(frozen=True, kw_only=True)
class LamaConfig(Sections):
    """Everything that a LAMA run can be told."""

    presets = _PRESETS

    model: ModelConfig = ModelConfig()
    shortcut: Shortcuts = Shortcuts()
    data: DataConfig = DataConfig()
    prompt: PromptConfig = PromptConfig()
    train: TrainConfig = TrainConfig()
    tune: TuneConfig = TuneConfig()
    discrete: DiscreteConfig = DiscreteConfig()
    parallel: ParallelConfig = ParallelConfig()
    run: RunConfig = RunConfig()

    @property
    def methods(self) -> tuple[str, ...]:
        return names_in(self.prompt.method)
