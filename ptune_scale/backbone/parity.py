"""Whether a backbone computes here what its library's own forward pass does.

Much is taken for granted of a family: that a causal model looks to the left only, that ids are used
for nothing but the word embedding, that a row does not depend on those beside it, that positions
are taken as given. Here it is tried, on a few rows: the library is given each row alone, as ids; we
compute them side by side, with prompts in the place of words, and with other words behind them.

Shapes: T tokens, K targets in a row, V vocabulary, H embedding size.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ptune_scale.backbone.fit import quantized_by
from ptune_scale.backbone.frozen import FrozenLM
from ptune_scale.errors import UserError
from ptune_scale.reading import one_line
from ptune_scale.task.example import NO_SLOT, Example, collate

Ids = tuple[int, ...]

# Root mean square of the difference, in standard deviations of the logits. In fp32 what is right
# differs by some 1e-6. In bf16 rounding alone makes up to 0.2 where rows lie otherwise: that tells
# damage, and the copy in fp32 what a family does.
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.5, torch.float16: 0.5}


@torch.no_grad()
def check_parity(lm: FrozenLM, rows: Sequence[Ids], name: str) -> None:
    """Compare with the library's own forward pass on a few rows of words.

    Args:
        lm: a whole model; it may have its layers prepared.
        rows: of unlike lengths, two tokens or more in each; ids beyond the model's are folded.
        name: of the model, for messages.

    Raises:
        UserError: the library cannot run it, ours differs, or its logits are not finite.
    """
    model = lm.model
    words = model.get_input_embeddings().weight.shape[0]
    rows = [tuple(token % words for token in ids) for ids in rows]
    try:
        expected = [
            _by_library(model, input_ids=torch.tensor([ids], device=model.device)) for ids in rows
        ]
    except Exception as error:  # each family fails in its own way
        raise UserError(
            f"model {name}: transformers itself cannot run {_kind(model)} here: "
            f"{type(error).__name__}: {one_line(error)}"
        ) from error
    if not all(bool(each.isfinite().all()) for each in expected):
        raise UserError(f"model {name}: its logits are not finite; {_not_finite(model)}")
    ways: dict[str, Callable[[], float]] = {
        "rows beside one another": lambda: _side_by_side(lm, rows, expected),
        "prompts in the place of words": lambda: _with_prompts(lm, rows, expected),
    }
    if model.dtype == torch.float32:
        # Between words models magnify rounding: ours in bf16, compiled, differed by 1.6 standard
        # deviations where it differs by 1e-4 in fp32.
        ways["prompts that are no words"] = lambda: _with_new_prompts(lm, rows)
    if lm.is_causal:
        ways["other words to the right"] = lambda: _other_words_behind(lm, rows, expected)
    for way, difference in ways.items():
        _check(name, model, way, difference)


def _check(name: str, model: PreTrainedModel, way: str, difference: Callable[[], float]) -> None:
    try:
        found = difference()
    except Exception as error:  # as above
        raise UserError(
            f"model {name}: {_kind(model)} cannot be given embeddings as they are given here "
            f"({way}): {type(error).__name__}: {one_line(error)}"
        ) from error
    limit = _TOLERANCE.get(model.dtype, max(_TOLERANCE.values()))
    if not found <= limit:
        raise UserError(
            f"model {name}: with {way} the logits differ from those of transformers' own forward "
            f"pass by {found:.2g} of their standard deviation (at most {limit:g} is rounding): "
            f"{_kind(model)} do something that prompts do not go along with. Choose another "
            "model, or go on at your own risk with --self_check off"
        )


def _kind(model: PreTrainedModel) -> str:
    method = quantized_by(model.config)
    return f"models of type {model.config.model_type!r}" + (
        f" with weights quantized by {method}" if method else ""
    )


def _not_finite(model: PreTrainedModel) -> str:
    """Where that comes from."""
    for name, parameter in model.named_parameters():
        if not bool(parameter.isfinite().all()):
            return f"weight {name!r} holds NaN or infinity: is its file damaged?"
    return "all its weights are finite: the model overflows on these rows; try --dtype float32"


def _by_library(model: PreTrainedModel, **row: Tensor) -> Tensor:
    """Logits (T, V) of a row alone, in fp32."""
    more = {"use_cache": False} if hasattr(model.config, "use_cache") else {}
    return model(**row, **more).logits[0].float().cpu()


def _distance(ours: Tensor, expected: Tensor) -> float:
    """Largest over the targets of two sets of logits (K, V)."""
    squares = (ours.float().cpu() - expected).pow(2).mean(-1).sqrt()
    return float((squares / expected.std(-1).clamp(min=1e-9)).max())


def _targets(ids: Ids) -> tuple[int, ...]:
    return tuple(dict.fromkeys((len(ids) // 2, len(ids) - 1)))


def _compare(
    lm: FrozenLM, examples: Sequence[Example], prompts: Tensor, expected: Sequence[Tensor]
) -> float:
    device = lm.model.device
    logits = lm(collate(examples).to(device), prompts.to(device))
    return max(
        _distance(found[: len(row.targets)], right[list(row.targets)])
        for found, row, right in zip(logits, examples, expected, strict=True)
    )


def _example(task: int, ids: Ids, slots: Sequence[int] | None = None) -> Example:
    targets = _targets(ids)
    slots = tuple(slots) if slots is not None else (NO_SLOT,) * len(ids)
    return Example(task, ids, slots, targets, (0,) * len(targets))


def _side_by_side(lm: FrozenLM, rows: Sequence[Ids], expected: Sequence[Tensor]) -> float:
    size = lm.model.get_input_embeddings().embedding_dim
    return _compare(lm, [_example(0, ids) for ids in rows], torch.zeros(1, 0, size), expected)


def _places(ids: Ids) -> tuple[int, int]:
    return 0, len(ids) // 2


def _slotted(lm: FrozenLM, rows: Sequence[Ids]) -> tuple[list[Example], Tensor]:
    """Rows whose first word and one in the middle are slots, and those words' embeddings."""
    embedding = lm.model.get_input_embeddings()
    examples, prompts = [], []
    for number, ids in enumerate(rows):
        places = _places(ids)
        words = torch.tensor([[ids[place] for place in places]], device=lm.model.device)
        prompts.append(embedding(words)[0].float())
        slots = [places.index(i) if i in places else NO_SLOT for i in range(len(ids))]
        # What stands at a slot must not matter.
        hidden = tuple(0 if i in places else token for i, token in enumerate(ids))
        examples.append(_example(number, hidden, slots))
    return examples, torch.stack(prompts)


