"""What a method that trains prompts trains: where slots stand, and what the prompts begin as.

Shapes: R relations, S prompt slots, H embedding size.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ptune_scale.data.batch import Example
from ptune_scale.data.facts import digest
from ptune_scale.data.prepare import LabelledFact, PreparedFacts, fill
from ptune_scale.reference_layout import reference_cloze
from ptune_scale.template import Template
from ptune_scale.tokenization import Tokenization


@dataclass(frozen=True)
class PromptSetup:
    """What a method trains.

    Attributes:
        name: of the method.
        description: one line for the report.
        templates: of each relation.
        start: (R, S, H), what the prompts begin as; None for what the flags say.
        counts: slots in the three places of the reference layout, see ``reference_layout``; None
            for the layout of the templates.
    """

    name: str
    description: str
    templates: tuple[Template, ...]
    start: Tensor | None = None
    counts: tuple[int, int, int] | None = None

    @property
    def num_slots(self) -> int:
        """S, the most slots of any relation; others leave their last rows of P unused."""
        return max(template.num_slots for template in self.templates)

    def examples(
        self, relation: int, facts: tuple[LabelledFact, ...], tokens: Tokenization
    ) -> list[Example]:
        if self.counts is None:
            return fill(relation, facts, self.templates[relation], tokens)
        examples = []
        for fact in facts:
            # One position is trained, another one scored.
            trained, scored = (
                reference_cloze(fact.subject, self.counts, tokens, reading)
                for reading in ("trained", "scored")
            )
            targets = (trained.target, scored.target)
            examples.append(Example(relation, trained.ids, trained.slots, targets, fact.label))
        return examples

    @property
    def scored(self) -> int:
        """Which of an example's targets is read for its score."""
        return 0 if self.counts is None else 1

    def identity(self, facts: PreparedFacts, tokens: Tokenization) -> dict[str, Any]:
        """What runs that train the same have in common, besides flags and model."""
        parts = [
            [(e.ids, e.slots, e.targets, e.label) for e in self.examples(index, part, tokens)]
            for index, relation in enumerate(facts.relations)
            for part in (relation.train, relation.dev)
        ]
        return {"method": self.name, "examples": digest(parts)}

    def directory(self, output: Path) -> Path:
        """Where checkpoints and prompts go; ``ptuning`` owns the run's directory itself."""
        return output if self.name == "ptuning" else output / self.name
