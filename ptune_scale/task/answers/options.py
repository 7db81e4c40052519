"""Options that compete, each a text in a row of its own.

A masked model gets as many masks as an option has tokens; to train, as many as the longest, so that
the rows are alike and only the expected tokens differ. A causal model reads the option itself.

Shapes: N rows, K targets in a row, G options of a question.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import torch
from torch import Tensor

from ptune_scale.task.answers.answer import Purpose, Question
from ptune_scale.task.ask import Asker
from ptune_scale.task.example import NO_ANSWER, Example
from ptune_scale.task.fill import Filler
from ptune_scale.task.record import Record


class RowPerOption:
    """Questions with a row for each option; subclasses say what the options are.

    Attributes:
        group_size: G.
    """

    def __init__(self, filler: Filler, task: int, group_size: int) -> None:
        self.filler = filler
        self.task = task
        self.group_size = group_size

    def options(self, record: Record) -> Sequence[str]:
        """The G texts that compete."""
        raise NotImplementedError

    def label(self, record: Record) -> int:
        """Index of the right label, NO_ANSWER if it is not known."""
        raise NotImplementedError

    def question(self, record: Record, purpose: Purpose, chance: Random) -> Question:
        spelled = [self.filler.spell(option) for option in self.options(record)]
        longest = max(map(len, spelled))
        masked = self.filler.tokens.kind == "masked"
        # A causal model's target takes no token of its own, but the answer behind it does.
        parts, cut = self.filler.fill(
            record, masks=longest if masked else 0, target_room=0 if masked else longest - 1
        )
        rows = []
        for tokens in spelled:
            answers = list(tokens)
            if purpose == "train" and masked:
                # The spare masks are read too, but nothing is expected of them.
                answers += [NO_ANSWER] * (longest - len(tokens))
            row = self.filler.join(parts, answers)
            rows.append(
                Example(
                    self.task, row.ids, row.slots, row.targets, tuple(answers), self.label(record)
                )
            )
        return Question(record, tuple(rows), cut)


def option_scores(questions: Sequence[Question], bound: Mapping[int, Any], asker: Asker) -> Tensor:
    """Log-probability of each option of each question, (len(questions), G)."""
    rows = [
        replace(row, question=number)
        for number, question in enumerate(questions)
        for row in question.rows
    ]
    kind = next(iter(bound.values())).filler.tokens.kind
    scores = asker.filled(rows) if kind == "masked" else asker.read(rows)
    return torch.tensor(scores, dtype=torch.float64).view(len(questions), -1)
