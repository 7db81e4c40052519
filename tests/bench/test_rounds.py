"""Sides in turn, and what their times say; the clock is made up."""

import pytest
import torch

from ptune_scale.bench.feed import Round
from ptune_scale.bench.matmul import matmul_name
from ptune_scale.bench.rounds import Done, Record, measure
from ptune_scale.bench.spread import Spread
from ptune_scale.bench.summary import summarise
from ptune_scale.data.batch import Example

STEP = [Example(0, (0, 5, 0), (0, -1, 1), (2,), 7)] * 4
FACTS = Round([STEP], [STEP])
PRODUCT = matmul_name(torch.float32)


class MadeUpClock:
    """Wall time runs twice as fast as CPU time."""

    def __init__(self):
        self.now = 0.0

    def read(self):
        return 2 * self.now, self.now


class MadeUpSide:
    """Takes given times for its parts, the first of them to warm up."""

    def __init__(self, name, clock, times, calls, operations=0.0):
        self.name, self.clock, self.calls = name, clock, calls
        self.times, self.operations = iter(times), operations

    def start(self):
        self.calls.append(f"start {self.name}")

    def run(self, facts):
        self.calls.append(self.name)
        taken = next(self.times)
        if taken is None:
            raise KeyboardInterrupt
        self.clock.now += taken
        return Done(facts.facts, 12, facts.text_tokens, self.operations)


def run(times, rounds):
    clock, calls, record = MadeUpClock(), [], Record()
    sides = [MadeUpSide(name, clock, taken, calls, 3e9) for name, taken in times.items()]
    keywords = {"first": FACTS, "following": lambda: FACTS, "read_clock": clock.read}
    try:
        measure(sides, record, rounds, **keywords)
    except KeyboardInterrupt:
        calls.append("stopped")
    return record, calls


def test_all_sides_warm_up_and_every_second_round_is_reversed():
    record, calls = run({"one": [9, 1, 1, 1], "two": [7, 2, 2, 2]}, rounds=3)
    assert calls[:4] == ["start one", "one", "start two", "two"]
    assert calls[4:] == ["one", "two", "two", "one", "one", "two"]
    assert record.warmup_seconds == {"one": 18, "two": 14}
    assert [timings["two"].cpu_seconds for timings in record.rounds] == [2, 2, 2]
    assert [timings["one"].seconds for timings in record.rounds] == [2, 2, 2]


def test_rounds_that_were_finished_outlast_an_interruption():
    record, calls = run({"one": [1, 1, 1, 1], "two": [1, 1, None]}, rounds=3)
    assert calls[-1] == "stopped"
    assert len(record.rounds) == 1 and set(record.rounds[0]) == {"one", "two"}


def test_ratios_are_taken_within_rounds():
    sides = {
        PRODUCT: [1, 0.5, 0.5, 0.5],
        "peft_documented": [9, 4, 8, 40],
        "peft_same_settings_eager": [9, 3, 6, 12],
        "peft_same_settings_sdpa": [9, 2, 4, 30],
        "reference_way": [9, 8, 8, 8],
        "ours": [9, 1, 2, 5],
    }
    record, _ = run(sides, rounds=3)
    dtypes = dict.fromkeys(list(sides)[1:], torch.float32)
    result = summarise(record, dtypes, "cpu")
    assert set(result["ratios"]) == {"peft_documented", "peft_same_settings", "reference_way"}
    assert result["ratios"]["peft_documented"] == {"median": 4, "min": 4, "max": 8}
    # Judged by medians over all rounds: 4 / 4 against 4 / 6 facts per second.
    assert result["peft_same_settings_is"] == "peft_same_settings_sdpa"
    assert result["ratios"]["peft_same_settings"] == {"median": 2, "min": 2, "max": 6}
    ours = result["sides"]["ours"]
    assert ours["facts_per_second"] == {"median": 2, "min": 0.8, "max": 4}
    assert ours["facts_per_wall_second"]["median"] == 1
    assert ours["matmul_share"] == {"median": 0.25, "min": 0.1, "max": 0.5}
    assert ours["gflop_per_fact"] == pytest.approx(0.75)
    assert ours["tokens_per_fact"] == 3 and ours["text_tokens_per_fact"] == 1
    assert result["matmul_gflop_per_second"]["float32"]["median"] == pytest.approx(6)
    wall = summarise(record, dtypes, "wall")
    assert wall["ratios"] == result["ratios"]
    assert wall["sides"]["ours"]["facts_per_second"]["median"] == 1


def test_spread():
    assert Spread.of([3, 1, 2, 10]) == Spread(2.5, 1, 10)
