"""fairscale's column-, row- and vocabulary-parallel layers, in place of an empty model's own."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import nn
from transformers import PreTrainedModel

from ptune_scale.backbone.families import TensorPlan
from ptune_scale.errors import UserError
from ptune_scale.parallel.mesh import TENSOR, Mesh
from ptune_scale.parallel.slices import Names, Slice, Slices, replace_module
from ptune_scale.parallel.vocabulary import ShardedVocabulary


def spread_layer(
    root: nn.Module,
    path: str,
    module: Any,
    style: str,
    plan: TensorPlan,
    mesh: Mesh,
    names: Names,
    slices: Slices,
) -> None:
    """Put a parallel layer in the place of one layer of an empty model.

    Args:
        path: of ``module`` below ``root``.
        style: "column", "row" or "fused_column".
        slices: is added to.
    """
    from fairscale.nn.model_parallel.layers import ColumnParallelLinear, RowParallelLinear

    degree, rank = mesh.degrees.tensor, mesh.tensor_rank
    weight, bias = module.weight, module.bias
    outputs, inputs = weight.shape[::-1] if plan.transposed else weight.shape
    with _no_memory():
        if style == "row":
            new = RowParallelLinear(inputs, outputs, bias is not None, input_is_parallel=True)
        else:
            new = ColumnParallelLinear(inputs, outputs, bias is not None, gather_output=False)
    new.to(weight.dtype).requires_grad_(False)
    out_dim, in_dim = (1, 0) if plan.transposed else (0, 1)
    blocks = 3 if style == "fused_column" else 1
    spread_size = inputs if style == "row" else outputs // blocks
    size = spread_size // degree
    ranges = tuple(
        (block * spread_size + rank * size, block * spread_size + (rank + 1) * size)
        for block in range(blocks)
    )
    names.replace(weight, new.weight)
    slices[new.weight] = Slice(in_dim if style == "row" else out_dim, ranges, plan.transposed)
    if bias is not None:
        names.replace(bias, new.bias)
        if style != "row":
            slices[new.bias] = Slice(0, ranges)
    replace_module(root, path, new)


def spread_vocabulary(
    model: PreTrainedModel, mesh: Mesh, names: Names, slices: Slices, vocab_size: int
) -> ShardedVocabulary:
    """Spread word embeddings and head by tokens, in equal shards; the last ones may be padded."""
    from fairscale.nn.model_parallel.layers import ColumnParallelLinear

    from ptune_scale.parallel.tensor.embedding import EmbeddingShard

    degree, rank = mesh.degrees.tensor, mesh.tensor_rank
    head: Any = model.get_output_embeddings()
    embedding: Any = model.get_input_embeddings()
    width = math.ceil(vocab_size / degree)
    mine = Slice(0, ((rank * width, (rank + 1) * width),), padded=True)
    tied = isinstance(head, nn.Linear) and head.weight is getattr(embedding, "weight", None)
    if isinstance(embedding, nn.Embedding):
        if type(embedding) is not nn.Embedding:
            raise UserError(
                f"--tensor_parallel {degree}: the word embedding of this model is a "
                f"{type(embedding).__name__}, which does more than look words up"
            )
        with _no_memory():
            # padding_idx would only matter for its gradient, and there is none.
            new = EmbeddingShard(width * degree, embedding.embedding_dim)
        new.to(embedding.weight.dtype).requires_grad_(False)
        names.replace(embedding.weight, new.weight)
        slices[new.weight] = mine
        model.set_input_embeddings(new)
    if isinstance(head, nn.Linear):
        with _no_memory():
            wide = ColumnParallelLinear(
                head.in_features, width * degree, head.bias is not None, gather_output=False
            )
        wide.to(head.weight.dtype).requires_grad_(False)
        if tied:
            wide.weight = new.weight
        else:
            names.replace(head.weight, wide.weight)
            slices[wide.weight] = mine
        if head.bias is not None:
            names.replace(head.bias, wide.bias)
            slices[wide.bias] = mine
        model.set_output_embeddings(wide)
    return ShardedVocabulary(vocab_size, width, rank, mesh.group(TENSOR))


@contextmanager
def _no_memory() -> Iterator[None]:
    """fairscale's layers allocate and initialize; here both happen on the meta device."""
    with init_empty_weights(), torch.device("meta"):
        yield
