"""The reference implementation's token layouts for LAMA (github.com/THUDM/P-tuning, LAMA/p_tuning).

They differ from those of ``template.py``, which are the paper's. With counts (a, b, c):

* masked: ``[CLS] P*a [MASK] P*b subject P*c [SEP]``, the target in front of the subject; where c
  is 0, a full stop stands there. The authors call the order a leftover that makes no difference.
* causal: ``P*a subject P*b``, whatever c is, without a special token in front. The label is put
  at the last position and shifted once by the model, so that the last but one is trained; the hit
  rate is read at the last. Ours trains and reads the last.

The subject is always spelled as a new word, at the beginning too.
"""

from collections.abc import Sequence
from typing import Literal

from ptune_scale.errors import UserError
from ptune_scale.template import NO_SLOT, Cloze, Template
from ptune_scale.tokenization import Kind, Tokenization

Reading = Literal["trained", "scored"]


def reference_cloze(
    subject: str, counts: Sequence[int], tokens: Tokenization, reading: Reading
) -> Cloze:
    """A subject in the reference's layout.

    Args:
        counts: prompt slots in the three places; (3, 3, 3) in its default.
        reading: which position the target is; the two differ for causal models only.

    Raises:
        UserError: ``counts`` is not three numbers from 0, or nothing stands in front of the
            position that is trained.
    """
    if len(counts) != 3 or min(counts) < 0:
        raise UserError(
            f"the reference layout takes three numbers of prompt slots, such as (3, 3, 3), "
            f"not {tuple(counts)}"
        )
    name = tokens.start(" " + subject)
    if tokens.kind == "causal":
        return _causal(name, counts, tokens, reading)
    return _masked(name, counts, tokens)


def reference_counts(template: str) -> tuple[int, int, int]:
    """The numbers of slots that "(3, 3, 3)" stands for.

    Raises:
        UserError: it is not three numbers.
    """
    parts = [part.strip() for part in template.strip().strip("()").split(",")]
    if len(parts) != 3 or not all(part.isdecimal() for part in parts):
        raise UserError(
            f"--layout reference takes a --template of three numbers of prompt slots, as "
            f"(3, 3, 3), not {template!r}"
        )
    first, second, third = map(int, parts)
    return first, second, third


def reference_template(counts: Sequence[int], kind: Kind) -> Template:
    """The template that comes next to the layout as it is scored; prompts are exported with it."""
    first, second, third = (f"[P]*{count}" if count else "" for count in counts)
    if kind == "causal":
        return Template.parse(f"{first} [X] {second} [Y]".strip())
    return Template.parse(f"{first} [Y] {second} [X] {third or '.'}".strip())


def _masked(name: list[int], counts: Sequence[int], tokens: Tokenization) -> Cloze:
    first, second, third = counts
    prefix, suffix = tokens.special_ends
    slot = [tokens.placeholder]
    stop = tokens.tokenizer.convert_tokens_to_ids(["."])
    ids = [
        *prefix,
        *slot * first,
        tokens.mask_token,
        *slot * second,
        *name,
        *(slot * third or stop),
        *suffix,
    ]
    slots = [
        *[NO_SLOT] * len(prefix),
        *range(first),
        NO_SLOT,
        *range(first, first + second),
        *[NO_SLOT] * len(name),
        *(range(first + second, first + second + third) if third else [NO_SLOT]),
        *[NO_SLOT] * len(suffix),
    ]
    return Cloze(tuple(ids), tuple(slots), len(prefix) + first)


def _causal(
    name: list[int], counts: Sequence[int], tokens: Tokenization, reading: Reading
) -> Cloze:
    first, second = counts[:2]
    slot = [tokens.placeholder]
    ids = [*slot * first, *name, *slot * second]
    slots = [*range(first), *[NO_SLOT] * len(name), *range(first, first + second)]
    target = len(ids) - (2 if reading == "trained" else 1)
    if target < 0:
        raise UserError(
            f"the reference layout {tuple(counts)} leaves no position in front of the last one "
            "to train at; use more prompt slots"
        )
    return Cloze(tuple(ids), tuple(slots), target)
