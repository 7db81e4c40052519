"""Pipeline parallelism: each rank holds a run of consecutive layers, rows pass through in parts.

All stages are frozen: gradients only flow back through them to the prompts on the first.

stages.py   which models can be cut, where, and cutting them
engine.py   batches through the stages, by the 1F1B schedule of torch.distributed.pipelining
"""

from ptune_scale.parallel.pipeline.engine import LENGTH_MULTIPLE, PipelineEngine
from ptune_scale.parallel.pipeline.stages import (
    balanced_stages,
    check,
    cut,
    keep_layers,
    layer_costs,
)

__all__ = [
    "LENGTH_MULTIPLE",
    "PipelineEngine",
    "balanced_stages",
    "check",
    "cut",
    "keep_layers",
    "layer_costs",
]
