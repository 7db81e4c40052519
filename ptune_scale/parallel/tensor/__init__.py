"""Tensor parallelism: each rank computes a part of every layer, and keeps that part of its weights.

Column-parallel layers spread their outputs, row-parallel layers their inputs (Shoeybi et al. 2019,
arXiv:1909.08053, section 3): query, key, value and the first feed-forward matrix, then the output
projection and the second.

spread.py            what can be spread, and the order in which it is
dtensor_layers.py    layers of models that publish a plan, by parallelize_module of PyTorch
fairscale_layers.py  layers of GPT-2 and Megatron; word embeddings and head of every family
embedding.py         a shard of the word embeddings that prompts are written into
"""

from ptune_scale.parallel.tensor.spread import check, spread

__all__ = ["check", "spread"]
