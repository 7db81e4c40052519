"""What a frozen model need not compute; each can be switched off.

All are exact: up to rounding, losses and prompt gradients are those of the plain forward pass.
"""

from dataclasses import dataclass, fields, replace


@dataclass(frozen=True, kw_only=True)
class Shortcuts:
    """What need not be computed; none changes more than rounding.

    Attributes:
        packing: rows lie behind one another, those of a task share its beginning; needed by
            ``skip_lead`` and ``prepared_layers``.
        skip_lead: no backward pass for tokens before the first prompt slot.
        head_at_targets: logits at the targets alone; needed by ``last_layer_at_targets``.
        last_layer_at_targets: of the last prepared layer, all but keys and values at the targets
            alone.
        chunked_loss: cross-entropy some columns at a time, its gradient in the memory of the
            logits; else PyTorch's, on fp32 logits. (Where tensor parallelism spreads the
            vocabulary, fairscale's.)
        fused_splice: words are looked up and prompts written among them in one pass.
        prepared_layers: merged projections, in layers of Llama, Mistral and Qwen2.
        packed_weights: prepared layers have their weights in oneDNN's formats too: faster on CPUs
            in bf16, thrice the memory.
        cuda_graphs: on a GPU, short passes through prepared layers are recorded once for each shape
            and started as a whole; needs ``last_layer_at_targets`` and ``head_at_targets``.
        compiled_layers: prepared layers are compiled: faster, after some ten seconds at the start.
    """

    packing: bool = True
    skip_lead: bool = True
    head_at_targets: bool = True
    last_layer_at_targets: bool = True
    chunked_loss: bool = True
    fused_splice: bool = True
    prepared_layers: bool = True
    cuda_graphs: bool = True
    packed_weights: bool = False
    compiled_layers: bool = False

    @classmethod
    def of(
        cls, on: bool, *, packed_weights: bool = False, compiled_layers: bool = False
    ) -> "Shortcuts":
        """What costs nothing, all of it or nothing, and what costs memory or time at the start."""
        plain = cls(**{field.name: False for field in fields(cls)})
        return replace(
            cls() if on else plain, packed_weights=packed_weights, compiled_layers=compiled_layers
        )


DEFAULT = Shortcuts()
"""What needs no wait, and no memory but for weights that would else stay mapped from their file."""

PLAIN = Shortcuts.of(False)
"""Everything is computed, as the model was written."""
