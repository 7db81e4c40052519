"""What a LAMA run can be told; see ``ptune_scale.run.config`` for what it shares with others."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from ptune_scale.flags import OnOff, flag, names_in
from ptune_scale.lama.methods import METHODS, TRAINED_CONTROLS
from ptune_scale.run.config import (
    JobConfig,
    ModelConfig,
    ParallelConfig,
    PromptConfig,
    RunConfig,
    SearchConfig,
    ServedConfig,
    TrainConfig,
    TuneConfig,
)
from ptune_scale.task.pattern import SpellingName

Preset = Literal["practical", "paper", "reference"]


@dataclass(frozen=True, kw_only=True)
class FactsConfig:
    """the facts"""

    data_dir: str = flag(
        "embedded", "directory with LAMA facts, or 'embedded' for built-in ones", common=True
    )
    relations: str = flag("all", "comma-separated relation ids, or 'all'", common=True)
    objects: Literal["single", "all"] = flag(
        "single",
        "single: train on objects of one token, as the paper tests; all: on every object, and "
        "report exact match of whole phrases too",
        common=True,
    )
    candidates: str = flag(
        "auto",
        "what answers are ranked among: full_vocab, common_vocab, relation (the relation's "
        "training objects) or a file with a word a line; auto is common_vocab where the data has "
        "one, else full_vocab",
    )
    on_bad_record: Literal["skip", "stop"] = flag("stop", "what to do with an unreadable record")
    dev_facts: int = flag(
        64,
        "most development facts per relation, 0 for all; with --objects all as many of objects of "
        "one token and of others",
        at_least=0,
    )
    test_facts: int = flag(0, "most test facts per relation, counted in the same way", at_least=0)


@dataclass(frozen=True, kw_only=True)
class QuestionConfig:
    """the question"""

    preset: Preset = flag(
        "practical",
        "bundle of defaults; paper: settings of Liu et al. 2021 (slow); reference: also the "
        "spelling, selection and dropout of the published code",
        common=True,
    )
    method: str = flag(
        "manual,ptuning",
        f"comma-separated: {', '.join(METHODS)}",
        common=True,
    )
    controls: OnOff = flag(
        "off",
        f"also train prompts where there is nothing to be known: {', '.join(TRAINED_CONTROLS)}",
    )
    template: str = flag(
        "(3, sub, 3, obj)",
        "cloze pattern, as '(3, sub, 3, obj)' or '[P]*3 [X] is in [P] [Y]': [P] prompt slots, "
        "[X] subject, [Y] target, anything else literal",
        common=True,
    )
    ensemble: str = flag(
        "plain,demonstrated,incontext",
        "prompts that ptuning_ensemble asks together: plain, demonstrated, retrieved, anchored (as "
        "the methods ptuning... train them), incontext, incontext_retrieved, manual (as they are)",
    )
    demonstrations: int = flag(
        0,
        "training facts that are shown in front of a question, where a method shows some; 0: 16 "
        "that are the same for all questions of a relation, 8 that are retrieved for each",
        at_least=0,
    )
    spelling: SpellingName = flag(
        "correct",
        "how the template becomes tokens, for --method ptuning; reference: as in the published "
        "code, --template then being three numbers, as '(3, 3, 3)'",
    )

    @property
    def num_fixed(self) -> int:
        """Facts in front of all questions of a relation; they are computed once."""
        return self.demonstrations or 16

    @property
    def num_retrieved(self) -> int:
        """Facts in front of a question that has them to itself; each row computes its own."""
        return self.demonstrations or 8


@dataclass(frozen=True, kw_only=True)
class FactsTrainConfig(TrainConfig):
    """training"""

    steps_per_task: ClassVar[int] = 35
    """Twice as many are worth a point on dev; see docs/throughput.md, "A whole job"."""


@dataclass(frozen=True, kw_only=True)
class DiscreteConfig:
    """prompts made of words (methods lpaqa, autoprompt)"""

    prompts_dir: str = flag(
        "", "directory with LPAQA's published prompts; by default DATA_DIR/prompts"
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


# Liu et al. 2021 give the learning rate; the rest is the published code's: Adam with coupled
# decay, batch 8, 100 epochs, dev once per epoch, patience 20, one encoder per relation.
_PAPER = {
    "lr": 1e-5,
    "schedule": "exponential",
    "warmup": 0.0,
    "weight_decay": 5e-4,
    "batch_size": 8,
    "tasks_per_batch": 1,
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
        "spelling": "reference",
        "template": "(3, 3, 3)",
        "selection": "reference",
        "backbone_lr": 5e-6,
        "backbone_dropout": "on",
    },
}


@dataclass(frozen=True, kw_only=True)
class LamaConfig(JobConfig):
    """Everything that a LAMA run can be told."""

    presets = _PRESETS

    data: FactsConfig = FactsConfig()
    ask: QuestionConfig = QuestionConfig()
    model: ModelConfig = ModelConfig()
    served: ServedConfig = ServedConfig()
    prompt: PromptConfig = PromptConfig()
    train: TrainConfig = FactsTrainConfig(eval_every=40)
    search: SearchConfig = SearchConfig()
    tune: TuneConfig = TuneConfig()
    discrete: DiscreteConfig = DiscreteConfig()
    parallel: ParallelConfig = ParallelConfig()
    run: RunConfig = RunConfig()

    @property
    def methods(self) -> tuple[str, ...]:
        asked = self.search.methods(names_in(self.ask.method))
        return (*asked, *TRAINED_CONTROLS) if asked and self.ask.controls == "on" else asked
