"""Batches through the stages of a pipeline, by the 1F1B schedule of PyTorch.

Shapes: N rows, T tokens, H hidden size.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B
from torch.nn.functional import pad

from ptune_scale.backbone.frozen import FrozenLM
from ptune_scale.parallel.engine import Outcome
from ptune_scale.parallel.mesh import PIPELINE, Mesh
from ptune_scale.task.example import NO_SLOT, Batch, Padded

LENGTH_MULTIPLE = 8
KEPT_SCHEDULES = 8
"""Shapes that a rank has receive buffers for at one time."""


def _no_outcome(logits: Tensor, batch: Batch) -> Tensor:
    raise RuntimeError("a stage was run outside of PipelineEngine.run")


class _Stage(nn.Module):
    """A stage as the schedule calls it: tensors in, tensors out, once for each micro-batch."""

    def __init__(self, lm: FrozenLM) -> None:
        super().__init__()
        self.lm = lm
        self.parts: list[tuple[Batch, Padded]] = []
        self.prompts: Tensor | None = None
        self.outcome: Outcome = _no_outcome

    def forward(self, *received: Tensor, number: Tensor) -> Tensor:
        batch, padded = self.parts[int(number)]
        hidden = None if self.lm.is_first else received[0]
        result = self.lm(batch, self.prompts, hidden, padded=padded)
        return self.outcome(result, batch) if self.lm.is_last else result


class PipelineEngine:
    """Runs batches through all stages; every rank of a pipeline calls it with the same batch.

    A stage of the library is bound to the shape of what passes through, so lengths are padded to a
    multiple of eight, and the schedules of the shapes that came last are kept.

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
        self._schedules: OrderedDict[tuple[object, ...], Schedule1F1B] = OrderedDict()

    def run(
        self,
        batch: Batch,
        prompts: Tensor,
        outcome: Outcome,
        *,
        backward: bool,
        num_parts: int = 1,
    ) -> Tensor | None:
        """Forward, and backward of the outcome's sum; see ``engine.Engine``."""
        num_parts = max(num_parts, self._mesh.degrees.pipeline)
        parts = _micro_batches(batch, num_parts)
        schedule = self._schedule(parts[0][1].ids.shape, num_parts, backward)
        self._stage.parts, self._stage.prompts, self._stage.outcome = parts, prompts, outcome
        # The schedule cuts what it is given into micro-batches; this one stays on the CPU, where
        # reading it waits for nothing.
        number = torch.arange(num_parts)
        ids = torch.cat([padded.ids for _, padded in parts])
        arguments = (ids,) if self.holds_prompts else ()
        if not backward:
            with torch.no_grad():
                result = schedule.eval(*arguments, number=number)
        else:
            # Outcomes are losses already, so the target that the schedule asks for is not used.
            target = ids if self.holds_logits else None
            result = schedule.step(*arguments, target=target, number=number)
        self._stage.parts, self._stage.prompts, self._stage.outcome = [], None, _no_outcome
        return result[: len(batch)].detach() if self.holds_logits else None

    def _schedule(self, shape: torch.Size, num_parts: int, backward: bool) -> Schedule1F1B:
        key = (shape, num_parts, backward)
        if key in self._schedules:
            self._schedules.move_to_end(key)
            return self._schedules[key]
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
        if len(self._schedules) > KEPT_SCHEDULES:
            self._schedules.popitem(last=False)
        return self._schedules[key]


def _micro_batches(batch: Batch, count: int) -> list[tuple[Batch, Padded]]:
    """So many equal parts: a last row is repeated and tokens are padded, so that few shapes occur.

    The outcomes of repeated rows are left out, and their weights are zero.
    """
    missing = -len(batch) % (count * batch.group_size)
    rows = [*range(len(batch)), *[len(batch) - 1] * missing]
    weights = [*batch.weights, *[0.0] * missing]
    whole = batch.padded()
    more = -whole.ids.shape[1] % LENGTH_MULTIPLE
    # The padding's ids are never looked at: a causal model sees nothing behind its target, a masked
    # one gets an attention mask.
    index = torch.tensor(rows, device=batch.device)
    ids = pad(whole.ids, (0, more))[index]
    slots = pad(whole.slots, (0, more), value=NO_SLOT)[index]
    lengths = whole.lengths[index]
    size = len(rows) // count
    parts = []
    for start in range(0, len(rows), size):
        mine = slice(start, start + size)
        part = batch.rows(rows[mine])
        part = Batch(part.examples, tuple(weights[mine]), batch.group_size, batch.device)
        is_padded = any(row.num_tokens < ids.shape[1] for row in part.examples)
        parts.append((part, Padded(ids[mine], slots[mine], lengths[mine], is_padded)))
    return parts
