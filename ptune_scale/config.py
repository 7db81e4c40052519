"""What a run can be told: validated dataclasses, the single source of flags, defaults and help.

Values are layered: defaults, then the preset, then (when resuming) the checkpoint's, then what the
user typed. See ``ptune_scale.cli``.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from ptune_scale.backbone.quantized_linear import WeightBits
from ptune_scale.backbone.shortcuts import Shortcuts
from ptune_scale.encoder import EncoderKind
from ptune_scale.errors import UserError
from ptune_scale.prompt import EncoderSharing

OnOff = Literal["on", "off"]


def _flag(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """the frozen language model"""

    model: str = _flag(
        "smollm2-135m", "packaged model, model directory, GGUF file or Hugging Face id"
    )
    dtype: Literal["float32", "bfloat16"] = _flag("bfloat16", "precision of the backbone")
    attention: Literal["eager", "sdpa"] = _flag("eager", "attention implementation")
    weight_bits: WeightBits = _flag(
        "full",
        "bits of the frozen weights: full, those of dtype; 8 or 4 in all layers, for models that "
        "are whole on each rank (needs bitsandbytes, the extra 'quantized')",
    )


@dataclass(frozen=True, kw_only=True)
class ShortcutConfig:
    """what need not be computed; none changes more than rounding"""

    packing: OnOff = _flag(
        "on",
        "facts lie behind one another, those of a relation share its beginning (GPT-2, Llama, "
        "Mistral, Qwen, Gemma, Granite, OLMo 2, Megatron); needed by what follows",
    )
    skip_lead: OnOff = _flag("on", "no backward pass for tokens before the first prompt slot")
    last_layer: Literal["targets", "all"] = _flag(
        "targets", "tokens that the last prepared layer is computed for"
    )
    prepared_layers: OnOff = _flag(
        "on", "merged projections in layers of Llama, Mistral and Qwen2 models"
    )
    packed_weights: OnOff = _flag(
        "off", "weights in oneDNN's layouts too: faster on CPUs in bf16, thrice the memory"
    )
    compiled_layers: OnOff = _flag(
        "off", "compile prepared layers: faster, after some ten seconds at the start"
    )

    @property
    def shortcuts(self) -> Shortcuts:
        return Shortcuts(
            pack=self.packing == "on",
            skip_lead=self.skip_lead == "on",
            last_layer=self.last_layer == "targets",
            prepare=self.prepared_layers == "on",
            pack_weights=self.packed_weights == "on",
            compile=self.compiled_layers == "on",
        )


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """the facts"""

    data_dir: str = _flag("embedded", "directory with LAMA facts, or 'embedded' for built-in ones")
    relations: str = _flag("all", "comma-separated relation ids, or 'all'")
    candidates: str = _flag(
        "auto",
        "what answers are ranked among: full_vocab, common_vocab, relation (the relation's "
        "training objects) or a file with a word a line; auto is common_vocab where the data has "
        "one, else full_vocab",
    )
    on_bad_record: Literal["skip", "stop"] = _flag("stop", "what to do with an unreadable record")
    dev_facts: int = _flag(64, "most development facts per relation, 0 for all")
    test_facts: int = _flag(0, "most test facts per relation, 0 for all")


@dataclass(frozen=True, kw_only=True)
class PromptConfig:
    """the prompt"""

    method: str = _flag("manual,ptuning", "comma-separated: manual, ptuning")
    template: str = _flag(
        "(3, sub, 3, obj)",
        "cloze pattern, as '(3, sub, 3, obj)' or '[P]*3 [X] is in [P] [Y]': [P] prompt slots, "
        "[X] subject, [Y] target, anything else literal",
    )
    encoder: EncoderKind = _flag("lstm", "prompt encoder; none trains the prompt itself")
    encoder_sharing: EncoderSharing = _flag(
        "all", "all: one encoder for all relations; none: one each, as in the paper"
    )
    prompt_start: Literal["mean_word", "random"] = _flag(
        "mean_word", "where prompts begin: around the mean word embedding, or as the encoder falls"
    )


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """training"""

    preset: Literal["practical", "paper"] = _flag(
        "practical", "bundle of defaults; paper: settings of Liu et al. 2021 (slow)"
    )
    max_steps: int = _flag(-1, "training steps; 0: as many as max_epochs needs; -1: by relations")
    max_epochs: int = _flag(100, "with max_steps 0: most epochs over each relation's facts")
    batch_size: int = _flag(32, "facts per step, over all ranks")
    batch_tokens: int = _flag(
        0,
        "tokens per step, over all ranks, instead of batch_size: as many facts as fit into them, "
        "shared evenly by the step's relations; 0: count facts",
    )
    loss_over: Literal["full_vocab", "candidates"] = _flag(
        "full_vocab",
        "words that the loss normalizes over: all, or the candidates that answers are ranked among "
        "(less to compute, another objective)",
    )
    relations_per_batch: int = _flag(8, "relations that share a step")
    rows_per_forward: int = _flag(0, "most facts in one forward pass of a rank, 0 for no limit")
    eval_batch_size: int = _flag(256, "facts per evaluation batch, over all ranks")
    eval_batch_tokens: int = _flag(
        0,
        "most tokens in an evaluation batch, over all ranks, padding counted, besides "
        "eval_batch_size: long facts come in smaller batches; 0: no limit",
    )
    lr: float = _flag(2e-3, "peak learning rate of Adam")
    schedule: Literal["linear", "constant", "exponential"] = _flag(
        "linear", "linear: warm up, then down to 0; exponential: times 0.98 each epoch"
    )
    warmup: float = _flag(0.15, "share of training in which the learning rate rises")
    weight_decay: float = _flag(5e-4, "Adam's coupled L2 penalty")
    max_grad_norm: float = _flag(1.0, "an encoder's gradient is scaled down to this norm, 0: never")
    eval_every: int = _flag(25, "a relation's own steps between evaluations on dev, 0: each epoch")
    patience: int = _flag(8, "worse evaluations in a row before a relation stops, 0: never")
    seed: int = _flag(34, "seed of initial prompts and data order")


@dataclass(frozen=True, kw_only=True)
class ParallelConfig:
    """the layout"""

    num_gpus: int = _flag(0, "number of ranks on this machine; 0: as launched")
    tensor_parallel: int = _flag(1, "ranks that share each layer; -1: all that are left")
    pipeline_parallel: int = _flag(1, "stages of consecutive layers; -1: all that are left")
    zero_stage: int = _flag(
        -1,
        "3: data-parallel ranks share each weight (DeepSpeed ZeRO-3); 0: each has a replica; "
        "-1: 3 where neither tensor nor pipeline parallelism is used",
    )
    encoder_placement: Literal["replicated", "owned"] = _flag(
        "replicated",
        "replicated: each rank of the first stage holds all prompt encoders; owned: each encoder "
        "on one of these ranks, which needs --encoder_sharing none to spread anything (after a "
        "crash the last periodic checkpoint is what remains)",
    )
    deepspeed_config: str = _flag(
        "", "another DeepSpeed JSON than ds_configs/zero3.json, for layouts with ZeRO-3"
    )


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """the run"""

    output_dir: str = _flag("", "where results go; by default runs/DATE-TIME")
    resume_from: str = _flag("", "output directory or checkpoint of an earlier run to go on with")
    checkpoint_every: int = _flag(50, "steps between checkpoints, 0 for none but on a signal")


@dataclass(frozen=True, kw_only=True)
class LamaConfig:
    """Everything that a LAMA run can be told."""

    model: ModelConfig = ModelConfig()
    shortcut: ShortcutConfig = ShortcutConfig()
    data: DataConfig = DataConfig()
    prompt: PromptConfig = PromptConfig()
    train: TrainConfig = TrainConfig()
    parallel: ParallelConfig = ParallelConfig()
    run: RunConfig = RunConfig()

    def __post_init__(self) -> None:
        """Check all values at once.

        Raises:
            UserError: names every value that cannot be.
        """
        t, d = self.train, self.data
        wrong = [
            f"--{name} must be {rule}, got {value!r}"
            for name, value, rule, good in (
                ("lr", t.lr, "a positive number", 0 < t.lr < float("inf")),
                ("warmup", t.warmup, "in [0, 1)", 0 <= t.warmup < 1),
                ("weight_decay", t.weight_decay, "0 or more", t.weight_decay >= 0),
                ("max_grad_norm", t.max_grad_norm, "0 or more", t.max_grad_norm >= 0),
                ("max_steps", t.max_steps, "-1, 0 or more", t.max_steps >= -1),
                ("max_epochs", t.max_epochs, "1 or more", t.max_epochs >= 1),
                ("batch_size", t.batch_size, "1 or more", t.batch_size >= 1),
                ("batch_tokens", t.batch_tokens, "0 or more", t.batch_tokens >= 0),
                ("eval_batch_size", t.eval_batch_size, "1 or more", t.eval_batch_size >= 1),
                ("eval_batch_tokens", t.eval_batch_tokens, "0 or more", t.eval_batch_tokens >= 0),
                (
                    "relations_per_batch",
                    t.relations_per_batch,
                    "1 or more",
                    t.relations_per_batch >= 1,
                ),
                ("rows_per_forward", t.rows_per_forward, "0 or more", t.rows_per_forward >= 0),
                ("eval_every", t.eval_every, "0 or more", t.eval_every >= 0),
                ("patience", t.patience, "0 or more", t.patience >= 0),
                (
                    "checkpoint_every",
                    self.run.checkpoint_every,
                    "0 or more",
                    self.run.checkpoint_every >= 0,
                ),
                ("num_gpus", self.parallel.num_gpus, "0 or more", self.parallel.num_gpus >= 0),
                ("dev_facts", d.dev_facts, "0 or more", d.dev_facts >= 0),
                ("test_facts", d.test_facts, "0 or more", d.test_facts >= 0),
            )
            if not good
        ]
        if wrong:
            raise UserError("; ".join(wrong))

    @property
    def methods(self) -> tuple[str, ...]:
        return tuple(name.strip() for name in self.prompt.method.split(",") if name.strip())

    def as_dict(self) -> dict[str, dict[str, Any]]:
        return dataclasses.asdict(self)


SECTIONS: dict[str, type] = {
    "model": ModelConfig,
    "shortcut": ShortcutConfig,
    "data": DataConfig,
    "prompt": PromptConfig,
    "train": TrainConfig,
    "parallel": ParallelConfig,
    "run": RunConfig,
}

PRESETS: dict[str, dict[str, Any]] = {
    "practical": {},
    # Liu et al. 2021 give the learning rate; the rest is the published code's: Adam with coupled
    # decay, batch 8, 100 epochs, dev once per epoch, patience 20, one encoder per relation.
    "paper": {
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
    },
}


def config_from_flags(flags: dict[str, Any]) -> LamaConfig:
    """Build the configuration from a flat mapping of flag names, over the preset's values.

    Raises:
        UserError: a value is out of range.
    """
    values = {**PRESETS[flags.get("preset", "practical")], **flags}
    sections = {}
    for name, section in SECTIONS.items():
        known = {f.name for f in dataclasses.fields(section)}
        sections[name] = section(**{k: v for k, v in values.items() if k in known})
    return LamaConfig(**sections)
