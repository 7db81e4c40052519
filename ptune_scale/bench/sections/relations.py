"""Relations in one job: as many facts of one relation, of eight, of all."""

from dataclasses import replace
from functools import partial
from typing import Any

from ptune_scale.bench.case import Case
from ptune_scale.bench.comparison import Bench
from ptune_scale.bench.feed import Feed, Round
from ptune_scale.bench.rounds import Clock, Done, Record, Timing, measure
from ptune_scale.bench.sides.ours import Ours
from ptune_scale.bench.spread import facts_per_second, over_rounds, ratio, seconds
from ptune_scale.bench.tables import row, shown
from ptune_scale.progress import bar

_COUNTS = (1, 8, 41)


class _Job:
    """Ours on a number of relations, which takes facts of its own."""

    def __init__(self, case: Case, count: int) -> None:
        self.name = str(count)
        facts = case.with_facts(replace(case.facts, relations=case.facts.relations[:count]))
        self._ours = Ours(self.name, facts)
        self._feed = Feed(facts.job())
        self.start = self._ours.start

    def run(self, facts: Round) -> Done:
        """As many facts as the round has, to the step."""
        return self._ours.run(self._feed.facts(facts.facts))


def run(bench: Bench, result: dict[str, Any]) -> None:
    """Measure all counts in the same rounds."""
    case, config = bench.case, bench.config
    available = len(case.facts.relations)
    counts = sorted({min(count, available) for count in _COUNTS})
    jobs = [_Job(case, count) for count in counts]
    feed, record = Feed(case.job()), Record()
    total = config.section_rounds * config.facts_per_round * len(jobs)
    with bar("relations", total, "facts", shown=True) as progress:
        try:
            measure(
                jobs,
                record,
                config.section_rounds,
                first=feed.steps(config.warmup_steps),
                following=lambda: feed.facts(config.facts_per_round),
                read_clock=Clock(case.device).read,
                advance=lambda name, facts: progress.update(facts),
            )
        finally:
            if record.rounds:
                result["points"] = [_point(record, job.name, bench) for job in jobs]


def _point(record: Record, name: str, bench: Bench) -> dict[str, Any]:
    clock = bench.config.clock
    rate, per_token = partial(facts_per_second, clock=clock), _tokens_per_second(clock)
    timings = [timings[name] for timings in record.rounds]
    tokens = sum(timing.done.text_tokens for timing in timings)
    first = next(iter(record.rounds[0]))
    return {
        "relations": int(name),
        "facts_per_second": over_rounds(record, name, rate).as_dict(),
        "time_per_fact_to_one_relation": ratio(record, first, name, rate).as_dict(),
        "time_per_token_to_one_relation": ratio(record, first, name, per_token).as_dict(),
        "text_tokens_per_fact": tokens / sum(timing.done.facts for timing in timings),
    }


def _tokens_per_second(clock: Any) -> Any:
    def value(timing: Timing) -> float:
        return timing.done.tokens / seconds(timing, clock)

    return value


def table(result: dict[str, Any]) -> str:
    """One line a count."""
    titles = ["relations", "facts/s", "time of a fact to that with one relation", "of a token"]
    titles.append("text tokens per fact")
    lines = [row(titles), row(["---"] * len(titles))]
    for point in result.get("points", []):
        cells = [str(point["relations"]), shown(point["facts_per_second"])]
        cells.append(shown(point["time_per_fact_to_one_relation"], 2))
        cells.append(shown(point["time_per_token_to_one_relation"], 2))
        lines.append(row([*cells, f"{point['text_tokens_per_fact']:.2f}"]))
    return "\n".join(lines)
