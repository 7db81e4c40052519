"""Frozen language models: where they come from, how they are loaded, what they compute.

source.py       a name, directory, GGUF file or hub id -> files on disk, checked
gguf.py         a GGUF file -> a directory of safetensors, converted once
loading.py      files -> Backbone (model, tokenizer, fingerprint)
network.py      models without weights, and the names of their weights in checkpoints
weights.py      a checkpoint, read slice by slice
quantized.py    layers in 8 or 4 bits; quantized_linear.py: one such layer
frozen.py       the forward pass: splice in, logits at the targets out
tuned.py        the same with weights that train; classifier.py: under a new head
splicing_embedding.py word embeddings with prompts among them, in one pass
families.py     what is known of families; narrow_head.py: logits of some words alone
shortcuts.py    what need not be computed
lines.py        rows of a batch behind one another, without padding, behind what they share
arrange.py      which rows share a line
prepared.py     all layers of a Llama model, weights merged; llama_layer.py: one of them;
                lean.py: norm and gate; packed_linear.py: products in oneDNN's layouts
anatomy.py      where the parts of a family are, for layouts that take models apart
fingerprint.py  identity of weight files
"""

from ptune_scale.backbone.frozen import FrozenLM
from ptune_scale.backbone.loading import Backbone, load_backbone
from ptune_scale.backbone.source import ModelSource, find_model

__all__ = ["Backbone", "FrozenLM", "ModelSource", "find_model", "load_backbone"]
