"""What a step's activations take, counted in dry runs of a few layers and carried on to all.

A frozen linear layer keeps nothing from the forward to the backward pass: the gradient of its
input needs its weight alone. A norm keeps its input and statistics, attention its queries, keys
and values (once per query head) and probabilities, an activation function what its elementary
operations need. With attention spelled out ("eager") that comes to so many bytes per token and
layer, where w is the bytes of a number in the backbone's dtype, D the hidden size, F the
feed-forward size, A query heads of size d, T tokens in a row, and s = 4 + w if w < 4 else 4 for
probabilities that are computed in fp32 and then rounded:

    Llama       8 D + 3 w A d + s A T + 3 w F + 8      norms in fp32; SwiGLU
    GPT-2       5 w D         + w A T + 4 w F + 16     GELU by tanh, in five operations
    Megatron    5 w D         + s A T + 4 F   + 16     exact GELU, in fp32

(5 w D are two norm inputs, queries, keys and values; Megatron also keeps a mask of T x T bytes a
layer for all rows.) Of other families, and of "sdpa" as PyTorch
computes it without a fused kernel, the same is counted and not written down here. Tensor
parallelism divides A and F, and in GPT-2 and Megatron three of the five D; a pipeline divides the
layers; ZeRO-3 changes nothing.

Shapes: N rows, T tokens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel

from ptune_scale.backbone.families import anatomy_of
from ptune_scale.parallel import dry_run
from ptune_scale.parallel.footprint import Footprint
from ptune_scale.parallel.mesh import Mesh
from ptune_scale.parallel.pipeline import keep_layers
from ptune_scale.task.objective import Vocabulary

_ROWS = (8, 16)
_LAYERS = (2, 3)


@dataclass(frozen=True)
class Activations:
    """Footprints of a stage, linear in rows and in layers.

    Attributes:
        samples: (rows, layers) -> what was counted.
    """

    samples: dict[tuple[int, int], Footprint]

    def at(self, rows: int, layers: int) -> Footprint:
        """What one pass of so many rows takes in a stage of so many layers."""
        depths = sorted({place[1] for place in self.samples})

        def of(value: Callable[[Footprint], int]) -> int:
            per_depth = [
                _line(rows, [(n, value(self.samples[n, depth])) for n in _ROWS]) for depth in depths
            ]
            return round(_line(layers, list(zip(depths, per_depth, strict=True))))

        kinds = {kind for footprint in self.samples.values() for kind in footprint.traffic}

        def sent(kind: tuple[str, str]) -> int:
            return of(lambda each: each.traffic.get(kind, 0))

        traffic = {kind: sent(kind) for kind in kinds}
        return Footprint(of(lambda each: each.kept), of(lambda each: each.peak), traffic)


def count(model: PreTrainedModel, mesh: Mesh, vocabulary: Vocabulary, length: int) -> Activations:
    """Run a shaped model dry; of layers that are all alike only the first few are left in it.

    Args:
        length: T.

    Raises:
        UserError: the model cannot be run without its weights.
    """
    samples, anatomy = {}, anatomy_of(model.config)
    for layers in sampled_layers(model)[::-1]:
        if anatomy is not None and layers < num_layers(model):
            keep_layers(model, anatomy, range(layers))
        for rows in _ROWS:
            samples[rows, layers] = dry_run.run(model, mesh, vocabulary, rows, length)
    return Activations(samples)


def num_layers(model: PreTrainedModel) -> int:
    """Layers of a model or stage."""
    anatomy = anatomy_of(model.config)
    if anatomy is None:
        return model.config.num_hidden_layers
    return len(model.base_model.get_submodule(anatomy.layers))


def sampled_layers(model: PreTrainedModel) -> tuple[int, ...]:
    """Numbers of layers that are run in place of all of them."""
    anatomy, total = anatomy_of(model.config), num_layers(model)
    if anatomy is None or total <= _LAYERS[-1]:
        return (total,)
    layers = model.base_model.get_submodule(anatomy.layers)
    kinds = {(type(layer), tuple(p.shape for p in layer.parameters())) for layer in layers}
    types = set(getattr(model.config, "layer_types", None) or ())
    return _LAYERS if len(kinds) == 1 and len(types) <= 1 else (total,)


def _line(x: float, points: Sequence[tuple[int, float]]) -> float:
    """The value at x of the line through one or two points."""
    (x0, y0), (x1, y1) = points[0], points[-1]
    return y0 if x1 == x0 else y0 + (x - x0) * (y1 - y0) / (x1 - x0)
