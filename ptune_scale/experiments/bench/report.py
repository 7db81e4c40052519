"""Results as JSON, as tables and as a plot."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from ptune_scale.experiments.bench.machine import machine
from ptune_scale.experiments.bench.rounds import OURS, PEFT_DOCUMENTED, PEFT_GROUPED, PEFT_SAME
from ptune_scale.files import write_file, write_json, write_text
from ptune_scale.tune.scores import versions

Result = Mapping[str, Any]


def write(sections: dict[str, dict[str, Any]], threads: int, directory: Path) -> str:
    """Write bench.json, bench.md and, where the main section ran, bench.png.

    Args:
        sections: name -> what it has filled in.

    Returns:
        the tables.

    Raises:
        UserError: the directory cannot be written to.
    """
    main = sections.get("main", {})
    sides = main.get("sides", {})
    where = machine(threads)
    results = {
        "ratios": ratios(main),
        "facts_per_second": sides[OURS]["facts_per_second"]["median"] if sides else None,
        "peak_memory_mb": {n: s["memory_mb"] for n, s in sides.items() if "memory_mb" in s},
        "sections": sections,
        "versions": versions(),
        "machine": where,
    }
    text = "\n".join(_page(sections, where)) + "\n"
    write_json(directory / "bench.json", results)
    write_text(directory / "bench.md", text)
    if sides:
        write_file(directory / "bench.png", lambda path: _plot(sides, path))
    return text


def ratios(main: Result) -> dict[str, Any]:
    """How many times as fast ours is as PEFT: on facts, and on texts that are kept; None where it
    was not measured."""
    facts = main.get("ratios", {})
    kept = [point for point in main.get("texts", ()) if point["text_cache"]]
    behind = [point["ratios"][PEFT_SAME] for point in kept if point["label"]["slots"] == "behind"]
    return {
        **{name: facts.get(name) for name in (PEFT_DOCUMENTED, PEFT_SAME, PEFT_GROUPED)},
        "text_cached": behind[0] if behind else None,
    }


def _page(sections: Mapping[str, Result], where: Result) -> Iterator[str]:
    yield f"# Facts per second of P-tuning\n\n{where['processor']}, "
    amx = "with" if where["has_amx"] else "without"
    yield f"{where['threads']} of {where['cores']} cores, {amx} AMX, "
    yield f"bf16 products {where['bf16_products_gflops']} GFLOP/s a core; medians [least, most]"
    for name, result in sections.items():
        yield f"\n## {name}\n"
        if "skipped" in result:
            yield f"Skipped: {result['skipped']}."
        if "sides" in result:
            yield _table(_sides(result))
        if texts := result.get("texts"):
            yield "\nThe same texts again and again, from the second epoch on:\n"
            yield _table(_texts(texts))
        if result.get("predict"):
            yield "\nAnswering facts, without a gradient:\n"
            yield _table(_sides(result["predict"]))
        if points := result.get("points"):
            yield "\n" + _table(_ranks(points))
        if rates := result.get("rates"):
            yield "\nPEFT, an adapter for each relation, its fastest settings:\n"
            yield _table(_quality(rates))
        if trainings := result.get("trainings"):
            dtype = result["settings"]["model"]["dtype"]
            yield f"\nPEFT's prompt tuning in {dtype}, the step chosen on dev; mean (deviation):\n"
            yield _table(_few_shot(trainings))


def _sides(result: Result) -> Iterator[list[str]]:
    unit = "CPU second" if result["clock"] == "cpu" else "second"
    ratios = {
        "ours is times as fast": "ours_is_times_as_fast",
        "by wall time": "ours_is_times_as_fast_by_wall_time",
    }
    yield ["side", f"facts per {unit}", *ratios, "warm-up s", "peak memory, MB"]
    for name, side in result["sides"].items():
        shown = [_shown(side[ratio], 2) if name != OURS else "" for ratio in ratios.values()]
        memory = f"{side['memory_mb']:.0f}" if "memory_mb" in side else ""
        warmup = f"{side['warmup_seconds']:.1f}"
        yield [name, _shown(side["facts_per_second"]), *shown, warmup, memory]


def _texts(points: Sequence[Result]) -> Iterator[list[str]]:
    labels = points[0]["label"]
    yield [*labels, "cached", "ours, texts/s", "PEFT, texts/s", "ours is times as fast"]
    for point in points:
        fastest = point["peft_same_settings_is"]
        rates = [_shown(point["sides"][name]["facts_per_second"], 2) for name in (OURS, fastest)]
        cached = "yes" if point["text_cache"] else "no"
        ratio = _shown(point["ratios"][PEFT_SAME], 2)
        yield [*map(str, point["label"].values()), cached, *rates, ratio]


def _ranks(points: Sequence[Result]) -> Iterator[list[str]]:
    yield ["ranks", "ZeRO stage", "facts per second", "times one rank"]
    for point in points:
        rate = point["facts_per_second"]
        times = rate / points[0]["facts_per_second"]
        yield [str(point["ranks"]), str(point["zero_stage"]), f"{rate:.1f}", f"{times:.2f}"]


def _quality(points: Sequence[Result]) -> Iterator[list[str]]:
    yield ["learning rate", "CPU minutes", "facts trained on", "P@1 dev", "P@1 test", "best on dev"]
    shares = [[_share(point[part]) for part in ("dev", "test")] for point in points]
    best = max(dev for dev, _ in shares)
    for point, (dev, test) in zip(points, shares, strict=True):
        minutes, mark = f"{point['cpu_seconds'] / 60:.1f}", "*" if dev == best else ""
        facts = str(point["records"])
        yield [f"{point['rate']:g}", minutes, facts, f"{dev:.1f}", f"{test:.1f}", mark]


def _few_shot(points: Sequence[Result]) -> Iterator[list[str]]:
    yield ["task", "learning rate", "CPU s each", "records", "dev", "test", "best on dev"]
    by_task: dict[str, dict[float, list[Result]]] = {}
    for point in points:
        by_task.setdefault(point["task"], {}).setdefault(point["rate"], []).append(point)
    for task, by_rate in by_task.items():
        chosen_by = {
            rate: [fmean(values) for values in zip(*(p["decisive"] for p in made), strict=True)]
            for rate, made in by_rate.items()
        }
        for rate, made in by_rate.items():
            seconds, records = (
                fmean(point[name] for point in made) for name in ("cpu_seconds", "records")
            )
            dev, test = (
                "/".join(_percent([point[part][name] for point in made]) for name in made[0][part])
                for part in ("dev", "test")
            )
            mark = "*" if chosen_by[rate] == max(chosen_by.values()) else ""
            yield [task, f"{rate:g}", f"{seconds:.0f}", f"{records:.0f}", dev, test, mark]


def _percent(values: Sequence[float]) -> str:
    deviation = f" ({100 * stdev(values):.1f})" if len(values) > 1 else ""
    return f"{100 * fmean(values):.1f}{deviation}"


def _share(counts: Mapping[str, Sequence[int]]) -> float:
    """Percent of the facts of all relations that were answered."""
    right, asked = map(sum, zip(*counts.values(), strict=True))
    return 100 * right / max(1, asked)


def _table(lines: Iterator[list[str]]) -> str:
    head, *rest = (f"| {' | '.join(cells)} |" for cells in lines)
    return "\n".join([head, "|" + "---|" * (head.count(" | ") + 1), *rest])


def _shown(spread: Mapping[str, float], digits: int = 1) -> str:
    low, high = spread["min"], spread["max"]
    return f"{spread['median']:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _plot(sides: Mapping[str, Result], path: Path) -> None:
    """Facts per second of each side as bars, with their spread."""
    from matplotlib.figure import Figure

    rates = [side["facts_per_second"] for side in sides.values()]
    below = [rate["median"] - rate["min"] for rate in rates]
    above = [rate["max"] - rate["median"] for rate in rates]
    figure = Figure(figsize=(1.4 * len(rates) + 2, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.bar(range(len(rates)), [r["median"] for r in rates], yerr=[below, above], capsize=4)
    axes.set_xticks(range(len(rates)), list(sides), rotation=20, ha="right")
    axes.set_ylabel("facts per second")
    axes.set_title("P-tuning: median, least and most over rounds")
    figure.savefig(path, dpi=120)
