"""A layout without its ranks: the same code shapes and runs it, on memory that does not exist.

One process takes the place of each rank in turn. Its process group answers at once without sending
anything, its tensors are on PyTorch's meta device, which knows shapes only. What autograd keeps
from the forward to the backward pass, the most memory in use at any time, and what is handed to
collectives are counted while the very forward and backward pass run that a real rank runs.

Shapes: N rows, T tokens, H hidden size.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor
from torch.testing._internal.distributed.fake_pg import FakeStore
from transformers import PreTrainedModel

from ptune_scale.backbone.frozen import FrozenLM
from ptune_scale.errors import UserError
from ptune_scale.parallel.degrees import Degrees
from ptune_scale.parallel.footprint import BACKWARD, Footprint, Watch
from ptune_scale.parallel.mesh import Mesh
from ptune_scale.parallel.world import World
from ptune_scale.task.example import NO_SLOT, Example, collate
from ptune_scale.task.objective import Vocabulary


@contextmanager
def pretend(degrees: Degrees, rank: int) -> Iterator[Mesh]:
    """Be one rank of a layout that does not run.

    Raises:
        RuntimeError: this process is a rank of a real job.
    """
    if dist.is_initialized():
        raise RuntimeError("a dry run needs a process of its own, not a rank of a job")
    size = degrees.world_size
    if size > 1:
        dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=size)
    try:
        yield Mesh.build(World(rank, size), degrees)
    finally:
        if size > 1:
            from fairscale.nn.model_parallel import initialize

            initialize.destroy_model_parallel()
            dist.destroy_process_group()


def run(
    model: PreTrainedModel, mesh: Mesh, vocabulary: Vocabulary, rows: int, length: int
) -> Footprint:
    """One forward and backward pass of a shaped model, of rows with one target each.

    Prompts enter as input embeddings that require a gradient: the splice itself keeps nothing
    but indices.

    Raises:
        UserError: what the model does next depends on what it computed (experts, for example).
    """
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            module._buffers[name] = buffer.to("meta")
    lm = FrozenLM(model, is_first=False, is_last=mesh.is_last_stage)
    # Of equal length, so that nothing is padded; which tokens they are does not matter.
    row = Example(0, (0,) * length, (NO_SLOT,) * length, (length - 1,), (0,))
    batch = collate([row] * rows).to(torch.device("meta"))
    padded = batch.padded()
    batch.targets, batch.answers, batch.shares  # noqa: B018 (made here, they are not counted)
    watch = Watch(model, mesh.degrees.tensor)
    try:
        with watch:
            result = lm(batch, hidden=_inputs(model, mesh, padded.ids), padded=padded)
            if mesh.is_last_stage:
                losses = vocabulary.cross_entropy(result[:, 0], batch.answers[:, 0]) * batch.shares
                result = losses.sum()
                del losses
            watch.direction, watch.footprint.kept = BACKWARD, watch.live
            result.backward(torch.empty_like(result))
    except (NotImplementedError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"model type {model.config.model_type!r} cannot be run without its weights: {reason}"
        ) from error
    return watch.footprint


def _inputs(model: PreTrainedModel, mesh: Mesh, ids: Tensor) -> Tensor:
    """(N, T, H) words with prompts among them, or what the stage before sends."""
    if not mesh.is_first_stage:
        size = (*ids.shape, model.config.hidden_size)
        return torch.empty(size, dtype=model.dtype, device="meta").requires_grad_()
    with torch.no_grad():
        words = model.get_input_embeddings()(ids)
    prompt = torch.empty(words.shape[-1], dtype=words.dtype, device="meta").requires_grad_()
    # Out of place, like the splice: the result lasts only as long as a layer keeps it.
    return words + prompt
