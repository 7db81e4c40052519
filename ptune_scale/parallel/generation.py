"""What a causal model goes on with behind rows, the likeliest token each time.

With a cache, each replica writes behind its own rows and computes a token once. Without (in
pipeline stages, and in models that keep no keys and values) whole rows are computed again for each
token, by all ranks together; the result is the same.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import PretrainedConfig

from ptune_scale.backbone.families import can_pack, context_length
from ptune_scale.backbone.past import Past
from ptune_scale.parallel.engine import WholeEngine
from ptune_scale.task.ask import continued
from ptune_scale.task.example import NO_ANSWER, NO_SLOT, Batch, Example
from ptune_scale.task.objective import Vocabulary


@dataclass(frozen=True, slots=True)
class Generated:
    """What a model went on with behind a row.

    Attributes:
        tokens: token ids, without the stop token.
        log_probabilities: of each of them, and of the stop token where one came, in nats.
        ended: a stop token came.
    """

    tokens: tuple[int, ...]
    log_probabilities: tuple[float, ...]
    ended: bool

    @property
    def log_probability(self) -> float:
        """Of all of them together, in nats: the score of the text."""
        return sum(self.log_probabilities)


class Draft:
    """A text that is being written.

    Args:
        limit: most tokens.
        stop: token ids that end it.
    """

    def __init__(self, limit: int, stop: Collection[int]) -> None:
        self.tokens: list[int] = []
        self.log_probabilities: list[float] = []
        self.ended = False
        self.limit = limit
        self._stop = stop

    @property
    def is_open(self) -> bool:
        return not self.ended and len(self.tokens) < self.limit

    def add(self, token: int, log_probability: float) -> None:
        """Append a token, if the text is still open."""
        if not self.is_open:
            return
        self.log_probabilities.append(log_probability)
        self.ended = token in self._stop
        if not self.ended:
            self.tokens.append(token)

    def done(self) -> Generated:
        return Generated(tuple(self.tokens), tuple(self.log_probabilities), self.ended)


def begin(
    rows: Iterable[Example], config: PretrainedConfig, max_tokens: int, stop: Collection[int]
) -> list[Draft]:
    """An empty text behind each row, at most as long as the model's context allows."""
    most = context_length(config)
    # The last token of a text is not given to the model any more.
    limits = (max_tokens if most is None else most - row.num_tokens + 1 for row in rows)
    return [Draft(max(0, min(max_tokens, limit)), stop) for limit in limits]


def write_again(
    rows: Sequence[Example],
    drafts: Sequence[Draft],
    likeliest: Callable[[Batch], tuple[Tensor, Tensor]],
) -> None:
    """Write texts by computing whole rows for each token.

    Args:
        likeliest: probability and id of the likeliest token at each row's target, (N, 1, 1).
    """
    while numbers := [number for number, draft in enumerate(drafts) if draft.is_open]:
        longer = [_extended(rows[number], drafts[number].tokens) for number in numbers]
        probabilities, tokens = likeliest(_batch(longer, torch.device("cpu")))
        _add([drafts[number] for number in numbers], probabilities[:, 0], tokens[:, 0])


def write_on(
    engine: WholeEngine,
    vocabulary: Vocabulary,
    batch: Batch,
    prompts: Tensor,
    drafts: Sequence[Draft],
    agree: Callable[[int], int],
) -> None:
    """Write texts behind the rows of this replica, with a cache.

    Args:
        agree: the largest of a number over all ranks that have to make as many passes as this one.
    """
    groups = _groups(batch, engine.lm.model.config, drafts)
    for place in range(agree(len(groups))):
        # Where other ranks have more groups, rows whose texts are complete keep them company.
        rows = groups[min(place, len(groups) - 1)]
        past = Past(len(rows), batch.device)
        step = [_extended(batch.examples[row], ()) for row in rows]
        while agree(int(any(drafts[row].is_open for row in rows))):
            logits = engine.go_on(_batch(step, batch.device), prompts, past)
            _add([drafts[row] for row in rows], *vocabulary.top(logits[:, 0], 1))
            open_rows = [number for number, row in enumerate(rows) if drafts[row].is_open]
            if open_rows:
                if len(open_rows) < len(rows):
                    past.keep(open_rows)
                rows = [rows[number] for number in open_rows]
                step = [_next(batch.examples[row], drafts[row].tokens[-1]) for row in rows]
            else:  # any pass will do now
                past, rows = Past(1, batch.device), rows[:1]
                step = [_next(batch.examples[rows[0]], 0)]


def _groups(batch: Batch, config: PretrainedConfig, drafts: Sequence[Draft]) -> list[list[int]]:
    """Rows that are computed together: all, or those of equal length.

    Where rows of different lengths are padded, the model has to take positions as they are given.
    """
    lengths = [row.num_tokens for row in batch.examples]
    longest = max(length + draft.limit for length, draft in zip(lengths, drafts, strict=True))
    if can_pack(config, longest):
        return [list(range(len(batch)))]
    return [[i for i, n in enumerate(lengths) if n == length] for length in sorted(set(lengths))]


def _add(drafts: Sequence[Draft], probabilities: Tensor, tokens: Tensor) -> None:
    """Append to each text its likeliest token, both (N, 1)."""
    # One wait for the device.
    found = torch.cat([probabilities.double().log(), tokens.double()], dim=1).tolist()
    for draft, (log_probability, token) in zip(drafts, found, strict=True):
        draft.add(int(token), log_probability)


def _extended(row: Example, tokens: Sequence[int]) -> Example:
    """A row with tokens behind it, which asks for the next one."""
    return replace(continued(row, tokens), answers=(NO_ANSWER,))


def _next(row: Example, token: int) -> Example:
    """A token behind a row by itself, which asks for the next one."""
    return Example(row.task, (token,), (NO_SLOT,), (0,), (NO_ANSWER,))


def _batch(rows: Sequence[Example], device: torch.device) -> Batch:
    return Batch(tuple(rows), (1.0,) * len(rows), device=device)
