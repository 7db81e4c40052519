"""The one place where a layout is chosen and applied."""

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PretrainedConfig, PreTrainedModel

from ptune_scale.backbone.fit import quantized_by
from ptune_scale.backbone.frozen import FrozenLM
from ptune_scale.backbone.loading import Backbone
from ptune_scale.backbone.text_cache import BLOCK, TextCache
from ptune_scale.backbone.tiers import FileTier, MemoryTier, Tier
from ptune_scale.backbone.weights import CannotSlice
from ptune_scale.errors import UserError
from ptune_scale.parallel import pipeline, tensor, zero3
from ptune_scale.parallel.degrees import Degrees
from ptune_scale.parallel.engine import Engine, WholeEngine
from ptune_scale.parallel.mesh import Mesh
from ptune_scale.parallel.pipeline import PipelineEngine
from ptune_scale.parallel.prompt_function import PromptFunction
from ptune_scale.parallel.remote.backbone import ServedBackbone
from ptune_scale.parallel.remote.function import ServedFunction
from ptune_scale.parallel.slices import Names, Slices, fill, pending, pending_buffers
from ptune_scale.parallel.vocabulary import WholeVocabulary
from ptune_scale.parallel.world import World
from ptune_scale.task.objective import Vocabulary


@dataclass(frozen=True)
class TextLimit:
    """How many keys and values of texts a rank keeps.

    Attributes:
        gibibytes: GiB; -1 for half of the memory that is free.
        directory: on the disk that takes what is more than that half.
    """

    gibibytes: float
    directory: Path


_log = logging.getLogger(__name__)


def single(lm: FrozenLM) -> PromptFunction:
    """The plain reference: one process with the whole model."""
    return replicated(lm, World())


def replicated(lm: FrozenLM, world: World) -> PromptFunction:
    """A model that each rank holds whole, on rows of its own."""
    mesh = Mesh.build(world, Degrees(data=world.size))
    vocabulary = WholeVocabulary(chunked_loss=lm.shortcuts.chunked_loss)
    return PromptFunction(WholeEngine(lm), mesh, vocabulary)


def check(config: PretrainedConfig, degrees: Degrees) -> None:
    """Make sure that a model can be laid out so, before anything is loaded.

    Raises:
        UserError: with the reason and the numbers.
    """
    if degrees.has_tensor:
        plan = tensor.check(config, degrees.tensor)
        if degrees.is_sharded and plan.library == "dtensor":
            raise UserError(
                f"--zero_stage 3 with --tensor_parallel {degrees.tensor}: DeepSpeed cannot "
                "partition the DTensor weights of this model's tensor-parallel layers; it can with "
                "GPT-2 and Megatron. Use --zero_stage 0"
            )
    if degrees.has_pipeline:
        pipeline.check(config, degrees.pipeline)


def check_backbone(backbone: Backbone, degrees: Degrees) -> None:
    """``check``, and that the checkpoint can be read in the way that the layout needs.

    Raises:
        UserError: with the reason; a file is missing or damaged; a weight has another shape than
            the configuration gives it.
    """
    check(backbone.config, degrees)
    reason = why_whole(backbone)
    if degrees.is_whole:
        return
    if reason and not degrees.is_replicated:
        raise UserError(
            f"--tensor_parallel {degrees.tensor} --pipeline_parallel {degrees.pipeline} read "
            f"weights in slices, but {reason}. Use --zero_stage 3, under which each rank loads the "
            "whole model before it keeps its part"
        )


def parallelize(
    backbone: Backbone,
    mesh: Mesh,
    *,
    deepspeed_config: Path | None = None,
    rows_per_forward: int | None = None,
    texts: TextLimit | None = None,
    while_waiting: Callable[[], None] = lambda: None,
) -> PromptFunction:
    """Turn a frozen model into the function (batch, P) -> (losses, dP) over all ranks.

    Args:
        deepspeed_config: another configuration than ``ds_configs/zero3.json``.
        rows_per_forward: most rows in one forward pass of a rank.
        texts: how many keys and values of texts are kept; None for none.
        while_waiting: called again and again while a server computes, so that a job can be stopped.

    Raises:
        UserError: the model or the DeepSpeed configuration does not fit the layout, or the
            checkpoint lacks a weight or has it in another shape.
    """
    if isinstance(backbone, ServedBackbone):
        backbone.servers.while_waiting = while_waiting
        return ServedFunction(backbone, mesh)
    degrees = mesh.degrees
    check(backbone.config, degrees)
    chunked_loss = backbone.shortcuts.chunked_loss
    if not degrees.is_whole and backbone.weight_bits != "full":
        raise UserError(
            f"--weight_bits {backbone.weight_bits} in layout {degrees.name}: weights in fewer bits "
            "need the whole model on each rank; add --zero_stage 0 and leave out --tensor_parallel "
            "and --pipeline_parallel, or use --weight_bits full"
        )
    if backbone.dropout and not degrees.is_replicated:
        raise UserError(
            f"layout {degrees.name}: ranks that share a layer would draw different dropout; leave "
            "out --backbone_dropout, or --tensor_parallel and --pipeline_parallel"
        )
    if degrees.is_replicated:
        reason = why_whole(backbone) if degrees.is_sharded else None
        if reason or not degrees.is_sharded:
            whole = _whole(backbone, mesh, deepspeed_config, reason)
            _warn(backbone, mesh)
            _keep_texts(whole.lm, texts, mesh)
            every_word = WholeVocabulary(chunked_loss=chunked_loss)
            return PromptFunction(whole, mesh, every_word, rows_per_forward)

    # Steps 1 to 3.
    model, names, slices, vocabulary = shape(
        backbone.empty_model(), mesh, chunked_loss=chunked_loss
    )
    lm = FrozenLM(
        model,
        is_first=mesh.is_first_stage,
        is_last=mesh.is_last_stage,
        shortcuts=backbone.shortcuts,
        dropout=backbone.dropout,
    )
    # 4. Only now are weights read, each rank its own part; ZeRO-3 halves, thirds ... them further.
    engine: Engine
    if degrees.is_sharded:
        config = zero3.read_config(deepspeed_config or zero3.DEFAULT_CONFIG, backbone.dtype)
        engine = zero3.shard(lm, mesh, config, names=names, slices=slices, weights=backbone.weights)
    else:
        fill(model, names, slices, backbone.weights, mesh.world.device)
        engine = WholeEngine(lm)
    _warn(backbone, mesh)
    _keep_texts(lm, texts, mesh)
    # 5. The schedule goes around the finished stage.
    if degrees.has_pipeline:
        engine = PipelineEngine(lm, mesh, backbone.dtype, backbone.config.hidden_size)
    return PromptFunction(engine, mesh, vocabulary, rows_per_forward)


