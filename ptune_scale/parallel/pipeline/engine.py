"""Batches through the stages of a pipeline, by the 1F1B schedule of PyTorch.

Shapes: N rows, T tokens, H hidden size.
"""

from dataclasses import fields

import torch
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B
from torch.nn.functional import pad

from ptune_scale.backbone.frozen import FrozenLM
from ptune_scale.data.batch import Batch
from ptune_scale.parallel.mesh import PIPELINE, Mesh
from ptune_scale.parallel.prompt_function import Outcome
from ptune_scale.template import NO_SLOT

LENGTH_MULTIPLE = 8


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
    more_rows = -len(batch) % (num_parts * batch.group_size)
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
