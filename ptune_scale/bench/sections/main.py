"""All sides in one setting: rates, ratios, shares of the matrix products' rate, peak memory."""

from dataclasses import asdict
from typing import Any

import torch

from ptune_scale.bench import memory_worker
from ptune_scale.bench.comparison import Bench, compare
from ptune_scale.bench.feed import Feed
from ptune_scale.bench.sides import MAIN, OURS, PEFT_SAME_WAYS
from ptune_scale.bench.spread import ClockName
from ptune_scale.bench.tables import row, shown
from ptune_scale.progress import bar


def run(bench: Bench, result: dict[str, Any]) -> None:
    """Measure on the CPU."""
    run_on(bench, torch.device("cpu"), result, bench.config.clock)


def run_on(bench: Bench, device: torch.device, result: dict[str, Any], clock: ClockName) -> None:
    """Measure on a device."""
    case = bench.case.on(device)
    compare(
        bench,
        case,
        MAIN,
        result,
        f"main on {device.type}",
        rounds=bench.config.rounds,
        facts_per_round=bench.config.facts_per_round,
        clock=clock,
    )
    result["settings"] = case.config.as_dict()
    result["measurement"] = asdict(bench.config)
    if bench.config.memory_steps:
        _measure_memory(bench, device, result)


def _measure_memory(bench: Bench, device: torch.device, result: dict[str, Any]) -> None:
    """Of each side; of PEFT in our settings only the faster way."""
    case = bench.case.on(device)
    rounds = [Feed(case.job()).steps(bench.config.memory_steps)]
    slower = set(PEFT_SAME_WAYS) - {result["peft_same_settings_is"]}
    names = [name for name in MAIN if name not in slower]
    with bar("peak memory", len(names), "sides", shown=True) as progress:
        for name in names:
            measured = memory_worker.measure(name, case, rounds, bench.config.threads)
            result["sides"][name]["memory_mb"] = measured
            progress.update()


def table(result: dict[str, Any]) -> str:
    """Speed, then memory."""
    clock = "CPU second" if result["clock"] == "cpu" else "second"
    titles = ["side", "dtype", f"facts per {clock}", "ours is times as fast", "by wall time"]
    titles += ["GFLOP/s", "share of matmul", "GFLOP per fact", "text tokens per fact", "warm-up s"]
    lines = [row(titles), row(["---"] * len(titles))]
    for name, side in result["sides"].items():
        cells = [name, side["dtype"], shown(side["facts_per_second"])]
        cells.append("" if name == OURS else shown(side["ours_is_times_as_fast"], 2))
        cells.append("" if name == OURS else shown(side["ours_is_times_as_fast_by_wall_time"], 2))
        cells += [shown(side["gflop_per_second"], 0), f"{side['matmul_share']['median']:.0%}"]
        cells += [f"{side['gflop_per_fact']:.2f}", f"{side['text_tokens_per_fact']:.2f}"]
        lines.append(row([*cells, f"{side['warmup_seconds']:.1f}"]))
    rates = result["matmul_gflop_per_second"].items()
    products = "; ".join(f"{dtype} {shown(rate, 0)}" for dtype, rate in rates)
    notes = [_settings(result)] if "settings" in result else []
    notes += [
        f"- Medians [least, most] over {result['finished_rounds']} rounds.",
        f"- Matrix products alone, GFLOP/s: {products}.",
        "- GFLOP are those that a side's own way needs; padding is not counted.",
        f"- PEFT in the same settings: {result['peft_same_settings_is']} is the faster way.",
    ]
    return "\n".join([*lines, "", *notes, *_memory(result)])


def _settings(result: dict[str, Any]) -> str:
    settings = result["settings"]
    model, train = settings["model"], settings["train"]
    names = {k: v for k, v in settings["shortcut"].items() if v in ("on", "targets")}
    step = f"{train['batch_tokens']} tokens" if train["batch_tokens"] else None
    return (
        f"- {model['model']}, {settings['data']['relations']} of {settings['data']['data_dir']}, "
        f"{step or str(train['batch_size']) + ' facts'} a step, "
        f"template {settings['prompt']['template']}, "
        f"{result['measurement']['facts_per_round']} facts a round; ours with {', '.join(names)}."
    )


def _memory(result: dict[str, Any]) -> list[str]:
    measured = {n: s["memory_mb"] for n, s in result["sides"].items() if "memory_mb" in s}
    if not measured:
        return []
    titles = ["side", "weights, MB", "peak beyond the weights, MB", "of these when loaded"]
    lines = ["", row(titles), row(["---"] * len(titles))]
    for name, size in measured.items():
        loaded = size["loaded_beside_weights"]
        sizes = (size["weights"], size["beyond_weights"] + loaded, loaded)
        lines.append(row([name, *(f"{megabytes:.0f}" for megabytes in sizes)]))
    return lines
