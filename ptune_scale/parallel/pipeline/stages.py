"""Which models can be cut into stages of consecutive layers, where, and cutting them."""

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from ptune_scale.backbone.families import Anatomy, anatomy_of
from ptune_scale.backbone.network import sample_model
from ptune_scale.errors import UserError
from ptune_scale.parallel.mesh import Mesh

_TYPICAL_LENGTH = 16


def check(config: PretrainedConfig, degree: int) -> Anatomy:
    """Make sure that a model can be cut into so many stages.

    Returns:
        where its parts are.

    Raises:
        UserError: with the reason.
    """
    asked = f"--pipeline_parallel {degree}"
    anatomy = anatomy_of(config)
    if anatomy is None:
        raise UserError(
            f"{asked}: model type {config.model_type!r} does not say where its layers are; "
            "use --zero_stage 3"
        )
    if degree > config.num_hidden_layers:
        raise UserError(f"{asked}: this model has only {config.num_hidden_layers} layers")
    if len(set(getattr(config, "layer_types", None) or ())) > 1:
        raise UserError(
            f"{asked}: the layers of this model differ by their number, which a stage does not "
            "know; use --zero_stage 3 or --tensor_parallel"
        )
    parts = (anatomy.layers, *anatomy.before, *anatomy.after)
    model = sample_model(config)
    for path in parts:
        if getattr(model.base_model, path.partition(".")[0], None) is None:
            raise UserError(
                f"{asked}: this model has no part {path!r}, although its type "
                f"{config.model_type!r} says so; use --zero_stage 3"
            )
    if not _passes_on(model, anatomy):
        raise UserError(
            f"{asked}: outside its layers, a model of type {config.model_type!r} changes what it "
            "is given (scales the input embeddings, for example), and each stage would do so once "
            "more; use --zero_stage 3"
        )
    return anatomy


def _passes_on(model: PreTrainedModel, anatomy: Anatomy) -> bool:
    """Whether a stage in the middle does nothing but its layers, so that stages make the whole.

    With no layer left it has no weight left either, and must give back what it was given.
    """
    keep_layers(model, anatomy, range(0))
    _take_out(model, anatomy, first=True, last=True)
    base, size = model.base_model, model.config.hidden_size
    hidden = torch.linspace(-1, 1, 2 * size, dtype=torch.bfloat16).view(1, 2, size)
    extras = {"use_cache": False} if hasattr(model.config, "use_cache") else {}
    try:
        with torch.no_grad():
            result = base(inputs_embeds=hidden, **extras)[0]
    except Exception:  # whatever it does with what is not there: it is more than its layers
        return False
    return result.dtype == hidden.dtype and torch.equal(result, hidden)


def balanced_stages(costs: list[float], head_cost: float, num_stages: int) -> list[range]:
    """Cut layers into consecutive stages so that the dearest stage is as cheap as can be.

    Args:
        costs: of each layer, in any unit.
        head_cost: of the head, which comes with the last layer.
    """
    total = [0.0]
    for cost in [*costs[:-1], costs[-1] + head_cost]:
        total.append(total[-1] + cost)
    count = len(costs)
    # best[s][n]: cost of the dearest of s stages over the first n layers, and where the last begins
    best = [[(0.0 if n == 0 else float("inf"), 0) for n in range(count + 1)]]
    for used in range(1, num_stages + 1):
        row = [(float("inf"), 0)] * (count + 1)
        for stop in range(used, count + 1):
            row[stop] = min(
                (max(best[-1][start][0], total[stop] - total[start]), start)
                for start in range(used - 1, stop)
            )
        best.append(row)
    stages: list[range] = []
    stop = count
    for number in range(num_stages, 0, -1):
        start = best[number][stop][1]
        stages.append(range(start, stop))
        stop = start
    return stages[::-1]


def layer_costs(model: PreTrainedModel, anatomy: Anatomy) -> tuple[list[float], float]:
    """Multiplications per row: of each layer, and of the head (at one target)."""
    layers = model.base_model.get_submodule(anatomy.layers)
    costs = [
        float(_TYPICAL_LENGTH * sum(p.numel() for p in layer.parameters())) for layer in layers
    ]
    return costs, float(model.get_output_embeddings().weight.numel())


def cut(model: PreTrainedModel, mesh: Mesh) -> None:
    """Take all but one stage's layers out of a model, in place.

    Raises:
        UserError: see ``check``.
    """
    degree = mesh.degrees.pipeline
    anatomy = check(model.config, degree)
    stages = balanced_stages(*layer_costs(model, anatomy), degree)
    keep_layers(model, anatomy, stages[mesh.stage])
    _take_out(model, anatomy, first=not mesh.is_first_stage, last=not mesh.is_last_stage)


def _take_out(model: PreTrainedModel, anatomy: Anatomy, *, first: bool, last: bool) -> None:
    """Take out what only the first stage has, or only the last, in place."""
    base = model.base_model
    if first:
        for path, stand_in in anatomy.before.items():
            setattr(base, path, stand_in())
    if last:
        for path in anatomy.after:
            setattr(base, path, nn.Identity())
        for path, child in list(model.named_children()):
            if child is not base:
                setattr(model, path, nn.Identity())


def keep_layers(model: PreTrainedModel, anatomy: Anatomy, kept: range) -> None:
    """Take all layers but some out of a model, in place."""
    base = model.base_model
    layers = base.get_submodule(anatomy.layers)
    parent, _, name = anatomy.layers.rpartition(".")
    setattr(base.get_submodule(parent), name, nn.ModuleList(layers[index] for index in kept))
