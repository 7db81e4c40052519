"""What a plan says: tables to read, JSON to compute with."""

from dataclasses import asdict
from typing import Any

from ptune_scale.plan.layouts import LayoutPlan
from ptune_scale.plan.ranks import RESERVE

_MEMORY = {
    "backbone": "backbone",
    "gathered": "  gathered at most (ZeRO-3)",
    "prompt_encoders": "prompt encoders, gradients, Adam",
    "activations": "activations",
    "total": "total while a step runs",
}


def heading(plan: LayoutPlan) -> str:
    """What was planned for, in two lines."""
    request = plan.request
    dtype = str(request.dtype).removeprefix("torch.")
    return (
        f"{request.name}: {request.parameters:,} parameters in {dtype}; prompt encoders "
        f"({request.encoder}): {request.num_groups} of {request.group_parameters:,} parameters\n"
        f"a step: {request.batch_size} rows of {request.sequence_length} tokens; "
        f"{request.num_gpus} GPUs of {size_of(request.gpu_memory)}, of which {RESERVE:.0%} are "
        "left to CUDA, NCCL and fragmentation"
    )


def overview(plans: list[LayoutPlan], best: LayoutPlan) -> str:
    """A line for each layout; numbers are of its fullest rank, sent bytes of the busiest."""
    head = ["", "layout", "parameters", "backbone", "gathered", "prompts", "activations", "total"]
    lines = [[*head, "largest batch", "sent per step"]]
    for plan in plans:
        rank = plan.fullest
        lines.append(
            [
                "*" if plan is best else "",
                plan.degrees.name,
                f"{rank.parameters:,}",
                *(size_of(rank.memory[name]) for name in _MEMORY),
                f"{plan.largest_batch:,}" if plan.fits else "does not fit",
                size_of(plan.sent),
            ]
        )
    return aligned(lines, left=2)


def details(plan: LayoutPlan) -> str:
    """A column for each kind of rank."""
    ranks = plan.ranks
    lines = [
        [f"per rank of {plan.degrees.name}", *(f"stage {rank.stage}" for rank in ranks)],
        ["ranks like this", *(str(rank.count) for rank in ranks)],
        ["layers", *(str(rank.layers) for rank in ranks)],
        ["backbone parameters", *(f"{rank.parameters:,}" for rank in ranks)],
        [
            "prompt encoder parameters",
            *(f"{rank.prompt_encoder_parameters:,}" for rank in ranks),
        ],
        *([what, *(size_of(r.memory[name]) for r in ranks)] for name, what in _MEMORY.items()),
        ["largest batch", *(f"{rank.largest_batch:,}" for rank in ranks)],
    ]
    for kind in dict.fromkeys(kind for rank in ranks for kind in rank.communication):
        for way in ("forward", "backward"):
            sent = [size_of(rank.communication.get(kind, {}).get(way, 0)) for rank in ranks]
            lines.append([f"sent by {kind.replace('_', '-')}, {way}", *sent])
    return aligned(lines, left=1)


def as_dict(plan: LayoutPlan, plans: list[LayoutPlan], reason: str) -> dict[str, Any]:
    """The plan for programs: sizes in parameters and bytes, of the layout's fullest rank."""
    request, rank = plan.request, plan.fullest
    return {
        "model": request.name,
        "dtype": str(request.dtype).removeprefix("torch."),
        "num_gpus": request.num_gpus,
        "gpu_memory": request.gpu_memory,
        "batch_size": request.batch_size,
        "sequence_length": request.sequence_length,
        **_layout(plan),
        "reason": reason,
        "parameters_total": request.parameters,
        "parameters_per_rank": rank.parameters,
        "prompt_encoder_parameters": request.num_groups * request.group_parameters,
        "bytes_per_rank": rank.memory,
        "communication_per_step": rank.communication,
        "ranks": [asdict(each) for each in plan.ranks],
        "layouts_considered": [
            {
                **_layout(each),
                "parameters_per_rank": each.fullest.parameters,
                "bytes_per_rank": each.fullest.memory,
                "sent_per_step": each.sent,
            }
            for each in plans
        ],
    }


def _layout(plan: LayoutPlan) -> dict[str, Any]:
    degrees = plan.degrees
    return {
        "layout": degrees.name,
        "data_parallel": degrees.data,
        "pipeline_parallel": degrees.pipeline,
        "tensor_parallel": degrees.tensor,
        "zero_stage": degrees.zero_stage,
        "fits": plan.fits,
        "largest_batch": plan.largest_batch,
    }


def size_of(count: int) -> str:
    """Bytes as they are read."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return f"{count} B" if count else "-"


def aligned(lines: list[list[str]], left: int) -> str:
    """Columns of equal width, the first ones flush left."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
