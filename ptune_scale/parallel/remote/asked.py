"""What is asked of logits, by name: losses and questions that another process can be told.

Shapes: N rows, K targets in a row, R tasks, V vocabulary, C sets of candidates.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any

import numpy
import torch
from torch import Tensor

from ptune_scale.errors import UserError
from ptune_scale.parallel.remote.message import Malformed, require, tensor_of, whole_number
from ptune_scale.parallel.remote.rows import Limits
from ptune_scale.reading import shown
from ptune_scale.task.answers.choices import choice_margin
from ptune_scale.task.answers.ranked import BestCandidates
from ptune_scale.task.answers.words import LabelLoss, LabelWords, SpelledOutLoss
from ptune_scale.task.asked import AnswerLogProbabilities, NextTokens, Ranks, Top
from ptune_scale.task.candidates import Candidates
from ptune_scale.task.example import Batch
from ptune_scale.task.objective import (
    Objective,
    WeightedCrossEntropy,
    cross_entropy,
    mean_cross_entropy,
)

Asked = Callable[..., Tensor]
"""An ``Objective``, or a question: both are called with a vocabulary, logits and a batch."""

LOSSES: Mapping[str, Any] = {
    "cross_entropy": cross_entropy,
    "mean_cross_entropy": mean_cross_entropy,
    "weighted_cross_entropy": WeightedCrossEntropy,
    "label": LabelLoss,
    "spelled_out": SpelledOutLoss,
    "choice_margin": choice_margin,
}
QUESTIONS: Mapping[str, Any] = {
    "ranks": Ranks,
    "top": Top,
    "answer_log_probabilities": AnswerLogProbabilities,
    "next_tokens": NextTokens,
    "label_words": LabelWords,
    "best_candidates": BestCandidates,
}
_NAMES = {what: name for known in (LOSSES, QUESTIONS) for name, what in known.items()}

_MOST_LABELS = 1 << 12
_MOST_SETS = 16


def encode_asked(asked: Asked, tasks: Sequence[int]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Name, numbers and tensors of what is asked.

    Args:
        tasks: those of the batch, in the order in which they are numbered anew.

    Raises:
        UserError: a served backbone is not asked so.
    """
    name = _NAMES.get(type(asked) if is_dataclass(asked) else asked)
    if name is None:
        raise UserError(
            f"a served backbone has no name for {getattr(asked, '__qualname__', asked)}: use a "
            "model here (leave out --backbone)"
        )
    return {"asked": name, **_numbers(asked)}, _tensors(_of_tasks(asked, tasks))


def _of_tasks(asked: Any, tasks: Sequence[int]) -> Any:
    return asked.of_tasks(tasks) if hasattr(asked, "of_tasks") else asked


def _numbers(asked: Any) -> dict[str, Any]:
    match asked:
        case WeightedCrossEntropy():
            return {"first_weight": asked.first_weight}
        case SpelledOutLoss():
            return {"label_of_word": list(asked.label_of_word)}
        case Top():
            return {"k": asked.k}
        case Ranks():
            return {"sets": list(asked.candidates.names)}
        case BestCandidates():
            return {"sets": list(asked.candidates.names), "readings": list(asked.readings)}
    return {}


def _tensors(asked: Any) -> dict[str, Tensor]:
    match asked:
        case LabelLoss():
            return _tensors(asked.words)
        case LabelWords():
            return {"tokens": asked.tokens.int(), "exists": asked.exists.byte()}
        case NextTokens():
            return {"tokens": asked.tokens.int()}
        case Ranks() | BestCandidates():
            masks = asked.candidates.masks.values()
            return {f"set.{n}": _bits(mask) for n, mask in enumerate(masks)}
    return {}


def _bits(mask: Tensor) -> Tensor:
    return torch.from_numpy(numpy.packbits(mask.numpy(), axis=1))


def decode_loss(
    header: Mapping[str, Any], tensors: Mapping[str, Tensor], batch: Batch, limits: Limits
) -> Objective:
    """What is minimized.

    Raises:
        Malformed: it is not known, or does not fit the batch.
    """
    labels = [row.label for row in batch.examples]
    match _named(header, LOSSES):
        case "weighted_cross_entropy":
            weight = header.get("first_weight")
            fits = isinstance(weight, int | float) and 0 < weight <= 1e6 and math.isfinite(weight)
            require(fits, f"first_weight must be a positive number; got {shown(weight)}")
            return WeightedCrossEntropy(float(weight or 1))
        case "label":
            words = _label_words(tensors, batch, limits)
            _check_labels(labels, words.num_labels)
            return LabelLoss(words)
        case "spelled_out":
            places = header.get("label_of_word")
            fits = isinstance(places, list) and len(places) == batch.group_size
            fits = fits and all(type(p) is int and 0 <= p < _MOST_LABELS for p in places or ())
            require(fits, "label_of_word must be a label for each row of a group")
            made = SpelledOutLoss(tuple(places or ()))
            _check_labels(labels, max(made.label_of_word) + 1)
            return made
        case "choice_margin":
            require(batch.group_size > 1, "choices are groups of two rows or more")
            _check_labels(labels, batch.group_size)
            return choice_margin
        case "mean_cross_entropy":
            return mean_cross_entropy
    return cross_entropy


