"""Embedding splice: word embeddings with prompt rows written into the prompt slots.

``splice`` is the one entry; which implementation serves it is decided in ``dispatch``.
"""

from ptune_scale.splice.dispatch import splice

__all__ = ["splice"]
