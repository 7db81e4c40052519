"""What ranks and jobs import, imported once for many of them; see ``tests.forked``."""

import gc
import importlib

from ptune_scale.run.command import no_garbage_yet

MODULES = (
    "deepspeed",
    "torch.distributed.pipelining",
    "torch.distributed.tensor",
    *(f"transformers.models.{family}.modeling_{family}" for family in ("bert", "gpt2", "llama")),
    *(f"ptune_scale.{command}.run" for command in ("lama", "superglue", "tune")),
)

with no_garbage_yet():
    for name in MODULES:
        importlib.import_module(name)
# Forked processes need not look through it for garbage, nor copy it by doing so.
gc.freeze()
