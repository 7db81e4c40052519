"""What a frozen causal model need not compute; each can be switched off.

All are exact: up to rounding, losses and prompt gradients are those of the plain forward pass.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shortcuts:
    """Which work is spared.

    Attributes:
        pack: rows lie behind one another in lines, without padding, and those of a relation
            behind one copy of what they begin with; see ``lines``.
        skip_lead: tokens before the first prompt slot have no backward pass.
        last_layer: of the last layer, only what the targets need is computed.
        prepare: layers of the Llama family are run by ``prepared``: query, key and value
            projections are one product, and so are gate and up.
        pack_weights: prepared layers keep their weights in oneDNN's own layouts beside the plain
            one, three times the memory; on CPUs in bf16 only.
        compile: prepared layers are compiled; the first steps wait for it.
    """

    pack: bool = True
    skip_lead: bool = True
    last_layer: bool = True
    prepare: bool = True
    pack_weights: bool = False
    compile: bool = False


DEFAULT = Shortcuts()
"""What needs no wait, and no memory but for weights that would else stay mapped from their file."""

PLAIN = Shortcuts(pack=False, skip_lead=False, last_layer=False, prepare=False)
"""Everything is computed, as the model was written."""
