"""The command line of ``launchers/plan.py``."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from ptune_scale.backbone.options import Attention, Dtype
from ptune_scale.errors import UserError
from ptune_scale.files import write_text
from ptune_scale.parser import Parser
from ptune_scale.run.alone import run_alone
from ptune_scale.run.config import ModelConfig, ParallelConfig, PromptConfig, TrainConfig

_EXAMPLES = """  %(prog)s --model megatron-11b --num_gpus 8 --gpu_memory 80GB
  %(prog)s --model megatron-11b --num_gpus 8 --tensor_parallel 8
  %(prog)s --model llama-70b/config.json --num_gpus 16 --encoder_sharing none --json plan.json

Nothing is loaded and no GPU is used; a model's config.json is enough.
"""
_TFLOPS = 989.0
_DEGREES = {
    "tensor_parallel": "ranks that share each layer",
    "pipeline_parallel": "stages of consecutive layers",
    "zero_stage": "0 or 3",
}
_NUMBERS = {
    "num_gpus": "ranks, over all machines (default: 8)",
    **{name: f"{what}; without all three: a table" for name, what in _DEGREES.items()},
    "tasks": "tasks in the job, LAMA's relations for example (default: 41)",
    "slots": "prompt slots of a pattern (default: 6)",
    "batch_size": "rows a step, over all ranks (default: 32)",
    "sequence_length": "tokens of a row (default: 16)",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_alone("plan", lambda: _main(arguments))


def _main(arguments: Sequence[str] | None) -> int:
    typed = vars(_build_parser().parse_args(arguments))
    import transformers

    from ptune_scale.plan import report, serving

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    path, tflops = typed.pop("json", None), typed.pop("gpu_tflops", _TFLOPS)
    if not 0 < tflops < float("inf"):
        raise UserError(f"--gpu_tflops must be a positive number, got {tflops}")
    plan, plans, reason = _plan(typed)
    served = serving.plan_serving(plan, tflops, TrainConfig().tasks_per_batch)
    if path:
        found = report.as_dict(plan, plans, reason) | {"serving": serving.serving_dict(served)}
        write_text(path, json.dumps(found, indent=2) + "\n")
    print(report.heading(plan))
    if len(plans) > 1:
        print(f"\n{report.overview(plans, plan)}\n\n* {reason}.")
    print(f"\n{report.details(plan)}")
    print(f"\n{serving.serving_table(served, tflops)}")
    if not plan.fits:
        print(f"\n{plan.degrees.name} does not fit.")
    return 0


def _build_parser() -> Parser:
    parser = Parser(
        "plan",
        "Plan a layout: memory, communication and the largest batch, by a dry run.",
        _EXAMPLES,
    )
    parser.add_flags(PromptConfig, "encoder", "encoder_sharing")
    parser.add_flags(ParallelConfig, "encoder_placement")
    group = parser.add_argument_group("the model, the GPUs and the batch")
    group.add_argument(
        "--model",
        help="megatron-11b, smollm2-135m, a config.json, a model directory, a GGUF file or a "
        f"Hugging Face id (default: {ModelConfig().model!r})",
    )
    group.add_argument(
        "--attention", choices=get_args(Attention), help="of the layers (default: 'eager')"
    )
    group.add_argument(
        "--dtype",
        choices=[name for name in get_args(Dtype) if name != "auto"],
        help="precision of the backbone (default: 'bfloat16')",
    )
    group.add_argument("--gpu_memory", help="of each, as 80GB or 79.6GiB (default: '80GB')")
    group.add_argument(
        "--gpu_tflops",
        type=float,
        metavar="X",
        help="10^12 operations a second of each at its peak, for what a server of the layout does "
        f"(default: {_TFLOPS:g}, an H100 in bf16)",
    )
    for name, what in _NUMBERS.items():
        names = ("--relations", "--tasks") if name == "tasks" else (f"--{name}",)
        group.add_argument(*names, dest=name, type=int, help=what)
    group.add_argument("--json", type=Path, metavar="FILE", help="the plan, for programs")
    return parser


def _plan(typed: dict[str, Any]) -> tuple[Any, list[Any], str]:
    """The plan to show, all plans that were made, and why it was chosen."""
    import torch

    from ptune_scale.parallel.degrees import Degrees
    from ptune_scale.plan.layouts import Planner, considered, recommended
    from ptune_scale.plan.request import Request, find_config, parse_bytes

    asked = {n.partition("_parallel")[0]: typed.pop(n) for n in _DEGREES if n in typed}
    name = typed.pop("model", ModelConfig().model)
    dtype = getattr(torch, typed.pop("dtype", "bfloat16"))
    size = parse_bytes(typed.pop("gpu_memory", "80GB"))
    config = find_config(name, dtype)
    request = Request(name=name, config=config, dtype=dtype, gpu_memory=size, **typed)
    planner = Planner(request)
    if asked:
        plan = planner.plan(Degrees.resolve(request.num_gpus, **asked))
        return plan, [plan], "asked for"
    plans = [planner.plan(degrees) for degrees in considered(request)]
    best, reason = recommended(plans)
    return best, plans, reason
