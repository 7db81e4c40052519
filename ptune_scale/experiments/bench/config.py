"""What a benchmark can be told."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from ptune_scale.flags import Sections, flag, names_in
from ptune_scale.run.config import (
    ModelConfig,
    ParallelConfig,
    PromptConfig,
    RunConfig,
    ServedConfig,
    TrainConfig,
    TuneConfig,
)

SECTIONS = ("main", "ablations", "ranks", "quality", "few_shot", "cuda")


@dataclass(frozen=True, kw_only=True)
class BenchConfig:
    """the measurement"""

    sections: str = flag("main", f"comma-separated: {', '.join(SECTIONS)}", common=True)
    rounds: int = flag(5, "rounds of the main section", common=True, at_least=1)
    section_rounds: int = flag(
        3, "rounds of texts, of predictions and of the other sections", at_least=1
    )
    facts_per_round: int = flag(
        128, "facts of each side in a round, filled up to whole steps", common=True, at_least=1
    )
    warmup_steps: int = flag(2, "steps of each side before anything is timed", at_least=1)
    threads: int = flag(1, "CPU threads of every side", common=True, at_least=1)
    clock: Literal["cpu", "wall"] = flag(
        "cpu",
        "what ratios and rates are computed from; both are recorded. CPU time is that of all "
        "threads and hardly depends on what else runs on the machine",
    )
    memory_steps: int = flag(
        3, "steps in which each side's peak memory is measured, 0: not at all", at_least=0
    )
    ablations: str = flag("all", "comma-separated lines of the section ablations, or 'all'")
    ranks: str = flag("1,2", "numbers of ranks for the section ranks")
    minutes: float = flag(
        40.0,
        "CPU minutes for which the sections quality and few_shot train PEFT's prompts, all "
        "relations or tasks together, at each learning rate and repetition",
        positive=True,
    )
    peft_rates: str = flag("0.001,0.003,0.01", "learning rates of the section quality")
    test_facts: int = flag(
        0, "most test facts per relation of the section quality, 0 for all", at_least=0
    )
    output_dir: str = flag("", "where results go; by default runs/bench-DATE-TIME", common=True)


@dataclass(frozen=True, kw_only=True)
class BenchDataConfig:
    """the facts, and how ours takes them"""

    data_dir: str = flag("embedded", "LAMA facts, or 'embedded' for built-in ones", common=True)
    relations: str = flag("all", "comma-separated relation ids, or 'all'", common=True)
    texts: str = flag(
        "",
        "JSON lines with texts as 'passage' or 'text', such as FewGLUE's BoolQ/train.jsonl, for "
        "long rows; by default Python's documentation",
    )
    text_tokens: int = flag(256, "tokens of a long row, slots included", at_least=8)
    num_texts: int = flag(32, "texts of an epoch", at_least=1)
    template: str = flag("(3, sub, 3, obj)", "pattern, as '(3, sub, 3, obj)'")
    batch_size: int = flag(32, "facts per step", at_least=1)
    tasks_per_batch: int = flag(8, "relations that share a step of ours", at_least=1)
    seed: int = flag(34, "seed of initial prompts and data order")


@dataclass(frozen=True, kw_only=True)
class FewShotBenchConfig:
    """the section few_shot"""

    few_shot: str = flag("", "directory of FewGLUE, with a directory for each task")
    tasks: str = flag("all", "comma-separated names of its tasks, or 'all'")
    repetitions: int = flag(3, "trainings of each task; seeds count on from --seed", at_least=1)
    prompt_rates: str = flag("0.003,0.03", "learning rates to try; PEFT's guide has 0.03")


@dataclass(frozen=True, kw_only=True)
class BenchSections(Sections):
    """All that a benchmark can be told; ours computes as a long job does."""

    bench: BenchConfig = BenchConfig()
    model: ModelConfig = ModelConfig()
    data: BenchDataConfig = BenchDataConfig()
    prompt: PromptConfig = PromptConfig()
    few_shot: FewShotBenchConfig = FewShotBenchConfig()
    # No flags: what a job of ours has besides.
    train: ClassVar[TrainConfig] = TrainConfig()
    tune: ClassVar[TuneConfig] = TuneConfig()
    served: ClassVar[ServedConfig] = ServedConfig()
    parallel: ClassVar[ParallelConfig] = ParallelConfig()
    run: ClassVar[RunConfig] = RunConfig()
    methods: ClassVar[tuple[str, ...]] = ("ptuning",)

    def contradictions(self) -> Iterator[str]:
        ranks, names = names_in(self.bench.ranks), names_in(self.bench.sections)
        if not ranks or not all(part.isdecimal() and int(part) for part in ranks):
            yield f"--ranks {self.bench.ranks!r}: write numbers of ranks, as in 1,2"
        if not names or not set(names) <= set(SECTIONS):
            yield f"--sections {self.bench.sections!r}: choose from {', '.join(SECTIONS)}"
        for flag_name, text in (
            ("peft_rates", self.bench.peft_rates),
            ("prompt_rates", self.few_shot.prompt_rates),
        ):
            try:
                rates = [float(rate) for rate in names_in(text)]
            except ValueError:
                rates = []
            if not rates or not all(0 < rate < math.inf for rate in rates):
                yield f"--{flag_name} {text!r}: write learning rates, as in 0.001,0.01"
        if "few_shot" in names and not self.few_shot.few_shot:
            yield "--sections few_shot: --few_shot DIR is needed, the directory of its tasks"
        if self.model.weight_bits != "full":
            yield "--weight_bits: the other sides have full weights, so ours has them too"
