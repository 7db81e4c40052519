"""Ours with one thing switched off or exchanged, by name: flags of the LAMA job.

The section ``ablations`` runs each in turn with ours as it is; the ratio says what a part is worth
together with what rests on it: without packing layers are not prepared, and layers that are not
prepared are neither compiled nor packed nor cut to the targets; nor is a last layer before a head
that runs everywhere. Add a line to measure another one.
"""

from typing import Any

FASTEST: dict[str, Any] = {"compiled_layers": "on", "packed_weights": "on"}
"""Settings of ours that are not defaults, for they cost a wait or memory; flags win over them."""

ABLATIONS: dict[str, dict[str, Any]] = {
    "defaults": {"compiled_layers": "off", "packed_weights": "off"},
    "packing_off": {"packing": "off"},
    "skip_lead_off": {"skip_lead": "off"},
    "head_all": {"head": "all"},
    "last_layer_all": {"last_layer": "all"},
    "chunked_loss_off": {"chunked_loss": "off"},
    "fused_splice_off": {"fused_splice": "off"},
    "fused_adam_off": {"fused_adam": "off"},
    "prepared_layers_off": {"prepared_layers": "off"},
    "packed_weights_off": {"packed_weights": "off"},
    "compiled_layers_off": {"compiled_layers": "off"},
    "fold_norms_on": {"fold_norms": "on"},
    "attention_sdpa": {"attention": "sdpa"},
    "dtype_float32": {"dtype": "float32"},
    "loss_over_candidates": {"loss_over": "candidates", "candidates": "common_vocab"},
    "batch_tokens_300": {"batch_tokens": 300},  # 32 facts of LAMA have about as many
}
