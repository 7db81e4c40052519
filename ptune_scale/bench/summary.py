"""What the rounds say about each side, ready for JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import torch

from ptune_scale.bench.matmul import matmul_name
from ptune_scale.bench.rounds import Record, Timing
from ptune_scale.bench.sides import OURS, PEFT_SAME, PEFT_SAME_WAYS
from ptune_scale.bench.spread import (
    ClockName,
    Spread,
    facts_per_second,
    operations_per_second,
    over_rounds,
    ratio,
    seconds,
)


def summarise(
    record: Record, dtypes: Mapping[str, torch.dtype], clock: ClockName
) -> dict[str, Any]:
    """Over all finished rounds, of which there is at least one.

    Args:
        dtypes: of each side's model; they say which matrix products a side is compared with.
    """
    against = fastest_peft(record, list(dtypes), clock)
    products = {
        str(dtype).removeprefix("torch."): over_rounds(
            record, matmul_name(dtype), partial(operations_per_second, clock=clock)
        )
        for dtype in dict.fromkeys(dtypes.values())
    }
    return {
        "clock": clock,
        "finished_rounds": len(record.rounds),
        "matmul_gflop_per_second": {
            name: _scaled(rate, 1e-9).as_dict() for name, rate in products.items()
        },
        "peft_same_settings_is": against,
        "ratios": {
            name: ratio(record, OURS, side, partial(facts_per_second, clock=clock)).as_dict()
            for name, side in compared_with(list(dtypes), against).items()
        },
        "sides": {name: _side(record, name, dtype, clock) for name, dtype in dtypes.items()},
    }


def compared_with(names: Sequence[str], fastest: str | None) -> dict[str, str]:
    """What ours is compared with -> the side that stands for it."""
    others = {n: n for n in names if not n.startswith(OURS) and n not in PEFT_SAME_WAYS}
    return others | ({PEFT_SAME: fastest} if fastest else {})


def fastest_peft(record: Record, names: Sequence[str], clock: ClockName) -> str | None:
    """Of PEFT in our settings, the way that trained on the most facts per second."""
    ways = [name for name in PEFT_SAME_WAYS if name in names]
    rate = partial(facts_per_second, clock=clock)
    return max(ways, key=lambda n: over_rounds(record, n, rate).median) if ways else None


def _side(record: Record, name: str, dtype: torch.dtype, clock: ClockName) -> dict[str, Any]:
    timings = [timings[name] for timings in record.rounds]
    facts = sum(timing.done.facts for timing in timings)

    def per_fact(attribute: str) -> float:
        return sum(getattr(timing.done, attribute) for timing in timings) / facts

    rate = over_rounds(record, name, partial(operations_per_second, clock=clock))
    rates = {c: over_rounds(record, name, partial(facts_per_second, clock=c)) for c in _CLOCKS}
    return {
        "dtype": str(dtype).removeprefix("torch."),
        "facts_per_second": rates[clock].as_dict(),
        "facts_per_wall_second": rates["wall"].as_dict(),
        "ours_is_times_as_fast": _ours_to(record, name, clock),
        "ours_is_times_as_fast_by_wall_time": _ours_to(record, name, "wall"),
        "gflop_per_second": _scaled(rate, 1e-9).as_dict(),
        "matmul_share": _share(record, name, matmul_name(dtype), clock).as_dict(),
        "gflop_per_fact": per_fact("operations") / 1e9,
        "tokens_per_fact": per_fact("tokens"),
        "text_tokens_per_fact": per_fact("text_tokens"),
        "warmup_seconds": record.warmup_seconds[name],
        "rounds": [_flat(timing, clock) for timing in timings],
    }


_CLOCKS: tuple[ClockName, ...] = ("cpu", "wall")


def _ours_to(record: Record, name: str, clock: ClockName) -> dict[str, float] | None:
    if OURS not in record.rounds[0]:
        return None
    return ratio(record, OURS, name, partial(facts_per_second, clock=clock)).as_dict()


def _share(record: Record, name: str, product: str, clock: ClockName) -> Spread:
    return ratio(record, name, product, partial(operations_per_second, clock=clock))


def _flat(timing: Timing, clock: ClockName) -> dict[str, float]:
    flat = asdict(timing)
    done = flat.pop("done")
    return {
        **flat,
        "facts": done["facts"],
        "facts_per_second": done["facts"] / seconds(timing, clock),
    }


def _scaled(spread: Spread, factor: float) -> Spread:
    return Spread(spread.median * factor, spread.minimum * factor, spread.maximum * factor)
