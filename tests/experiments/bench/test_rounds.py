"""Sides in turn, and what their times say; the clock is made up."""

from ptune_scale.experiments.bench.feed import Round
from ptune_scale.experiments.bench.rounds import Timings, measure, spread, summarise
from ptune_scale.task.example import Example

STEP = [Example(0, (0, 5, 0), (0, -1, 1), (2,), (7,))] * 4
FACTS = Round([STEP], [STEP], [STEP])


class MadeUpClock:
    """Wall time runs twice as fast as CPU time."""

    def __init__(self):
        self.now = 0.0

    def read(self):
        return 2 * self.now, self.now


class MadeUpSide:
    """Takes given times for its parts, the first of them to warm up."""

    def __init__(self, name, clock, times, calls):
        self.name, self.clock, self.calls, self.times = name, clock, calls, iter(times)

    def start(self):
        self.calls.append(f"start {self.name}")

    def run(self, facts):
        self.calls.append(self.name)
        taken = next(self.times)
        if taken is None:
            raise KeyboardInterrupt
        self.clock.now += taken
        return len(facts.rows)


def run(times, rounds):
    clock, calls, timings = MadeUpClock(), [], Timings()
    sides = [MadeUpSide(name, clock, taken, calls) for name, taken in times.items()]
    try:
        measure(sides, timings, [FACTS] * rounds, first=FACTS, read_clock=clock.read)
    except KeyboardInterrupt:
        calls.append("stopped")
    return timings, calls


def test_all_sides_warm_up_and_every_second_round_is_reversed():
    timings, calls = run({"one": [9, 1, 1, 1], "two": [7, 2, 2, 2]}, rounds=3)
    assert calls[:4] == ["start one", "one", "start two", "two"]
    assert calls[4:] == ["one", "two", "two", "one", "one", "two"]
    assert timings.warmup_seconds == {"one": 18, "two": 14}
    assert [found["two"].cpu for found in timings.rounds] == [2, 2, 2]
    assert [found["one"].wall for found in timings.rounds] == [2, 2, 2]


def test_rounds_that_were_finished_outlast_an_interruption():
    timings, calls = run({"one": [1, 1, 1, 1], "two": [1, 1, None]}, rounds=3)
    assert calls[-1] == "stopped"
    assert len(timings.rounds) == 1 and set(timings.rounds[0]) == {"one", "two"}


def test_ratios_are_taken_within_rounds():
    sides = {
        "peft_documented": [9, 4, 8, 40],
        "peft_same_settings_eager": [9, 3, 6, 12],
        "peft_same_settings_sdpa": [9, 2, 4, 30],
        "reference_way": [9, 8, 8, 8],
        "ours": [9, 1, 2, 5],
    }
    timings, _ = run(sides, rounds=3)
    result = summarise(timings, "cpu")
    assert set(result["ratios"]) == {"peft_documented", "peft_same_settings", "reference_way"}
    assert result["ratios"]["peft_documented"] == {"median": 4, "min": 4, "max": 8}
    # Judged by medians over all rounds: 4 / 4 against 4 / 6 facts per second.
    assert result["peft_same_settings_is"] == "peft_same_settings_sdpa"
    assert result["ratios"]["peft_same_settings"] == {"median": 2, "min": 2, "max": 6}
    ours = result["sides"]["ours"]
    assert ours["facts_per_second"] == {"median": 2, "min": 0.8, "max": 4}
    wall = summarise(timings, "wall")
    assert wall["ratios"] == result["ratios"]
    assert wall["sides"]["ours"]["facts_per_second"]["median"] == 1


def test_spread():
    assert spread([3, 1, 2, 10]) == {"median": 2.5, "min": 1, "max": 10}
