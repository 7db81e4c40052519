"""What is measured; each section fills a result as it goes, so that what is finished remains."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from ptune_scale.experiments.bench.asking import OursAsked, PeftAsked, PlainAsked
from ptune_scale.experiments.bench.case import Case
from ptune_scale.experiments.bench.config import BenchSections
from ptune_scale.experiments.bench.feed import Feed
from ptune_scale.experiments.bench.few_shot import measure_few_shot
from ptune_scale.experiments.bench.memory import peak_memory_mb
from ptune_scale.experiments.bench.quality import measure_quality
from ptune_scale.experiments.bench.ranks import throughputs
from ptune_scale.experiments.bench.rounds import (
    OURS,
    PEFT_SAME_WAYS,
    ClockName,
    Side,
    Timings,
    clock_of,
    measure,
    summarise,
)
from ptune_scale.experiments.bench.sides import ABLATIONS, MAIN, build
from ptune_scale.experiments.bench.texts import PLACES, text_case
from ptune_scale.flags import names_in
from ptune_scale.parser import called
from ptune_scale.progress import bar
from ptune_scale.run.precision import with_precision

_ON_GPUS = ("cuda", "ranks")
"""Sections that compute on GPUs where there are any."""

_TOKENS_PER_STEP = 2048
"""At most: logits at all positions, as other sides have them, fill the memory beyond that."""

Result = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """What was asked for, and what was asked to train on: facts, and long texts."""

    config: BenchSections
    case: Case
    texts: Sequence[str]

    def run(self, section: str, result: Result) -> None:
        """Measure a section in the precision of its device, and note the settings."""
        config = with_precision(self.config, gpu=0 if section in _ON_GPUS else None)
        case = replace(self.case, config=config, model=config.model)
        result["settings"] = config.as_dict()
        getattr(replace(self, config=config, case=case), f"_{section}")(result)

    def _main(
        self,
        result: Result,
        device: str = "cpu",
        clock: ClockName | None = None,
        more: Sequence[str] = (),
    ) -> None:
        """Training on facts and on long texts, peak memory, and answering.

        Args:
            more: sides that train on facts too.
        """
        asked = self.config.bench
        case = replace(self.case, device=torch.device(device)).at_its_fastest()
        clock = clock or asked.clock
        names = (*MAIN, *more)
        self._compare(_of_names(names, case), case, result, f"main on {device}", clock=clock)
        result["ours"] = {"attention": case.attention, "shortcuts": vars(case.shortcuts)}
        if asked.memory_steps:
            steps = [Feed(case).round(steps=asked.memory_steps)]
            with bar("peak memory", len(names), "sides", shown=True) as progress:
                for name, side in result["sides"].items():
                    side["memory_mb"] = peak_memory_mb(name, case, steps, asked.threads)
                    progress.update()
        self._texts(case, result, clock)
        self._predict(case, result, clock)

    def _texts(self, case: Case, result: Result, clock: ClockName) -> None:
        """Ours and PEFT in the same settings, epoch after epoch over the same long texts."""
        data, points = self.config.data, result.setdefault("texts", [])
        length = min(data.text_tokens, _longest(case))
        size = max(1, min(case.train.batch_size, _TOKENS_PER_STEP // length, data.num_texts))
        case = replace(case, train=replace(case.train, batch_size=size))
        keeps = [True] if case.model.text_cache and case.shortcuts.packing else []
        for place, kept in [*((place, False) for place in PLACES), *(("behind", k) for k in keeps)]:
            texts = text_case(case, self.texts, place, length).at_its_fastest()
            texts = replace(texts, text_cache=kept)
            point: Result = {}
            try:
                self._compare(
                    _of_names((*PEFT_SAME_WAYS, OURS), texts),
                    texts,
                    point,
                    f"{data.num_texts} texts of {length} tokens, slots {place}",
                    clock=clock,
                    rounds=self.config.bench.section_rounds,
                    facts=data.num_texts,
                    is_epochs=True,
                )
            finally:
                if point:
                    label = {"slots": place, "tokens": length, "texts per step": size}
                    points.append({**point, "label": label, "text_cache": texts.text_cache})

    def _predict(self, case: Case, result: Result, clock: ClockName) -> None:
        """Answers to facts."""
        sides: list[Callable[[], Side]] = [
            lambda: PeftAsked(case),
            lambda: PlainAsked(case),
            lambda: OursAsked(case),
        ]
        found = result.setdefault("predict", {})
        rounds = self.config.bench.section_rounds
        self._compare(sides, case, found, "predict", clock=clock, rounds=rounds)

    def _ablations(self, result: Result) -> None:
        """Ours with each thing switched off, in the same rounds."""
        asked, case = self.config.bench, self.case.at_its_fastest()
        if asked.ablations == "all":
            # On a CPU there are no CUDA graphs to do without, and some compute in fp32 anyway.
            fp32 = ["dtype_float32"] if case.dtype == torch.float32 else []
            names = [name for name in ABLATIONS if name not in ("cuda_graphs_off", *fp32)]
        else:
            names = list(names_in(asked.ablations))
        sides = _of_names([OURS, *(f"{OURS}_{name}" for name in names)], case)
        self._compare(sides, case, result, "ablations", rounds=asked.section_rounds)

    def _ranks(self, result: Result) -> None:
        """Processes."""
        points = result.setdefault("points", [])
        for point in throughputs(self.config):
            points.append(point)

    def _quality(self, result: Result) -> None:
        """PEFT's P@1 after as much CPU time as was asked for."""
        points = result.setdefault("rates", [])
        for point in measure_quality(self.case):
            points.append(point)

    def _few_shot(self, result: Result) -> None:
        """What PEFT's prompt tuning answers on SuperGLUE after as much CPU time."""
        points = result.setdefault("trainings", [])
        for point in measure_few_shot(self.case):
            points.append(point)

    def _cuda(self, result: Result) -> None:
        """The main section on a GPU, by wall time: CPU time says little about what a GPU does.

        Ours also without CUDA graphs, which short steps are made of.
        """
        if torch.cuda.is_available():
            self._main(result, "cuda", "wall", [f"{OURS}_cuda_graphs_off"])
            return
        built = torch.version.cuda
        why = f"built for CUDA {built}, but finds no GPU" if built else "built without CUDA"
        result["skipped"] = f"torch {torch.__version__} is {why}"
        print(f"{called('bench')}: section cuda skipped: {result['skipped']}", file=sys.stderr)

    def _compare(
        self,
        makers: Sequence[Callable[[], Side]],
        case: Case,
        result: Result,
        title: str,
        *,
        rounds: int = 0,
        facts: int = 0,
        clock: ClockName | None = None,
        is_epochs: bool = False,
    ) -> None:
        """Measure sides in turn; the result gets what is finished, whatever ends it.

        Args:
            is_epochs: each round is one pass over all records, and so is what sides warm up on,
                which is measured as the first epoch.
        """
        asked = self.config.bench
        rounds, facts = rounds or asked.rounds, facts or asked.facts_per_round
        sides = [make() for make in makers]
        feed, timings = Feed(case), Timings()
        first = feed.round(facts=facts) if is_epochs else feed.round(steps=asked.warmup_steps)
        following = [feed.round(facts=facts) for _ in range(rounds)]
        total = len(sides) * sum(len(each.rows) for each in following)
        with bar(title, total, "facts", shown=True) as progress:

            def advance(name: str, count: int) -> None:
                progress.set_postfix_str(name)
                progress.update(count)

            read_clock = clock_of(case.device)
            try:
                measure(
                    sides, timings, following, first=first, read_clock=read_clock, advance=advance
                )
            finally:
                if timings.rounds:
                    result.update(summarise(timings, clock or asked.clock))


def _of_names(names: Sequence[str], case: Case) -> list[Callable[[], Side]]:
    return [lambda name=name: build(name, case) for name in names]  # type: ignore[misc]


def _longest(case: Case) -> int:
    """Tokens that the model takes, less some for the object, which PEFT adds, and a first word."""
    limit = getattr(case.backbone.config, "max_position_embeddings", None)
    return (limit or 1 << 20) - 8
