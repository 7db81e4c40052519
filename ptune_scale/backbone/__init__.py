"""Frozen language models: where they come from, how they are loaded, what they compute.

source.py       a name, directory, GGUF file or hub id -> files on disk, checked
gguf.py         a GGUF file -> a directory of safetensors, converted once
loading.py      files -> Backbone (model, tokenizer, fingerprint)
tokenizer.py    the tokenizer of a model; embeddings.py: its word embeddings
fingerprint.py  identity of weight files
network.py      models without weights, and the names of their weights in checkpoints
weights.py      a checkpoint, read slice by slice
families.py     what is known of families of models, one record for each
fit.py          which models can be a backbone
parity.py       whether they compute here what the library does; small_copy.py: tried on that
options.py      how a backbone can be asked for; shortcuts.py: what need not be computed
frozen.py       the forward pass: splice in, logits at the targets out
past.py         keys and values that a next pass goes on behind
tuned.py        the forward pass with weights that train, also under a new head
splicing_embedding.py  word embeddings with prompts among them, in one pass
lines.py        rows of a batch behind one another, without padding, behind what they share
arrange.py      which rows share a line; lay_out.py: their tokens in it, as numbers
prepared.py     all layers of a Llama model, weights merged; llama_layer.py: one of them;
                lean.py: norm and gate; packed_linear.py: products in oneDNN's formats;
                cuda_graphs.py: all of it started at once on a GPU
quantized.py    layers in 8 or 4 bits; quantized_linear.py: one such layer
megatron/       MegatronLM-11B from its fairseq checkpoint

Names are imported when they are first asked for: options are known without PyTorch.
"""

from typing import TYPE_CHECKING

from ptune_scale.lazy import exports

# ruff: noqa: F401 (the names below are imported for others)
if TYPE_CHECKING:
    from ptune_scale.backbone.frozen import FrozenLM
    from ptune_scale.backbone.loading import Backbone, load_backbone
    from ptune_scale.backbone.source import ModelSource, find_model

if not TYPE_CHECKING:  # else any name would be taken for one that is there
    __getattr__ = exports(
        __name__,
        {
            "Backbone": "loading",
            "FrozenLM": "frozen",
            "ModelSource": "source",
            "find_model": "source",
            "load_backbone": "loading",
        },
    )
