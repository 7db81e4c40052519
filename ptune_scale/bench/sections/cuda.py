"""The main section on a GPU, by wall time: CPU time says little about what a GPU does."""

import sys
from typing import Any

import torch

from ptune_scale.bench.comparison import Bench
from ptune_scale.bench.sections import main


def run(bench: Bench, result: dict[str, Any]) -> None:
    """Measure, or say why not."""
    if not torch.cuda.is_available():
        built = torch.version.cuda
        why = f"built for CUDA {built}, but finds no GPU" if built else "built without CUDA"
        result["skipped"] = f"torch {torch.__version__} is {why}"
        print(f"bench.py: section cuda skipped: {result['skipped']}", file=sys.stderr)
        return
    main.run_on(bench, torch.device("cuda"), result, "wall")


def table(result: dict[str, Any]) -> str:
    """As in the main section."""
    return f"Skipped: {result['skipped']}." if "skipped" in result else main.table(result)
