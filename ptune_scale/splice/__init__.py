"""Embedding splice: word embeddings with prompt rows written into the prompt slots.

``embed_and_splice`` goes from the embedding table to a model's inputs; ``splice`` starts from word
embeddings that were looked up elsewhere. Which implementation serves them is decided in
``dispatch``.
"""

from ptune_scale.splice.dispatch import embed_and_splice, splice

__all__ = ["embed_and_splice", "splice"]