def _with_prompts(lm: FrozenLM, rows: Sequence[Ids], expected: Sequence[Tensor]) -> float:
    return _compare(lm, *_slotted(lm, rows), expected)


def _with_new_prompts(lm: FrozenLM, rows: Sequence[Ids]) -> float:
    """Vectors between words, which the library is given among the embeddings of a row alone."""
    examples, prompts = _slotted(lm, rows)
    prompts = prompts.mean(1, keepdim=True).to(lm.model.dtype).float().expand_as(prompts)
    model, expected = lm.model, []
    for ids, vectors in zip(rows, prompts, strict=True):
        hidden = model.get_input_embeddings()(torch.tensor([ids], device=model.device)).clone()
        hidden[0, list(_places(ids))] = vectors.to(hidden.dtype)
        expected.append(_by_library(model, inputs_embeds=hidden))
    return _compare(lm, examples, prompts, expected)


def _other_words_behind(lm: FrozenLM, rows: Sequence[Ids], expected: Sequence[Tensor]) -> float:
    """Behind the middle of each row stand the words of its beginning."""
    size = lm.model.get_input_embeddings().embedding_dim
    examples = []
    for ids in rows:
        middle = len(ids) // 2
        changed = (*ids[: middle + 1], *ids[::-1][: len(ids) - middle - 1])
        examples.append(Example(0, changed, (NO_SLOT,) * len(changed), (middle,), (0,)))
    return _compare(lm, examples, torch.zeros(1, 0, size), expected)
