"""Ours with parts switched off or exchanged, each in turn with ours as it is."""

from typing import Any

from ptune_scale.bench.ablations import ABLATIONS
from ptune_scale.bench.comparison import Bench, compare
from ptune_scale.bench.sides import OURS
from ptune_scale.bench.tables import row, shown


def run(bench: Bench, result: dict[str, Any]) -> None:
    """Measure those that are asked for, and that the facts allow, in the same rounds."""
    asked = bench.config.ablation_names or tuple(ABLATIONS)
    has_list = bench.case.facts.common_vocab is not None
    flags = {
        name: ABLATIONS[name]
        for name in asked
        if has_list or ABLATIONS[name].get("candidates") != "common_vocab"
    }
    result["flags"], result["left_out"] = flags, [name for name in asked if name not in flags]
    compare(
        bench,
        bench.case,
        [OURS, *(f"{OURS}_{name}" for name in flags)],
        result,
        "ablations",
        rounds=bench.config.section_rounds,
        facts_per_round=bench.config.facts_per_round,
    )


def table(result: dict[str, Any]) -> str:
    """One line each."""
    titles = ["ours with", "flags", "facts/s", "ours as it is is times as fast"]
    lines = [row(titles), row(["---"] * len(titles))]
    for name, side in result.get("sides", {}).items():
        ablation = name.removeprefix(f"{OURS}_")
        flags = result["flags"].get(ablation, {})
        cells = [ablation, ", ".join(f"{key}={value}" for key, value in flags.items())]
        cells += [shown(side["facts_per_second"]), shown(side["ours_is_times_as_fast"], 2)]
        lines.append(row(cells))
    if result["left_out"]:
        left_out = ", ".join(result["left_out"])
        lines += [
            "",
            f"- Not measured, for the facts come without a list of candidates: {left_out}.",
        ]
    return "\n".join(lines)
