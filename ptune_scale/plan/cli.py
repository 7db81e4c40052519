"""The command line of ``launchers/plan.py``."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
import transformers

from ptune_scale.cli import Parser, add_flags
from ptune_scale.config import ModelConfig, ParallelConfig, PromptConfig
from ptune_scale.errors import UserError
from ptune_scale.parallel.degrees import Degrees
from ptune_scale.plan import report
from ptune_scale.plan.layouts import LayoutPlan, Planner, considered, recommended
from ptune_scale.plan.request import Request, find_config, parse_bytes

_EXAMPLES = """examples:
  %(prog)s --model megatron-11b --num_gpus 8 --gpu_memory 80GB
  %(prog)s --model megatron-11b --num_gpus 8 --tensor_parallel 8
  %(prog)s --model llama-70b/config.json --num_gpus 16 --encoder_sharing none --json plan.json

Nothing is loaded and no GPU is used; a model's config.json is enough.
"""
_DEGREES = {
    "tensor_parallel": "ranks that share each layer",
    "pipeline_parallel": "stages of consecutive layers",
    "zero_stage": "0 or 3",
}
_PROMPT = ("encoder", "encoder_sharing")
_DEFAULTS = {
    **{name: getattr(ModelConfig(), name) for name in ("model", "dtype", "attention")},
    **{name: getattr(PromptConfig(), name) for name in _PROMPT},
    "encoder_placement": ParallelConfig().encoder_placement,
    "gpu_memory": "80GB",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        typed = vars(_build_parser().parse_args(arguments))
        plan, plans, reason = _plan(typed)
        if "json" in typed:
            _write(typed["json"], json.dumps(report.as_dict(plan, plans, reason), indent=2))
    except UserError as error:
        print(f"plan.py: error: {error}", file=sys.stderr)
        return 2
    print(report.heading(plan))
    if len(plans) > 1:
        print(f"\n{report.overview(plans, plan)}\n\n* {reason}.")
    print(f"\n{report.details(plan)}")
    if not plan.fits:
        print(f"\n{plan.degrees.name} does not fit.")
    return 0


def _build_parser() -> argparse.ArgumentParser:
    parser = Parser(
        "plan.py",
        description="Plan a layout: memory, communication and the largest batch, by a dry run.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    group = parser.add_argument_group("the frozen language model")
    add_flags(group, ModelConfig, "dtype", "attention")
    group.add_argument(
        "--model",
        help="megatron-11b, smollm2-135m, a config.json, a model directory, a GGUF file or a "
        f"Hugging Face id (default: {_DEFAULTS['model']!r})",
    )
    group = parser.add_argument_group("the GPUs and the layout")
    group.add_argument("--num_gpus", type=int, help="ranks, over all machines (default: 8)")
    group.add_argument("--gpu_memory", help="of each, as 80GB or 79.6GiB (default: '80GB')")
    for name, what in _DEGREES.items():
        group.add_argument(f"--{name}", type=int, help=f"{what}; without all three: a table")
    group = parser.add_argument_group("the prompts")
    group.add_argument("--relations", type=int, help="relations in the job (default: 41)")
    group.add_argument("--slots", type=int, help="prompt slots of a template (default: 6)")
    add_flags(group, PromptConfig, *_PROMPT)
    add_flags(group, ParallelConfig, "encoder_placement")
    group = parser.add_argument_group("the batch")
    group.add_argument("--batch_size", type=int, help="facts a step, over all ranks (default: 32)")
    group.add_argument("--sequence_length", type=int, help="tokens of a fact (default: 16)")
    group = parser.add_argument_group("what is written")
    group.add_argument("--json", type=Path, metavar="FILE", help="the plan, for programs")
    return parser


def _plan(typed: dict[str, object]) -> tuple[LayoutPlan, list[LayoutPlan], str]:
    """The plan to show, all plans that were made, and why it was chosen."""
    values = {**_DEFAULTS, **typed}
    values.pop("json", None)
    asked = {
        name.partition("_parallel")[0]: values.pop(name) for name in _DEGREES if name in values
    }
    name, dtype = values.pop("model"), getattr(torch, values.pop("dtype"))
    size = parse_bytes(values.pop("gpu_memory"))
    request = Request(
        name=name, config=find_config(name, dtype), dtype=dtype, gpu_memory=size, **values
    )
    planner = Planner(request)
    if asked:
        plan = planner.plan(Degrees.resolve(request.num_gpus, **asked))
        return plan, [plan], "asked for"
    plans = [planner.plan(degrees) for degrees in considered(request)]
    best, reason = recommended(plans)
    return best, plans, reason


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text + "\n")
    except OSError as error:
        raise UserError(f"--json {path}: {error.strerror}") from error
