"""Phrases of several tokens, ranked among candidates by an exact best-first search.

A candidate's score is the log-probability of its tokens and the end token behind them. The search
grows beginnings of candidates, the likeliest first, so that only a few of thousands are ever asked
about: no ending can make a beginning likelier. The longer it takes, the more beginnings are grown
at a time; those of a question share what they begin with.

Shapes: N rows, U different tokens of all candidates.
"""

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random

import torch

from ptune_scale.errors import UserError
from ptune_scale.task.answers.answer import Prediction, Purpose, Question
from ptune_scale.task.answers.text import BoundText, Text, TextPanel
from ptune_scale.task.ask import Asker, continued
from ptune_scale.task.example import Example
from ptune_scale.task.fill import Filler
from ptune_scale.task.objective import Objective
from ptune_scale.task.record import Record

_DEPTH = 10
"""So many of the best are found where the right answer is known, for P@10."""

_WIDEST = 64
"""Most beginnings of a question that are grown at a time."""

Ids = tuple[int, ...]


class BoundPhrases:
    """Candidates of which some take several tokens.

    Args:
        name: of the set of candidates.
        candidates: None where there is no list of them, which is refused.

    Raises:
        UserError: the model is a masked one, or two candidates are the same tokens.
    """

    group_size = 1

    def __init__(
        self, name: str, candidates: Sequence[str] | None, filler: Filler, task: int
    ) -> None:
        if filler.tokens.kind == "masked":
            raise UserError(
                f"{filler.whose}: candidates of several tokens need a causal model; a masked one "
                "has to know their number before. Leave them out, or choose another model"
            )
        if candidates is None:
            raise UserError(f"{filler.whose}: phrases are ranked among candidates; give a list")
        self.name = name
        self.filler = filler
        self.task = task
        self.key = ("phrases", name)
        self._text = BoundText(Text(max_tokens=2**20), filler, task)
        end = filler.tokens.end_token
        self.phrases = {(*self._text.spelled(words), end): words for words in candidates}
        if len(self.phrases) < len(set(candidates)):
            twice = sorted(set(candidates) - set(self.phrases.values()))
            raise UserError(
                f"{filler.whose}: candidate {twice[0]!r} is the same tokens as another; leave one "
                "of them out"
            )
        self.children: dict[Ids, set[int]] = {}
        for ids in self.phrases:
            for place in range(len(ids)):
                self.children.setdefault(ids[:place], set()).add(ids[place])

    def question(self, record: Record, purpose: Purpose, chance: Random) -> Question:
        if purpose == "train":
            return self._text.question(record, purpose, chance)
        longest = max(map(len, self.phrases))
        parts, cut = self.filler.fill(record, target_room=longest - 1)
        row = self.filler.join(parts, [0])
        return Question(record, (Example(self.task, row.ids, row.slots, row.targets, (0,)),), cut)

    @classmethod
    def panel(cls, bound: Mapping[int, "BoundPhrases"]) -> "PhrasePanel":
        return PhrasePanel(bound)


@dataclass
class _Search:
    """The search for one question.

    Attributes:
        open: beginnings with their scores, best first (a heap of negative scores).
        found: whole phrases, best first.
    """

    question: Question
    wanted: int
    open: list[tuple[float, Ids]] = field(default_factory=lambda: [(0.0, ())])
    found: list[tuple[float, Ids]] = field(default_factory=list)


class PhrasePanel:
    """Tasks whose phrases are ranked among candidates."""

    def __init__(self, bound: Mapping[int, BoundPhrases]) -> None:
        self.bound = bound
        self._texts = TextPanel({task: each._text for task, each in bound.items()})
        tokens = sorted({t for each in bound.values() for ids in each.phrases for t in ids})
        self._tokens = torch.tensor(tokens)
        self._place = {token: place for place, token in enumerate(tokens)}

    @property
    def objective(self) -> Objective:
        """Mean cross-entropy of an answer's tokens, its end token among them."""
        return self._texts.objective

    def predict(self, asker: Asker, questions: Sequence[Question]) -> list[Prediction]:
        searches = [
            _Search(q, min(_DEPTH if q.record.answer else 1, len(self.bound[q.task].phrases)))
            for q in questions
        ]
        width = 1
        while grown := [
            (number, search, *beginning)
            for number, search in enumerate(searches)
            for beginning in self._beginnings(search, width)
        ]:
            rows = [
                replace(continued(search.question.rows[0], ids), question=number)
                for number, search, _, ids in grown
            ]
            found = asker.next_tokens(rows, self._tokens)
            for (_, search, score, ids), scores in zip(grown, found, strict=True):
                self._grow(search, score, ids, scores.tolist())
            width = min(2 * width, _WIDEST)
        return [self._prediction(each) for each in searches]

    def _beginnings(self, search: _Search, width: int) -> list[tuple[float, Ids]]:
        """Take the best whole phrases off the top, then the likeliest beginnings to be grown."""
        phrases = self.bound[search.question.task].phrases
        chosen: list[tuple[float, Ids]] = []
        behind: list[tuple[float, Ids]] = []
        while search.open and len(chosen) < width:
            if len(search.found) + len(behind) == search.wanted:
                break  # what comes now is less likely than all that are wanted
            best = heapq.heappop(search.open)
            if best[1] not in phrases:
                chosen.append(best)
            else:
                (behind if chosen else search.found).append(best)
        for phrase in behind:  # a chosen beginning may still grow into a likelier one
            heapq.heappush(search.open, phrase)
        return chosen

    def _grow(self, search: _Search, score: float, ids: Ids, scores: Sequence[float]) -> None:
        for token in self.bound[search.question.task].children[ids]:
            heapq.heappush(search.open, (score - scores[self._place[token]], (*ids, token)))

    def _prediction(self, search: _Search) -> Prediction:
        bound = self.bound[search.question.task]
        names = [bound.phrases[ids] for _, ids in search.found]
        expected = search.question.record.answer
        ranks = None
        if expected is not None:
            # One that is not among the best counts as the last.
            rank = names.index(expected) + 1 if expected in names else len(bound.phrases) + 1
            ranks = {bound.name: rank}
        return Prediction(names[0], math.exp(-search.found[0][0]), ranks=ranks)
