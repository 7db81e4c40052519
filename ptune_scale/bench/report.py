"""Results as JSON and as tables."""

import json
import os
from pathlib import Path
from typing import Any

from ptune_scale.bench import machine, plot
from ptune_scale.bench.sections import SECTIONS
from ptune_scale.bench.sides import OURS, PEFT_SAME


def build(sections: dict[str, dict[str, Any]], threads: int) -> dict[str, Any]:
    """All that was measured; what the main section says about ours stands at the top.

    Args:
        sections: name -> what its module has filled in.
    """
    main = sections.get("main", {})
    sides = main.get("sides", {})
    ours = sides.get(OURS)
    return {
        "ratios": main.get("ratios", {}),
        "facts_per_second": ours["facts_per_second"]["median"] if ours else None,
        "matmul_share": ours["matmul_share"]["median"] if ours else None,
        "peak_memory_mb": {
            _public(name, main): side["memory_mb"]["beyond_weights"]
            + side["memory_mb"]["loaded_beside_weights"]
            for name, side in sides.items()
            if "memory_mb" in side
        },
        "sides": sides,
        "sections": {
            name: {k: v for k, v in result.items() if name != "main" or k != "sides"}
            for name, result in sections.items()
        },
        "versions": machine.versions(),
        "machine": machine.machine(threads),
    }


def _public(name: str, main: dict[str, Any]) -> str:
    return PEFT_SAME if name == main["peft_same_settings_is"] else name


def markdown(sections: dict[str, dict[str, Any]], results: dict[str, Any]) -> str:
    """Tables of all sections, and what they were measured on."""
    where = results["machine"]
    lines = [
        "# Facts per second of P-tuning",
        "",
        f"{where['processor']}, {where['threads']} of {where['cores']} cores; "
        + ", ".join(f"{name} {version}" for name, version in results["versions"].items()),
    ]
    for name, result in sections.items():
        lines += ["", f"## {name}", "", SECTIONS[name].table(result)]
    return "\n".join(lines) + "\n"


def write(sections: dict[str, dict[str, Any]], threads: int, directory: Path) -> str:
    """Write bench.json, bench.md and, where the main section ran, bench.png.

    Returns:
        the tables.

    Raises:
        OSError: the directory cannot be written to.
    """
    results = build(sections, threads)
    text = markdown(sections, results)
    for name, content in (("bench.json", json.dumps(results, indent=1)), ("bench.md", text)):
        scratch = directory / f".{name}.partial"
        scratch.write_text(content)
        os.replace(scratch, directory / name)
    if results["sides"]:
        plot.draw(results["sides"], directory / "bench.png")
    return text
