"""What a frozen model need not compute; each can be switched off.

All are exact: up to rounding, losses and prompt gradients are those of the plain forward pass.
"""

from dataclasses import dataclass
from typing import Literal

from ptune_scale.flag import OnOff, flag


@dataclass(frozen=True, kw_only=True)
class Shortcuts:
    """what need not be computed; none changes more than rounding"""

    # One declaration for the command line and for the model: values are those that are typed.
    packing: OnOff = flag(
        "on",
        "facts lie behind one another, those of a relation share its beginning (GPT-2, Llama, "
        "Mistral, Qwen, Gemma, Granite, OLMo 2, Megatron); needed by skip_lead and prepared_layers",
    )
    skip_lead: OnOff = flag("on", "no backward pass for tokens before the first prompt slot")
    head: Literal["targets", "all"] = flag(
        "targets", "tokens that logits are computed for; needed by last_layer"
    )
    last_layer: Literal["targets", "all"] = flag(
        "targets", "tokens that the last prepared layer is computed for"
    )
    chunked_loss: OnOff = flag(
        "on",
        "cross-entropy some columns at a time, its gradient in the memory of the logits; off: "
        "PyTorch's, on fp32 logits (where tensor parallelism spreads the vocabulary: fairscale's)",
    )
    fused_splice: OnOff = flag(
        "on", "word embeddings are looked up and prompts written among them in one pass"
    )
    prepared_layers: OnOff = flag(
        "on", "merged projections in layers of Llama, Mistral and Qwen2 models"
    )
    fold_norms: OnOff = flag(
        "off",
        "scales of norms go into the projections behind them, in prepared layers: in bf16 these "
        "are rounded once more",
    )
    packed_weights: OnOff = flag(
        "off", "weights in oneDNN's layouts too: faster on CPUs in bf16, thrice the memory"
    )
    compiled_layers: OnOff = flag(
        "off", "compile prepared layers: faster, after some ten seconds at the start"
    )


DEFAULT = Shortcuts()
"""What needs no wait, and no memory but for weights that would else stay mapped from their file."""

PLAIN = Shortcuts(
    packing="off",
    skip_lead="off",
    head="all",
    last_layer="all",
    chunked_loss="off",
    fused_splice="off",
    prepared_layers="off",
)
"""Everything is computed, as the model was written."""
