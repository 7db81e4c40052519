"""The reference implementation's token layouts for LAMA (github.com/THUDM/P-tuning, LAMA/p_tuning).

They differ from what patterns give, which is the paper's. With counts (a, b, c):

* masked: ``[CLS] P*a [MASK] P*b subject P*c [SEP]``, the target in front of the subject; where c
  is 0, a full stop stands there. The authors call the order a leftover that makes no difference.
* causal: ``P*a subject P*b``, whatever c is, without a special token in front. The label is put
  at the last position and shifted once by the model, so that the last but one is trained; the hit
  rate is read at the last. Ours trains and reads the last.

The subject is always spelled as a new word, at the beginning too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from ptune_scale.errors import UserError
from ptune_scale.task.answers.answer import Prediction, Purpose, Question
from ptune_scale.task.answers.ranked import BoundRanked, Ranked, RankedPanel
from ptune_scale.task.ask import Asker
from ptune_scale.task.example import NO_ANSWER, NO_SLOT, Example
from ptune_scale.task.fill import Filler
from ptune_scale.task.pattern import SUBJECT, Kind, Pattern, Slots
from ptune_scale.task.record import Record


def reference_counts(template: str) -> tuple[int, int, int]:
    """The numbers of slots that "(3, 3, 3)" stands for.

    Raises:
        UserError: it is not three numbers.
    """
    parts = [part.strip() for part in template.strip().strip("()").split(",")]
    if len(parts) != 3 or not all(part.isdecimal() for part in parts):
        raise UserError(
            f"--spelling reference takes a --template of three numbers of prompt slots, as "
            f"(3, 3, 3), not {template!r}"
        )
    first, second, third = map(int, parts)
    return first, second, third


def reference_pattern(counts: Sequence[int], kind: Kind) -> Pattern:
    """The pattern that comes next to the layout as it is scored; prompts are exported with it."""
    first, second, third = (f"[P]*{count}" if count else "" for count in counts)
    if kind == "causal":
        return Pattern.parse(" ".join(filter(None, (first, "[X]", second, "[Y]"))))
    return Pattern.parse(" ".join(filter(None, (first, "[Y]", second, "[X]", third or "."))))


@dataclass(frozen=True)
class Reference(Ranked):
    """Words of one token, asked for in the layout whose slots a ``reference_pattern`` has."""

    def bind(self, filler: Filler, task: int) -> "BoundReference":
        return BoundReference(self, filler, task)


class BoundReference(BoundRanked):
    """One position is trained, another one scored: the row's two targets."""

    def __init__(self, answer: Reference, filler: Filler, task: int) -> None:
        super().__init__(answer, filler, task)
        self.key = ("reference", tuple(answer.sets))
        # Slots before, between and behind the pattern's two places.
        self.counts = [0, 0, 0]
        place = 0
        for piece in filler.whole_pattern.pieces:
            if isinstance(piece, Slots):
                self.counts[place] += piece.count
            elif getattr(piece, "names", [SUBJECT]):
                place += 1

    def question(self, record: Record, purpose: Purpose, chance: Random) -> Question:
        tokens = self.filler.tokens
        name = tokens.start(f" {record.fields[SUBJECT]}")
        first, second, third = self.counts
        runs: tuple[list[int] | int, ...] = (first, name, second)
        prefix: list[int] = []
        if tokens.kind == "masked":
            prefix, suffix = tokens.special_ends
            stop = tokens.tokenizer.convert_tokens_to_ids(["."])
            runs = (prefix, first, [tokens.mask_token], second, name, third or stop, suffix)
        ids: list[int] = []
        slots: list[int] = []
        for run in runs:
            if isinstance(run, int):
                begin = sum(slot != NO_SLOT for slot in slots)
                slots += range(begin, begin + run)
                run = [tokens.placeholder] * run
            else:
                slots += [NO_SLOT] * len(run)
            ids += run
        longest = self.filler.max_length
        if longest is not None and len(ids) > longest:
            raise UserError(
                f"{record.place} of {self.filler.whose} is "
                f"{len(ids) - longest} tokens too long for max_length {longest}"
            )
        end, mask = len(ids) - 1, len(prefix) + first
        targets = (end - 1, end) if tokens.kind == "causal" else (mask, mask)
        answer = NO_ANSWER if record.answer is None else self.token(record.answer)
        answers = (answer, answer)
        return Question(record, (Example(self.task, tuple(ids), tuple(slots), targets, answers),))

    @classmethod
    def panel(cls, bound: Mapping[int, BoundRanked]) -> "ReferencePanel":
        return ReferencePanel(bound)


class ReferencePanel(RankedPanel):
    """Trained at the first of a row's targets, scored at the second."""

    def predict(self, asker: Asker, questions: Sequence[Question]) -> list[Prediction]:
        rows = [question.rows[0] for question in questions]
        return self.ranked(asker, rows, [(1, self.candidates.names[0])])[0]
