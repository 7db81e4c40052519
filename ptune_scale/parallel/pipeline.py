"""Pipeline parallelism: each rank holds a run of consecutive layers, rows pass through in parts.

All stages are frozen: gradients only flow back through them to the prompts on the first. The
schedule is 1F1B of ``torch.distributed.pipelining``.

Shapes: N rows, T tokens, H hidden size.
"""

from dataclasses import fields

import torch
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B
from torch.nn.functional import pad
from transformers import PretrainedConfig, PreTrainedModel

from ptune_scale.backbone.anatomy import Anatomy
from ptune_scale.backbone.frozen import FrozenLM
from ptune_scale.backbone.network import sample_model
from ptune_scale.data.batch import Batch
from ptune_scale.errors import UserError
from ptune_scale.parallel.mesh import PIPELINE, Mesh
from ptune_scale.parallel.prompt_function import Outcome
from ptune_scale.template import NO_SLOT

LENGTH_MULTIPLE = 8
_TYPICAL_LENGTH = 16


def check(config: PretrainedConfig, anatomy: Anatomy | None, degree: int) -> None:
    """Make sure that a model can be cut into so many stages.

    Raises:
        UserError: with the reason.
    """
    asked = f"--pipeline_parallel {degree}"
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
    for stages in range(1, num_stages + 1):
        row = [(float("inf"), 0)] * (count + 1)
        for stop in range(stages, count + 1):
            row[stop] = min(
                (max(best[-1][start][0], total[stop] - total[start]), start)
                for start in range(stages - 1, stop)
            )
        best.append(row)
    stages, stop = [], count
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


def cut(model: PreTrainedModel, anatomy: Anatomy, mesh: Mesh) -> None:
    """Take all but one stage's layers out of a model, in place."""
    degree = mesh.degrees.pipeline
    check(model.config, anatomy, degree)
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


class _Stage(nn.Module):
    """A stage as the schedule calls it: tensors in, tensors out."""

    def __init__(self, lm: FrozenLM) -> None:
        super().__init__()
        self.lm = lm
        self.prompts: Tensor | None = None
        self.outcome: Outcome | None = None

    def forward(self, *received: Tensor, **columns: Tensor) -> Tensor:
        batch = Batch(**columns)
        hidden = None if self.lm.is_first else received[0]
        result = self.lm(batch, self.prompts, hidden)
        return self.outcome(result, batch) if self.lm.is_last else result


class PipelineEngine:
    """Runs batches through all stages; every rank of a pipeline calls it with the same batch.

    A stage of the library is bound to the shape of what passes through, so lengths are padded to a
    multiple of eight and one schedule is kept per shape.

    Args:
        lm: this rank's stage.
        dtype: of hidden states.
        hidden_size: H, of the layers.
    """

    def __init__(self, lm: FrozenLM, mesh: Mesh, dtype: torch.dtype, hidden_size: int) -> None:
        self.holds_prompts = mesh.is_first_stage
        self.holds_logits = mesh.is_last_stage
        self._mesh = mesh
        self.lm = lm
        self._stage = _Stage(lm)
        self._dtype = dtype
        self._hidden_size = hidden_size
        self._schedules: dict[tuple[object, ...], Schedule1F1B] = {}

    def run(
        self,
        batch: Batch,
        prompts: Tensor,
        outcome: Outcome,
        *,
        backward: bool,
        num_parts: int = 1,
    ) -> Tensor | None:
        """Forward, and backward of the outcome's sum; see ``prompt_function.Engine``."""
        num_parts = max(num_parts, self._mesh.degrees.pipeline)
        padded = _padded(batch, num_parts)
        shape = (len(padded) // num_parts, padded.ids.shape[1])
        self._stage.prompts, self._stage.outcome = prompts, outcome
        schedule = self._schedule(shape, num_parts, backward)
        columns = {f.name: getattr(padded, f.name) for f in fields(padded)}
        arguments = (padded.ids,) if self.holds_prompts else ()
        if not backward:
            with torch.no_grad():
                result = schedule.eval(*arguments, **columns)
        else:
            target = padded.labels if self.holds_logits else None
            result = schedule.step(*arguments, target=target, **columns)
        self._stage.prompts = self._stage.outcome = None
        return result[: len(batch)].detach() if self.holds_logits else None

    def _schedule(self, shape: tuple[int, int], num_parts: int, backward: bool) -> Schedule1F1B:
        key = (shape, num_parts, backward)
        if key not in self._schedules:
            device = self._mesh.world.device
            hidden = torch.empty(
                *shape, self._hidden_size, dtype=self._dtype, device=device, requires_grad=backward
            )
            ids = torch.zeros(shape, dtype=torch.int64, device=device)
            stage = PipelineStage(
                self._stage,
                self._mesh.stage,
                self._mesh.degrees.pipeline,
                device,
                input_args=ids if self.holds_prompts else hidden,
                output_args=torch.empty(shape[0], device=device) if self.holds_logits else hidden,
                group=self._mesh.group(PIPELINE),
            )
            loss = (lambda rows, _: rows.sum()) if backward else None
            self._schedules[key] = Schedule1F1B(stage, num_parts, loss, scale_grads=False)
        return self._schedules[key]


def _padded(batch: Batch, num_parts: int) -> Batch:
    """The batch with rows of weight zero and padding, so that few shapes occur."""
    more_rows = -len(batch) % num_parts
    more_tokens = -batch.ids.shape[1] % LENGTH_MULTIPLE
    last = torch.full((more_rows,), len(batch) - 1, device=batch.ids.device)
    index = torch.cat([torch.arange(len(batch), device=batch.ids.device), last])
    columns = {f.name: getattr(batch, f.name)[index] for f in fields(batch)}
    # The padding's ids are never looked at: a causal model sees nothing behind its target, a masked
    # one gets an attention mask.
    columns["ids"] = pad(columns["ids"], (0, more_tokens))
    columns["slots"] = pad(columns["slots"], (0, more_tokens), value=NO_SLOT)
    columns["weights"] = torch.cat([batch.weights, torch.zeros(more_rows, device=last.device)])
    return Batch(**columns)
