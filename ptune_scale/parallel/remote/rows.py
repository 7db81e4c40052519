"""Batches as tensors, and back; what comes from outside is checked before it is believed.

Shapes: N rows, T tokens of all rows, U targets of all rows, R tasks, S slots, H embedding size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ptune_scale.parallel.remote.message import (
    TooMuch,
    numbers_of,
    require,
    tensor_of,
    whole_number,
)
from ptune_scale.task.example import NO_ANSWER, NO_QUESTION, NO_SLOT, Batch, Example

_LARGEST = 1e5
"""Of a prompt's numbers. Those of words are near one, and what is much larger only overflows."""

_WORDS_VALUES = 1 << 20
"""Numbers of word embeddings in a reply: 4 MiB."""


@dataclass(frozen=True)
class Limits:
    """What a model can be asked, and how much at a time.

    Attributes:
        words: rows of its embedding matrix: token ids of rows are below it.
        vocab_size: number V of logits: ids of answers are below it.
        hidden_size: H.
        context: most tokens of a row; None for no limit.
        is_causal: it can write behind rows.
        request_tokens: most tokens of a request, of its rows and of what is written behind them.
        request_bytes: most bytes of its body.
        pass_tokens: most tokens of rows that have to be computed together.
        pass_targets: most targets of these, each row counted as the one with the most.
        written_tokens: most tokens that are written behind a row.
        values: most numbers of a reply.
    """

    words: int
    vocab_size: int
    hidden_size: int
    context: int | None
    is_causal: bool
    request_tokens: int
    request_bytes: int
    pass_tokens: int
    pass_targets: int
    written_tokens: int
    values: int = 1 << 24

    @property
    def longest(self) -> int:
        """Most tokens of a row."""
        return min(self.context or self.request_tokens, self.request_tokens)

    def lowest(self, other: "Limits") -> "Limits":
        """Requests within these are within both."""
        return replace(
            self,
            request_tokens=min(self.request_tokens, other.request_tokens),
            request_bytes=min(self.request_bytes, other.request_bytes),
            values=min(self.values, other.values),
        )

    @property
    def words_at_a_time(self) -> int:
        """Most words whose embeddings are asked for at once: they wait in no queue."""
        return max(1, _WORDS_VALUES // self.hidden_size)


def encode_batch(batch: Batch, tasks: Sequence[int]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The header and the tensors of a batch.

    Args:
        tasks: those of its rows, in the order in which they are numbered anew.
    """
    rows, number = batch.examples, {task: place for place, task in enumerate(tasks)}
    flat = {
        "ids": [token for row in rows for token in row.ids],
        "slots": [slot for row in rows for slot in row.slots],
        "lengths": [row.num_tokens for row in rows],
        "targets": [place for row in rows for place in row.targets],
        "answers": [answer for row in rows for answer in _answers(row)],
        "target_counts": [len(row.targets) for row in rows],
        "tasks": [number[row.task] for row in rows],
        "labels": [row.label for row in rows],
        "questions": [row.question for row in rows],
    }
    tensors = {name: torch.tensor(values, dtype=torch.int32) for name, values in flat.items()}
    weights = torch.tensor(batch.weights, dtype=torch.float64)
    return {"group_size": batch.group_size}, {**tensors, "weights": weights}


def _answers(row: Example) -> tuple[int, ...]:
    """As many as the row has targets."""
    missing = len(row.targets) - len(row.answers)
    return (*row.answers, *[NO_ANSWER] * missing)[: len(row.targets)]


def decode_prompts(tensors: Mapping[str, Tensor], limits: Limits) -> Tensor:
    """The prompt matrix P, (R, S, H).

    Raises:
        Malformed: it is none for the model, or its numbers are no prompt's.
    """
    prompts = tensor_of(tensors, "prompts", torch.float32, 3)
    size = limits.hidden_size
    require(
        prompts.shape[0] > 0 and prompts.shape[2] == size,
        f"prompts must be (tasks, slots, {size}); got {tuple(prompts.shape)}",
    )
    count, slots = prompts.shape[:2]
    require(slots <= limits.longest, f"{slots} slots are more than the {limits.longest} of a row")
    require(
        count * slots <= limits.request_tokens,
        f"prompts of {count} tasks with {slots} slots are more than the {limits.request_tokens} "
        "tokens of a request: ask in parts",
        TooMuch,
    )
    require(
        bool((prompts.abs() <= _LARGEST).all()),
        f"prompts hold NaN, or numbers beyond {_LARGEST:g}: training has diverged",
    )
    return prompts


def decode_lengths(tensors: Mapping[str, Tensor], limits: Limits) -> Tensor:
    """Tokens of each row, (N,) int32.

    Raises:
        Malformed: there are no rows, or they are too long.
    """
    count = len(tensor_of(tensors, "lengths", torch.int32, 1))
    require(count > 0, "there are no rows")
    lengths = numbers_of(tensors, "lengths", count, 1, limits.longest + 1)
    tokens = int(lengths.sum())
    require(
        tokens <= limits.request_tokens,
        f"{tokens} tokens are more than the {limits.request_tokens} of a request: ask in parts",
        TooMuch,
    )
    return lengths


def decode_batch(
    header: Mapping[str, Any], tensors: Mapping[str, Tensor], prompts: Tensor, limits: Limits
) -> Batch:
    """A batch that a model can be given.

    Raises:
        Malformed: it is not.
    """
    numbers = partial(numbers_of, tensors)
    lengths = decode_lengths(tensors, limits)
    count, tokens = len(lengths), int(lengths.sum())
    num_tasks, num_slots, _ = prompts.shape
    require(num_tasks <= count, f"there are {num_tasks} tasks for {count} rows")
    ids = numbers("ids", tokens, 0, limits.words)
    slots = numbers("slots", tokens, NO_SLOT, num_slots)
    counts = numbers("target_counts", count, 1, limits.longest + 1)
    total = int(counts.sum())
    fits = count * int(counts.max()) <= limits.values
    require(fits, "rows have too many targets: ask in parts", TooMuch)
    targets = numbers("targets", total, 0, limits.longest)
    require(
        bool((targets < lengths.repeat_interleave(counts)).all()),
        "a target lies behind the end of its row",
    )
    answers = numbers("answers", total, NO_ANSWER, limits.vocab_size)
    tasks = numbers("tasks", count, 0, num_tasks)
    labels = numbers("labels", count, NO_ANSWER, 1 << 20)
    questions = numbers("questions", count, NO_QUESTION, 1 << 30)
    weights = tensor_of(tensors, "weights", torch.float64, 1)
    require(len(weights) == count, f"weights must be {count} numbers; got {len(weights)}")
    require(bool((weights.abs() <= 1).all()), "weights must be from -1 to 1")
    group = whole_number(header, "group_size", 1, count)
    require(count % group == 0, f"{count} rows are not groups of {group}")
    together = int(lengths.view(-1, group).sum(1).max())
    require(
        together <= limits.pass_tokens,
        f"a question has {together} tokens, more than the {limits.pass_tokens} of a pass",
    )
    most = group * int(counts.max())
    require(
        most <= limits.pass_targets,
        f"a question has {most} targets, more than the {limits.pass_targets} of a pass "
        "(--pass_targets of the server)",
    )
    columns = (
        tasks.tolist(),
        *(_cut(each, lengths) for each in (ids, slots)),
        *(_cut(each, counts) for each in (targets, answers)),
        labels.tolist(),
        questions.tolist(),
    )
    rows = tuple(Example(*row) for row in zip(*columns, strict=True))
    return Batch(rows, tuple(weights.tolist()), group)


def _cut(flat: Tensor, lengths: Tensor) -> list[tuple[int, ...]]:
    values, parts, start = flat.tolist(), [], 0
    for length in lengths.tolist():
        parts.append(tuple(values[start : start + length]))
        start += length
    return parts
