"""Cases whose facts have a given number of input tokens."""

from ptune_scale.bench.case import Case
from ptune_scale.bench.comparison import Bench
from ptune_scale.bench.synthetic import passages
from ptune_scale.errors import UserError

_TOKENS_PER_STEP = 2048
"""At most: logits at all positions, as other sides have them, fill the memory beyond that."""
_ROUNDS_OF_FACTS = 4


def passage_case(bench: Bench, case: Case, length: int) -> tuple[Case, int]:
    """A case of passages, and the facts of a round.

    Args:
        length: tokens of a row, prompt slots among them.

    Raises:
        UserError: the template alone is that long.
    """
    words = length - case.template.num_slots
    if words < 1:
        raise UserError(f"template {case.template.pattern!r} leaves no room in {length} tokens")
    most = max(1, _TOKENS_PER_STEP // length)
    batch_size = min(case.config.train.batch_size, most)
    facts = min(bench.config.facts_per_round, max(batch_size, most))
    made = passages(
        case.facts,
        case.backbone.tokens,
        words,
        count=_ROUNDS_OF_FACTS * max(facts, batch_size),
        seed=case.config.train.seed,
    )
    return case.with_facts(made).with_flags(batch_size=batch_size), facts


def longest(case: Case) -> int:
    """Tokens that the model takes, less one for the object, which PEFT adds."""
    limit = getattr(case.backbone.config, "max_position_embeddings", None)
    return (limit or 1 << 20) - 1
