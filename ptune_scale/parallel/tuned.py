"""The waist with a backbone that trains: (batch, P) -> (losses, dP), and a step of the weights.

The backbone is a copy of its own, beside the frozen one, and belongs to a DeepSpeed engine with an
optimizer: AdamW, with decay of matrices alone. A parameter takes 16 bytes: in fp32 for weight,
gradient and two moments; in bf16 for weight and gradient, their fp32 master and its moments, and
4 more during a step. Each replica has all of it; under ZeRO-3 it is sharded.
"""

import gc
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ptune_scale.backbone.loading import Backbone
from ptune_scale.backbone.text_cache import Behind
from ptune_scale.backbone.tuned import ClassifierLM, NewHead, TunedLM
from ptune_scale.errors import UserError
from ptune_scale.parallel import zero3
from ptune_scale.parallel.engine import Outcome, WholeEngine
from ptune_scale.parallel.launch.start import leave_group, local_rank, start_deepspeed
from ptune_scale.parallel.layout import shape, why_whole
from ptune_scale.parallel.mesh import Mesh
from ptune_scale.parallel.prompt_function import PromptFunction
from ptune_scale.parallel.tuned_settings import (
    TuneSettings,
    adamw,
    check_tuned,
    engine_config,
)
from ptune_scale.parallel.vocabulary import WholeVocabulary
from ptune_scale.task.example import Batch
from ptune_scale.task.objective import Vocabulary


def tune(
    backbone: Backbone,
    mesh: Mesh,
    settings: TuneSettings,
    *,
    deepspeed_config: Path | None = None,
    rows_per_forward: int | None = None,
    head: NewHead | None = None,
) -> "TunedFunction":
    """Make a copy of a backbone that trains; all ranks call this together.

    Args:
        backbone: is read again, and stays as it is.
        deepspeed_config: another configuration than ``ds_configs/zero3.json``, for ZeRO-3.
        rows_per_forward: most rows in one forward pass of a rank.
        head: takes the place of the vocabulary's; each rank then loads the whole model, also under
            ZeRO-3, before it keeps its part.

    Raises:
        UserError: the layout has a tensor- or pipeline-parallel degree, the DeepSpeed configuration
            does not fit, or the model cannot be loaded.
    """
    check_tuned(mesh.degrees)
    if backbone.weight_bits != "full":
        raise UserError(
            f"--weight_bits {backbone.weight_bits}: rounded weights cannot train; use full"
        )
    start_deepspeed(mesh.world)
    is_sharded = mesh.degrees.is_sharded
    config = engine_config(
        backbone.dtype, settings, deepspeed_config if is_sharded else None, is_sharded
    )
    vocabulary: Vocabulary = WholeVocabulary(chunked_loss=backbone.shortcuts.chunked_loss)
    mpu = None
    if is_sharded and head is None and why_whole(backbone) is None:
        model, names, slices, _ = shape(backbone.empty_model(), mesh)
        lm = TunedLM(model, dropout=settings.dropout)
        mpu = zero3.partition(
            lm, mesh, config, names=names, slices=slices, weights=backbone.weights
        )
    else:
        model = backbone.load_model()
        if head is None:
            lm = TunedLM(model, dropout=settings.dropout)
        else:
            lm = ClassifierLM(model, head, dropout=settings.dropout)
        # What is mapped from a file would be copied page by page when it is written to.
        for parameter in lm.parameters():
            parameter.data = parameter.data.clone()
        if is_sharded:
            mpu = zero3.partition(lm, mesh, config)
        else:
            lm.to(mesh.world.device)
    import deepspeed

    with local_rank():
        engine, *_ = deepspeed.initialize(
            model=lm, optimizer=adamw(lm, settings), config=config, mpu=mpu
        )
    if not is_sharded:
        # DeepSpeed has made a step without gradients, to see the memory; Adam would count it.
        engine.basic_optimizer.state.clear()
    return TunedFunction(TunedEngine(engine, mesh), mesh, vocabulary, rows_per_forward)


class TunedEngine(WholeEngine):
    """Passes through a DeepSpeed engine, which collects the gradients of the weights.

    Args:
        deepspeed_engine: with an optimizer; its module is a ``TunedLM``.
    """

    def __init__(self, deepspeed_engine: Any, mesh: Mesh) -> None:
        optimizer = deepspeed_engine.optimizer
        release = getattr(optimizer, "release_backward_leftovers", lambda: None)
        agree = mesh.world.max if mesh.degrees.is_sharded else lambda number: number
        super().__init__(deepspeed_engine.module, release, agree=agree)
        self.deepspeed_engine = deepspeed_engine
        self.replicas = mesh.degrees.data

    def forward(self, batch: Batch, prompts: Tensor, behind: Behind | None = None) -> Tensor:
        if not torch.is_grad_enabled():
            return super().forward(batch, prompts)
        return self.deepspeed_engine(batch, prompts)

    def backward(self, total: Tensor) -> None:
        # DeepSpeed averages gradients over the replicas; a batch's loss is the sum over them.
        self.deepspeed_engine.backward(total * self.replicas)

    def run(
        self,
        batch: Batch,
        prompts: Tensor,
        outcome: Outcome,
        *,
        backward: bool,
        num_parts: int = 1,
    ) -> Tensor:
        """As ``Engine.run``; with ``backward`` the weights' gradients are added to, too."""
        if not backward:
            return super().run(batch, prompts, outcome, backward=False, num_parts=num_parts)
        leaf = prompts.detach().requires_grad_()
        result = super().run(batch, leaf, outcome, backward=True, num_parts=num_parts)
        if leaf.grad is not None:
            gradient = leaf.grad / self.replicas
            prompts.grad = gradient if prompts.grad is None else prompts.grad + gradient
        return result


class TunedFunction(PromptFunction):
    """A ``PromptFunction`` whose backbone trains.

    ``loss_and_gradient`` leaves the weights' gradients with DeepSpeed, and adds them up if it is
    called again; ``step`` applies them. All methods are called on all ranks together.
    """

    engine: TunedEngine

    @property
    def num_parameters(self) -> int:
        """Parameters that train, those of other ranks among them."""
        parameters = self.engine.lm.parameters()
        return sum(getattr(p, "ds_numel", p.numel()) for p in parameters if p.requires_grad)

    def step(self, lr: float) -> None:
        """Clip the gradients, update the weights at a learning rate, and forget the gradients."""
        deepspeed_engine = self.engine.deepspeed_engine
        for group in deepspeed_engine.optimizer.param_groups:
            group["lr"] = lr
        deepspeed_engine.step()

    def close(self) -> None:
        """Give back the memory; nothing else can be asked of this function afterwards."""
        self.engine.deepspeed_engine.destroy()
        del self.engine
        gc.collect()
        leave_group(self.world)
