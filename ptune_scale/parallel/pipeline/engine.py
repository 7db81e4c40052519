"""Batches through the stages of a pipeline, by the 1F1B schedule of PyTorch.

Shapes: N rows, T tokens, H hidden size.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B
from torch.nn.functional import pad

from ptune_scale.backbone.frozen import FrozenLM
from ptune_scale.backbone.text_cache import Behind, Missing, text_of
from ptune_scale.parallel.engine import Outcome
from ptune_scale.parallel.mesh import PIPELINE, Mesh
from ptune_scale.task.example import NO_SLOT, Batch, Padded

Layout = Padded | Behind
"""How a micro-batch's tokens lie: rows padded, or lines behind texts that are kept."""

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
        self.parts: list[tuple[Batch, Layout]] = []
        self.prompts: Tensor | None = None
        self.outcome: Outcome = _no_outcome

    def forward(self, *received: Tensor, number: Tensor) -> Tensor:
        batch, layout = self.parts[int(number)]
        hidden = None if self.lm.is_first else received[0]
        how = {"padded" if isinstance(layout, Padded) else "behind": layout}
        result = self.lm(batch, self.prompts, hidden, **how)
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
        is_behind = self._keep_texts(batch, prompts)
        batches = _equal_parts(batch, num_parts)
        parts = self._behind(batches, prompts.shape[1]) if is_behind else _padded(batches)
        result = self._through(parts, prompts, outcome, backward=backward)
        return result[: len(batch)].detach() if self.holds_logits else None

    def _keep_texts(self, batch: Batch, prompts: Tensor) -> bool:
        """Compute those of a batch's texts that are not there; each stage keeps its own layers'.

        Returns:
            whether all are there now.
        """
        cache, texts, stages = self.lm.texts, self.lm.texts_of(batch), self._mesh.degrees.pipeline
        if cache is None or texts is None:
            return False

        def nothing(hidden: Tensor, rows: Batch) -> Tensor:
            return torch.zeros(len(rows), device=hidden.device)

        def compute(missing: Sequence[Missing] | None) -> None:
            assert missing is not None  # all stages see the same rows
            length = _rounded(max(len(text) - start for text, start in missing))
            missing = [*missing, *[missing[-1]] * (-len(missing) % stages)]
            size = len(missing) // stages
            parts: list[tuple[Batch, Layout]] = [
                cache.behind_missing(missing[i : i + size], batch.device, length=length)
                for i in range(0, len(missing), size)
            ]
            self._through(parts, prompts, nothing, backward=False)

        return cache.complete(texts, compute)

    def _behind(self, batches: list[Batch], num_slots: int) -> list[tuple[Batch, Layout]]:
        """Parts of a batch behind their texts, a line a row."""
        cache = self.lm.texts
        assert cache is not None
        rows = [row for batch in batches for row in batch.examples]
        length = _rounded(max(row.num_tokens - len(text_of(row)) for row in rows))
        return [(batch, cache.behind(batch, num_slots, length=length)) for batch in batches]

    def _through(
        self,
        parts: list[tuple[Batch, Layout]],
        prompts: Tensor,
        outcome: Outcome,
        *,
        backward: bool,
    ) -> Any:
        """Micro-batches of one shape through all stages; outcomes come out of the last one."""
        all_ids = [x.ids if isinstance(x, Padded) else x.lines.ids for _, x in parts]
        schedule = self._schedule(all_ids[0].shape, len(parts), backward)
        self._stage.parts, self._stage.prompts, self._stage.outcome = parts, prompts, outcome
        # The schedule cuts what it is given into micro-batches; this one stays on the CPU, where
        # reading it waits for nothing.
        number = torch.arange(len(parts))
        ids = torch.cat(all_ids)
        arguments = (ids,) if self.holds_prompts else ()
        if not backward:
            with torch.no_grad():
                result = schedule.eval(*arguments, number=number)
        else:
            # Outcomes are losses already, so the target that the schedule asks for is not used.
            target = ids if self.holds_logits else None
            result = schedule.step(*arguments, target=target, number=number)
        self._stage.parts, self._stage.prompts, self._stage.outcome = [], None, _no_outcome
        return result

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


def _equal_parts(batch: Batch, count: int) -> list[Batch]:
    """So many equal parts: a last row is repeated, with weight zero; its outcomes are left out."""
    missing = -len(batch) % (count * batch.group_size)
    rows = [*range(len(batch)), *[len(batch) - 1] * missing]
    whole = batch.rows(rows)
    whole = replace(whole, weights=(*batch.weights, *[0.0] * missing))
    size = len(rows) // count
    return [whole.rows(range(start, start + size)) for start in range(0, len(rows), size)]


def _padded(batches: list[Batch]) -> list[tuple[Batch, Layout]]:
    """Batches padded to one length, so that few shapes occur.

    The padding's ids are never looked at: a causal model sees nothing behind its target, a masked
    one gets an attention mask.
    """
    longest = _rounded(max(row.num_tokens for batch in batches for row in batch.examples))
    parts: list[tuple[Batch, Layout]] = []
    for batch in batches:
        rows = batch.padded()
        more = longest - rows.ids.shape[1]
        ids, slots = pad(rows.ids, (0, more)), pad(rows.slots, (0, more), value=NO_SLOT)
        is_padded = any(row.num_tokens < longest for row in batch.examples)
        parts.append((batch, Padded(ids, slots, rows.lengths, is_padded)))
    return parts


def _rounded(length: int) -> int:
    return -(-length // LENGTH_MULTIPLE) * LENGTH_MULTIPLE
