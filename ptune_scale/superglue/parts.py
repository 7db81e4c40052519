"""The pieces of a pattern, filled with a record, as tokens that fit into a length."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ptune_scale.errors import UserError
from ptune_scale.superglue.pattern import Pattern, Piece, Separator, SpacedTarget
from ptune_scale.superglue.spelling import spelling_of
from ptune_scale.superglue.task import Record, Task
from ptune_scale.template import Slots
from ptune_scale.tokenization import Tokenization


@dataclass(slots=True)
class Part:
    """Tokens of one piece."""

    ids: list[int]
    shortenable: bool = False
    is_slots: bool = False
    is_target: bool = False


class PartEncoder:
    """Fills the pieces of a pattern with the records of a task.

    Args:
        pieces: those of the pattern that the model can use.
        max_length: the most tokens of a row, special tokens included. The reference layout stays
            as many tokens below it as there are special ones, as the reference does by mistake.

    Raises:
        UserError: the pattern names what a record of the task does not have.
    """

    def __init__(
        self,
        task: Task,
        pattern: Pattern,
        pieces: Sequence[Piece],
        tokens: Tokenization,
        max_length: int,
    ) -> None:
        unknown = [name for name in pattern.names if not hasattr(task.record, name)]
        if unknown:
            raise UserError(
                f"pattern {pattern.text!r}: a record of {task.name} has no {', '.join(unknown)}"
            )
        self.spelling = spelling_of(pattern.layout, tokens)
        self._task_name = task.name
        self._pieces = pieces
        self._placeholder = tokens.placeholder
        specials = sum(map(len, tokens.special_ends))
        self._room = max_length - specials * (2 if pattern.layout == "reference" else 1)
        self._max_length = max_length

    def encode(
        self, record: Record, index: int, *, masks: int = 0, target_room: int = 0
    ) -> tuple[list[Part], int]:
        """Tokens of each piece, cut to fit, and how many were cut.

        Args:
            index: of the record among those that are encoded.
            masks: how many stand at the target.
            target_room: tokens that the target takes where no mask does.

        Raises:
            UserError: the record does not fit even without its shortenable texts.
        """
        parts: list[Part] = []
        before: str | None = None
        for piece in self._pieces:
            if isinstance(piece, Slots):
                parts.append(Part([self._placeholder] * piece.count, is_slots=True))
                before = ""
            elif isinstance(piece, SpacedTarget):
                ids = self.spelling.masks(masks, piece.glued) if masks else []
                parts.append(Part(ids, is_target=True))
                before = ""
            elif isinstance(piece, Separator):
                ids, before = self.spelling.separator()
                parts.append(Part(ids))
            else:
                text = re.sub(r"\{(\w+)\}", lambda match: getattr(record, match[1]), piece.text)
                if text:
                    space = piece.space and before != "\n"
                    ids = self.spelling.text(text, space, before)
                    parts.append(Part(ids, piece.shortenable))
                    before = text[-1]
        total = sum(len(part.ids) for part in parts) + target_room
        return parts, self._cut(parts, total - self._room, index)

    def _cut(self, parts: list[Part], excess: int, index: int) -> int:
        """Shorten the last shortenable texts first; returns how many tokens went."""
        left = excess
        for part in reversed(parts):
            if part.shortenable and left > 0:
                gone = min(left, len(part.ids))
                del part.ids[len(part.ids) - gone :]
                left -= gone
        if left > 0:
            raise UserError(
                f"record {index} of {self._task_name} is {left} tokens too long for max_length "
                f"{self._max_length}, even without the texts that may be cut; give more"
            )
        return max(excess, 0)