def decode_question(
    header: Mapping[str, Any], tensors: Mapping[str, Tensor], batch: Batch, limits: Limits
) -> Asked:
    """What is asked.

    Raises:
        Malformed: it is not known, or does not fit the batch.
    """
    match _named(header, QUESTIONS):
        case "ranks":
            return Ranks(_candidates(header, tensors, batch, limits))
        case "top":
            return Top(whole_number(header, "k", 1, limits.vocab_size))
        case "next_tokens":
            tokens = _token_ids(tensors, 1, limits)
            require(0 < len(tokens) <= limits.vocab_size, "there are no tokens, or too many")
            return NextTokens(tokens)
        case "label_words":
            return _label_words(tensors, batch, limits)
        case "best_candidates":
            candidates = _candidates(header, tensors, batch, limits)
            return BestCandidates(candidates, _readings(header, candidates, batch))
    return AnswerLogProbabilities()


def values_of(asked: Asked, num_targets: int) -> tuple[tuple[int, ...], torch.dtype]:
    """Shape and type of what a question finds in a row of K targets."""
    match asked:
        case Ranks():
            return (num_targets, len(asked.candidates.names)), torch.int64
        case Top():
            return (num_targets, asked.k, 2), torch.float64
        case NextTokens():
            return (len(asked.tokens),), torch.float32
        case LabelWords():
            return (asked.num_labels,), torch.float32
        case BestCandidates():
            return (len(asked.readings), len(asked.candidates.names) + 2), torch.float64
    return (num_targets,), torch.float32


def num_bytes_of(asked: Asked) -> int:
    """What a loss or a question holds; of candidates eight times what is sent."""
    match asked:
        case LabelLoss():
            return num_bytes_of(asked.words)
        case LabelWords():
            return asked.tokens.nbytes + asked.exists.nbytes
        case NextTokens():
            return asked.tokens.nbytes
        case Ranks() | BestCandidates():
            return sum(mask.nbytes for mask in asked.candidates.masks.values())
    return 0


def _named(header: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    name = header.get("asked")
    if not isinstance(name, str) or name not in known:
        raise Malformed(f"asked is {shown(name)}; there are {', '.join(known)}")
    return name


def _check_labels(labels: Sequence[int], count: int) -> None:
    fits = all(0 <= label < count for label in labels)
    require(fits, f"each row needs a label from 0 to {count - 1}")


def _token_ids(tensors: Mapping[str, Tensor], dimensions: int, limits: Limits) -> Tensor:
    tokens = tensor_of(tensors, "tokens", torch.int32, dimensions).long()
    inside = not tokens.numel() or (tokens.min() >= 0 and tokens.max() < limits.vocab_size)
    require(bool(inside), f"tokens must be from 0 to {limits.vocab_size - 1}")
    return tokens


def _label_words(tensors: Mapping[str, Tensor], batch: Batch, limits: Limits) -> LabelWords:
    tokens = _token_ids(tensors, 3, limits)
    # Any byte but zero is true: a bool that is neither would be anything.
    exists = tensor_of(tensors, "exists", torch.uint8, 3) > 0
    tasks = 1 + max(row.task for row in batch.examples)
    fits = tokens.shape == exists.shape and len(tokens) == tasks
    fits = fits and 0 < tokens.shape[1] * tokens.shape[2] <= _MOST_LABELS
    require(fits, f"label words must be (tasks, labels, words); got {tuple(tokens.shape)}")
    return LabelWords(tokens, exists)


def _candidates(
    header: Mapping[str, Any], tensors: Mapping[str, Tensor], batch: Batch, limits: Limits
) -> Candidates:
    names = header.get("sets")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Malformed(f"sets must be names; got {shown(names)}")
    require(0 < len(set(names)) == len(names), "sets must be one or more different names")
    require(len(names) <= _MOST_SETS, f"there are more than {_MOST_SETS} sets")
    size, tasks = limits.vocab_size, 1 + max(row.task for row in batch.examples)
    masks = {}
    for place, name in enumerate(names):
        bits = tensor_of(tensors, f"set.{place}", torch.uint8, 2)
        fits = bits.shape[1] == -(-size // 8) and len(bits) in (1, tasks)
        require(fits, f"set {place} must be a bit for each of {size} tokens, once or by task")
        found = numpy.unpackbits(bits.numpy(), axis=1, count=size)
        masks[name] = torch.from_numpy(found).bool()
    return Candidates.from_masks(size, masks)


def _readings(
    header: Mapping[str, Any], candidates: Candidates, batch: Batch
) -> tuple[tuple[int, str], ...]:
    found = header.get("readings")
    made = []
    for one in found if isinstance(found, list) else ():
        fits = isinstance(one, list) and len(one) == 2 and type(one[0]) is int
        require(fits and 0 <= one[0] < batch.num_targets, f"a reading is {shown(one)}")
        require(isinstance(one[1], str) and one[1] in candidates.names, f"no set {shown(one[1])}")
        made.append((one[0], one[1]))
    require(0 < len(made) <= _MOST_SETS, f"readings must be 1 to {_MOST_SETS}; got {shown(found)}")
    return tuple(made)
