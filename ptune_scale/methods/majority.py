"""Control: always answer with the relation's commonest training objects."""

from collections import Counter

import torch

from ptune_scale.job import Job
from ptune_scale.methods.result import MethodResult


def run(job: Job) -> list[MethodResult]:
    """Rank a relation's objects by how often they occur in training; no model is asked."""
    ranks = []
    for relation in job.facts.relations:
        counts = Counter(fact.label for fact in (*relation.train, *relation.dev))
        order = sorted(counts, key=lambda token: (-counts[token], token))
        rank = {token: place for place, token in enumerate(order, start=1)}
        unseen = job.candidates.vocab_size + 1
        ranks += [rank.get(fact.label, unseen) for fact in relation.test]
    columns = len(job.candidates.names)
    return [
        MethodResult(
            "majority",
            "the relation's commonest training object, whatever the subject",
            torch.tensor(ranks)[:, None].expand(-1, columns),
        )
    ]
