"""From tokens to floating point operations, for a causal transformer in which nothing trains.

A product of (n, a) and (a, b) takes 2 n a b operations. Per token and layer, with q weights in the
layer's linear maps on average:

    forward                   2 q      each weight takes part in one multiplication and addition
    gradient of the input     2 q      the same products with transposed weights
    gradient of the weights   0        they are frozen

Attention with A heads of size d takes, per pair of a query and a key that it sees:

    forward                   4 A d    scores Q K^T, and their mixture of values: two products
    backward                  8 A d    gradients of values, probabilities, queries and keys: four

The head has V x H weights: 2 V H at each position at which it is computed, and 2 V H again at each
at which its gradient is. In all, with tokens and pairs added up over layers:

    2 q (forward tokens + backward tokens) + 4 A d (forward pairs + 2 backward pairs)
        + 2 V H (forward positions + backward positions)

Norms, activation functions, rotations and softmax, a few operations per number, are left out, and
so are the prompt encoder and its optimizer, which run once a step and not once a fact. How many
tokens, pairs and positions there are is up to whoever computes: see ``work``.
"""

from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D


@dataclass(frozen=True)
class Work:
    """What is computed, added up over layers and facts.

    Attributes:
        forward_tokens, backward_tokens: tokens in a layer.
        forward_pairs, backward_pairs: pairs of a query and a key in a layer, per head.
        forward_positions, backward_positions: of the head.
    """

    forward_tokens: int = 0
    backward_tokens: int = 0
    forward_pairs: int = 0
    backward_pairs: int = 0
    forward_positions: int = 0
    backward_positions: int = 0

    def __add__(self, other: "Work") -> "Work":
        return Work(*(a + b for a, b in zip(self._counts, other._counts, strict=True)))

    @property
    def _counts(self) -> tuple[int, ...]:
        return (
            self.forward_tokens,
            self.backward_tokens,
            self.forward_pairs,
            self.backward_pairs,
            self.forward_positions,
            self.backward_positions,
        )


@dataclass(frozen=True)
class ModelSizes:
    """Sizes of a model that count.

    Attributes:
        layers: their number.
        layer_weights: in the linear maps of all layers.
        attention_width: A d, heads times size of a head.
        head_weights: V H.
        widest: largest output of a linear map in a layer.
        hidden_size: H, of the layers.
        parameters: all, shared ones once.
    """

    layers: int
    layer_weights: int
    attention_width: int
    head_weights: int
    widest: int
    hidden_size: int
    parameters: int

    @classmethod
    def of(cls, model: PreTrainedModel) -> "ModelSizes":
        """Of a model with or without memory behind its weights."""
        config = model.config
        linear = [m for m in model.base_model.modules() if isinstance(m, (nn.Linear, Conv1D))]
        heads, hidden_size = config.num_attention_heads, config.hidden_size
        head_size = getattr(config, "head_dim", None) or hidden_size // heads
        return cls(
            layers=config.num_hidden_layers,
            layer_weights=sum(module.weight.numel() for module in linear),
            attention_width=heads * head_size,
            head_weights=model.get_output_embeddings().weight.numel(),
            widest=max(module.weight.numel() for module in linear) // hidden_size,
            hidden_size=hidden_size,
            parameters=sum(parameter.numel() for parameter in model.parameters()),
        )


def operations(sizes: ModelSizes, work: Work) -> float:
    """Floating point operations; a multiplication and an addition are two."""
    per_token = 2 * sizes.layer_weights / sizes.layers
    per_pair = 4 * sizes.attention_width
    per_position = 2 * sizes.head_weights
    return (
        per_token * (work.forward_tokens + work.backward_tokens)
        + per_pair * (work.forward_pairs + 2 * work.backward_pairs)
        + per_position * (work.forward_positions + work.backward_positions)
    )
