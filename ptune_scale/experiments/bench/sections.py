"""What is varied; each section fills a result as it goes, so that what is finished remains."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from ptune_scale.experiments.bench.case import Case
from ptune_scale.experiments.bench.config import BenchSections
from ptune_scale.experiments.bench.feed import Feed
from ptune_scale.experiments.bench.memory import peak_memory_mb
from ptune_scale.experiments.bench.ranks import throughputs
from ptune_scale.experiments.bench.rounds import (
    OURS,
    PEFT_SAME_WAYS,
    ClockName,
    Timings,
    clock_of,
    measure,
    summarise,
)
from ptune_scale.experiments.bench.sides import ABLATIONS, MAIN, build
from ptune_scale.flags import names_in
from ptune_scale.parser import called
from ptune_scale.progress import bar

BATCH_SIZES = (8, 16, 32, 64, 128)
LENGTHS = (8, 16, 32, 64, 128, 256)
LONG_PATTERNS = ("[X] [P]*3 [Y]", "[P]*3 [X] [P]*3 [Y]")
"""Behind a text, which needs no backward pass then, and around it."""
_TOKENS_PER_STEP = 2048
"""At most: logits at all positions, as other sides have them, fill the memory beyond that."""

Result = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """What was asked for, and what was asked to train on."""

    config: BenchSections
    case: Case

    def run(self, section: str, result: Result) -> None:
        """Measure a section."""
        getattr(self, f"_{section}")(result)

    def _main(self, result: Result, device: str = "cpu", clock: ClockName | None = None) -> None:
        """All sides on facts, their peak memory; ours and PEFT on long texts."""
        asked, case = self.config.bench, replace(self.case, device=torch.device(device))
        self._compare(case, MAIN, result, f"main on {device}", asked.rounds, clock=clock)
        result["settings"] = self.config.as_dict()
        if asked.memory_steps:
            steps = [Feed(case).round(steps=asked.memory_steps)]
            with bar("peak memory", len(MAIN), "sides", shown=True) as progress:
                for name, side in result["sides"].items():
                    side["memory_mb"] = peak_memory_mb(name, case, steps, asked.threads)
                    progress.update()
        longest = min(LENGTHS[-1], _longest(case))
        texts = [({"pattern": p}, *self._passages(case.worded(p), longest)) for p in LONG_PATTERNS]
        self._points(texts, result)

    def _ablations(self, result: Result) -> None:
        """Ours with each thing switched off, in the same rounds."""
        asked = self.config.bench
        names = ABLATIONS if asked.ablations == "all" else names_in(asked.ablations)
        sides = [OURS, *(f"{OURS}_{name}" for name in names)]
        self._compare(self.case, sides, result, "ablations", asked.section_rounds)

    def _batch(self, result: Result) -> None:
        """Facts per step, from few to many."""
        facts, train = self.config.bench.facts_per_round, self.case.train
        cases = [replace(self.case, train=replace(train, batch_size=n)) for n in BATCH_SIZES]
        self._points([({}, case, max(case.train.batch_size, facts)) for case in cases], result)

    def _length(self, result: Result) -> None:
        """Tokens per fact, from few to as many as the model takes."""
        lengths = [n for n in LENGTHS if n <= _longest(self.case)]
        self._points([({}, *self._passages(self.case, n)) for n in lengths], result)

    def _ranks(self, result: Result) -> None:
        """Processes."""
        points = result.setdefault("points", [])
        for point in throughputs(self.config):
            points.append(point)

    def _cuda(self, result: Result) -> None:
        """The main section on a GPU, by wall time: CPU time says little about what a GPU does."""
        if torch.cuda.is_available():
            self._main(result, "cuda", "wall")
            return
        built = torch.version.cuda
        why = f"built for CUDA {built}, but finds no GPU" if built else "built without CUDA"
        result["skipped"] = f"torch {torch.__version__} is {why}"
        print(f"{called('bench')}: section cuda skipped: {result['skipped']}", file=sys.stderr)

    def _compare(
        self,
        case: Case,
        names: Sequence[str],
        result: Result,
        title: str,
        rounds: int,
        facts: int = 0,
        clock: ClockName | None = None,
    ) -> None:
        """Measure sides in turn; the result gets what is finished, whatever ends it."""
        asked = self.config.bench
        facts = facts or asked.facts_per_round
        sides = [build(name, case) for name in names]
        feed, timings = Feed(case), Timings()
        first = feed.round(steps=asked.warmup_steps)
        following = [feed.round(facts=facts) for _ in range(rounds)]
        with bar(title, rounds * facts * len(sides), "facts", shown=True) as progress:

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

    def _points(self, cases: Iterable[tuple[dict[str, Any], Case, int]], result: Result) -> None:
        """Ours and PEFT in the same settings on cases, each with what it is about and its facts."""
        points = result.setdefault("points", [])
        for label, case, facts in cases:
            point: Result = {}
            rows = Feed(case).round(facts=facts).rows
            tokens = sum(slot < 0 for row in rows for slot in row.slots) / len(rows)
            label |= {"facts per step": case.train.batch_size, "text tokens per fact": tokens}
            title = ", ".join(f"{key} {value}" for key, value in label.items())
            sides, rounds = (*PEFT_SAME_WAYS, OURS), self.config.bench.section_rounds
            try:
                self._compare(case, sides, point, title, rounds, facts)
            finally:
                if point:
                    points.append({"label": label, **point})

    def _passages(self, case: Case, length: int) -> tuple[Case, int]:
        """A case of rows of a length, and the facts of a round."""
        most = max(1, _TOKENS_PER_STEP // length)
        size = min(case.train.batch_size, most)
        facts = min(self.config.bench.facts_per_round, max(size, most))
        case = replace(case, train=replace(case.train, batch_size=size))
        return case.passages(length, 4 * max(facts, size)), facts


def _longest(case: Case) -> int:
    """Tokens that the model takes, less some for the object, which PEFT adds, and a first word."""
    limit = getattr(case.backbone.config, "max_position_embeddings", None)
    return (limit or 1 << 20) - 8
