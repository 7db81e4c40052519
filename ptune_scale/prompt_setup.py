"""What a method that trains prompts trains: where slots stand, and what the prompts begin as.

Shapes: R relations, S prompt slots, H embedding size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from ptune_scale.data.batch import Example
from ptune_scale.data.facts import digest
from ptune_scale.data.prepare import LabelledFact, PreparedFacts, fill
from ptune_scale.reference_layout import reference_cloze
from ptune_scale.template import Template
from ptune_scale.tokenization import Tokenization


@dataclass(frozen=True, eq=False)
class PromptSetup:
    """What a method trains; its examples are rendered once, when they are first asked for.

    Attributes:
        name: of the method.
        description: one line for the report.
        templates: of each relation.
        facts: the relations.
        tokens: of the backbone.
        start: (R, S, H), what the prompts begin as; None for what the flags say.
        counts: slots in the three places of the reference layout, see ``reference_layout``; None
            for the layout of the templates.
    """

    name: str
    description: str
    templates: tuple[Template, ...]
    facts: PreparedFacts
    tokens: Tokenization
    start: Tensor | None = None
    counts: tuple[int, int, int] | None = None

    @property
    def num_slots(self) -> int:
        """S, the most slots of any relation; others leave their last rows of P unused."""
        return max(template.num_slots for template in self.templates)

    @cached_property
    def train(self) -> list[list[Example]]:
        """Of each relation."""
        return [self._render(i, r.train) for i, r in enumerate(self.facts.relations)]

    @cached_property
    def dev(self) -> list[list[Example]]:
        """Of each relation."""
        return [self._render(i, r.dev) for i, r in enumerate(self.facts.relations)]

    @cached_property
    def test(self) -> list[list[Example]]:
        """Of each relation."""
        return [self._render(i, r.test) for i, r in enumerate(self.facts.relations)]

    def _render(self, relation: int, facts: Sequence[LabelledFact]) -> list[Example]:
        if self.counts is None:
            return fill(relation, facts, self.templates[relation], self.tokens)
        examples = []
        for fact in facts:
            # One position is trained, another one scored.
            trained, scored = (
                reference_cloze(fact.subject, self.counts, self.tokens, reading)
                for reading in ("trained", "scored")
            )
            targets = (trained.target, scored.target)
            examples.append(Example(relation, trained.ids, trained.slots, targets, fact.label))
        return examples

    @property
    def scored(self) -> int:
        """Which of an example's targets is read for its score."""
        return 0 if self.counts is None else 1

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What runs that train the same have in common, besides flags and model."""
        parts = [
            [(e.ids, e.slots, e.targets, e.label) for e in part]
            for both in zip(self.train, self.dev, strict=True)
            for part in both
        ]
        return {"method": self.name, "examples": digest(parts)}

    def directory(self, output: Path) -> Path:
        """Where checkpoints and prompts go; ``ptuning`` owns the run's directory itself."""
        return output if self.name == "ptuning" else output / self.name
