"""Successive halving: of the rows of P that compete for a task, the worse half stops at each rung.

So that trying many settings costs a few times what training with one of them does (Jamieson and
Talwalkar 2016, "Non-stochastic Best Arm Identification and Hyperparameter Optimization").
"""

import math
from collections.abc import Sequence
from typing import Any

from ptune_scale.train.selection import Selection


class Halving:
    """Which rows still train.

    Args:
        contests: of each task, the rows that compete for it; all of equal number.
        turns: rows that may share a step, each row in one of them.
        budgets: of each task, visits of a row that is never dropped.
        every: of each task, visits between evaluations; rungs are at some of them.

    Attributes:
        rungs: of each task, visits after which half of its rows stop.
        dropped: of each row, whether it was.
        diverged: of each row, whether it was for a loss that is not finite.
    """

    def __init__(
        self,
        contests: Sequence[Sequence[int]],
        turns: Sequence[Sequence[int]],
        budgets: Sequence[int],
        every: Sequence[int],
    ) -> None:
        self.contests = [list(rows) for rows in contests]
        self.turns = [list(rows) for rows in turns]
        self.budgets = list(budgets)
        halvings = math.ceil(math.log2(len(self.contests[0])))
        self.rungs = [
            [math.ceil(budget / 2**k / step) * step for k in range(halvings, 0, -1)]
            for budget, step in zip(budgets, every, strict=True)
        ]
        self.dropped = [False] * sum(map(len, contests))
        self.diverged = [False] * len(self.dropped)
        self.passed = [0] * len(self.contests)

    @property
    def row_budgets(self) -> list[int]:
        """Visits of each row if it is never dropped."""
        found = [0] * len(self.dropped)
        for rows, budget in zip(self.contests, self.budgets, strict=True):
            for row in rows:
                found[row] = budget
        return found

    def planned_visits(self) -> list[float]:
        """Visits of each row, averaged over those of its task, where none stops of itself."""
        planned = [0.0] * len(self.dropped)
        for rows, rungs, budget in zip(self.contests, self.rungs, self.budgets, strict=True):
            left, total, before = len(rows), 0, 0
            for rung in (*rungs, budget):
                total += left * (min(rung, budget) - before)
                left, before = math.ceil(left / 2), min(rung, budget)
            for row in rows:
                planned[row] = total / len(rows)
        return planned

    def settle(self, visits: Sequence[int], selection: Selection) -> None:
        """Drop the worse half wherever all rows that are left have come to a rung.

        A row that stopped of itself is compared by the best score that it had. Among equals the
        one that was named first stays.
        """
        for number, rows in enumerate(self.contests):
            for rung in self.rungs[number][self.passed[number] :]:
                left = [row for row in rows if not self.dropped[row]]
                rung = min(rung, self.budgets[number])
                if any(visits[row] < rung and not selection.stopped[row] for row in left):
                    break
                self.passed[number] += 1
                order = sorted(left, key=lambda row: -selection.best[row])
                for row in order[math.ceil(len(left) / 2) :]:
                    self.dropped[row] = True

    def drop(self, rows: Sequence[int]) -> bool:
        """Drop rows whose loss is not finite; False where a task would have none left."""
        gone = set(rows)
        if any(
            all(self.dropped[row] or row in gone for row in contest) for contest in self.contests
        ):
            return False
        for row in gone:
            self.dropped[row] = self.diverged[row] = True
        return True

    def winners(self) -> list[int]:
        """Of each contest the row that is left."""
        return [next(r for r in rows if not self.dropped[r]) for rows in self.contests]

    def state_dict(self) -> dict[str, Any]:
        return {
            "dropped": list(self.dropped),
            "diverged": list(self.diverged),
            "passed": list(self.passed),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.dropped = list(state["dropped"])
        self.diverged = list(state["diverged"])
        self.passed = list(state["passed"])
