"""Ours with one thing switched off or exchanged, by name: flags of the LAMA job.

The section ``ablations`` runs each in turn with ours as it is; the ratio says what a part is worth
together with what rests on it: without packing layers are not prepared, and layers that are not
prepared are neither compiled nor packed nor cut to the targets. Add a line to measure another one.
"""

from typing import Any

FASTEST: dict[str, Any] = {"compiled_layers": "on", "packed_weights": "on"}
"""Settings of ours that are not defaults, for they cost a wait or memory; flags win over them."""

ABLATIONS: dict[str, dict[str, Any]] = {
    "defaults": {"compiled_layers": "off", "packed_weights": "off"},
    "packing_off": {"packing": "off"},
    "skip_lead_off": {"skip_lead": "off"},
    "last_layer_all": {"last_layer": "all"},
    "prepared_layers_off": {"prepared_layers": "off"},
    "packed_weights_off": {"packed_weights": "off"},
    "compiled_layers_off": {"compiled_layers": "off"},
    "attention_sdpa": {"attention": "sdpa"},
    "dtype_float32": {"dtype": "float32"},
}