def _keep_texts(lm: FrozenLM, asked: TextLimit | None, mesh: Mesh) -> None:
    """Give a model a cache of texts, if it has a use for one.

    Half of what is free of the device's memory is filled first, then of the host's, then files.
    """
    if asked is None or not asked.gibibytes or not lm.can_keep_texts():
        return
    world = mesh.world
    free = [(world.device, world.free_memory())]
    if world.device.type != "cpu":
        free.append((torch.device("cpu"), world.free_host_memory()))
    left = int(asked.gibibytes * 2**30) if asked.gibibytes > 0 else None
    tiers: list[Tier] = []
    for device, memory in free:
        limit = memory // 2 if left is None else min(memory // 2, left)
        tiers.append(MemoryTier(limit, device))
        left = None if left is None else left - limit
    if left:
        tiers.append(FileTier(left, asked.directory, BLOCK))
    lm.texts = TextCache(*tiers, least=mesh.least)


def _warn(backbone: Backbone, mesh: Mesh) -> None:
    if backbone.unread and mesh.world.is_main:
        _log.warning("model %s: %s", backbone.name, backbone.unread)


def shape(
    model: PreTrainedModel, mesh: Mesh, *, chunked_loss: bool = True
) -> tuple[PreTrainedModel, Names, Slices, Vocabulary]:
    """Reduce an empty model to this rank's part, in place; no weight is read.

    Args:
        chunked_loss: see ``chunked_cross_entropy``; where the vocabulary stays whole.

    Returns:
        the model, the checkpoint's names of its parameters, the slices of those that are not
        whole, and what this rank holds of the vocabulary.

    Raises:
        UserError: the model cannot be laid out so.
    """
    # 1. Shapes and names of everything; nothing takes memory yet.
    names, slices = Names(model), Slices()
    vocab_size = model.get_output_embeddings().weight.shape[0]
    # 2. Pipeline first: layers of other stages are gone before anything is done to them.
    if mesh.degrees.has_pipeline:
        pipeline.cut(model, mesh)
    # 3. Tensor parallelism next: it changes the shapes that are sharded and filled afterwards.
    vocabulary: Vocabulary = WholeVocabulary(chunked_loss=chunked_loss)
    if mesh.degrees.has_tensor:
        vocabulary = tensor.spread(model, mesh, names, slices, vocab_size)
    return model, names, slices, vocabulary


@functools.lru_cache(maxsize=2)
def why_whole(backbone: Backbone) -> str | None:
    """What keeps a checkpoint from being read in slices: its format or names; None if nothing.

    What is in the checkpoint and in no part of the model is noted.

    Raises:
        UserError: a file is missing or damaged, or a weight has another shape than the
            configuration gives it, or is of a layer that it does not speak of; loading the whole
            model would not help.
    """
    if method := quantized_by(backbone.config):
        return (
            f"its weights are quantized by {method}, and are put together with their scales only "
            "where the whole model is loaded"
        )
    model = backbone.empty_model()
    names = Names(model)
    try:
        read = {stored for _, stored, _ in pending(model, names, {}, backbone.weights)}
        read |= {stored for _, stored in pending_buffers(model, names, backbone.weights)}
    except CannotSlice as error:
        return str(error)
    unread = backbone.weights.names() - read - names.known(backbone.weights)
    backbone.note_unread(model, unread)
    return None


def _whole(
    backbone: Backbone, mesh: Mesh, deepspeed_config: Path | None, reason: str | None
) -> WholeEngine:
    """Every rank loads the model as transformers does, whatever its checkpoint looks like."""
    if not mesh.degrees.is_sharded:
        return WholeEngine(backbone.lm.to(mesh.world.device).prepare())
    if mesh.world.is_main:
        _log.warning("--zero_stage 3: each rank first loads the whole model, because %s", reason)
    config = zero3.read_config(deepspeed_config or zero3.DEFAULT_CONFIG, backbone.dtype)
    kept = sorted({str(p.dtype) for p in backbone.lm.model.parameters()} - {str(backbone.dtype)})
    if kept:
        raise UserError(
            f"--zero_stage 3: {reason}, and these stay {', '.join(kept)}, which cannot be divided; "
            "use --zero_stage 0, or a model that is not quantized"
        )
    # DeepSpeed is about to empty the weights that it would be taken from.
    backbone.embeddings  # noqa: B018
    return zero3.shard(backbone.lm, mesh, config)
