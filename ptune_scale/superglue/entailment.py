"""Records of textual entailment, which CB and RTE share: a text, and what may follow from it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ptune_scale.superglue.fields import Fields
from ptune_scale.superglue.task import Record, without_final_punctuation


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair(Record):
    """A premise and a hypothesis."""

    premise: str
    hypothesis: str

    @property
    def claim(self) -> str:
        """The hypothesis without its final punctuation, to be asked about."""
        return without_final_punctuation(self.hypothesis)


def pair_reader(labels: tuple[str, ...]) -> Callable[[Fields], Iterator[Pair]]:
    """Reads the pair of one JSON object, whose label is one of these."""

    def read(fields: Fields) -> Iterator[Pair]:
        yield Pair(
            idx=(fields.integer("idx"),),
            label=fields.label(labels),
            premise=fields.text("premise"),
            hypothesis=fields.text("hypothesis"),
        )

    return read
