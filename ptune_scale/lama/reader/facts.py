"""Facts, relations and sets of relations: plain text, before any tokenizer has seen them."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ptune_scale.errors import UserError


@dataclass(frozen=True, slots=True)
class Fact:
    """One (subject, object) pair of a relation, for example ("Norway", "Oslo").

    Attributes:
        source: where it was read, for messages; two facts are the same wherever they stand.
    """

    subject: str
    object: str
    source: str = field(default="", compare=False)


@dataclass(frozen=True)
class Relation:
    """A relation with its manual prompt and its facts, split so that test subjects are unseen.

    A part that the source does not have is empty.

    Attributes:
        id: short name used on the command line, such as "P36" or "capital".
        label: a human-readable name.
        manual_prompt: a cloze sentence with "[X]" for the subject and "[Y]" for the object.
    """

    id: str
    label: str
    manual_prompt: str
    train: tuple[Fact, ...]
    dev: tuple[Fact, ...]
    test: tuple[Fact, ...]


@dataclass(frozen=True)
class FactSet:
    """Relations from one source.

    Attributes:
        source: where the facts come from, for reports.
        relations: in the order they are reported.
        dropped: how many records were left out, by reason.
        common_vocab: words that every answer is ranked among by default, or None.
    """

    source: str
    relations: tuple[Relation, ...]
    dropped: Counter[str] = field(default_factory=Counter)
    common_vocab: tuple[str, ...] | None = None

    def select(self, wanted: Sequence[str]) -> "FactSet":
        """Keep the relations named in ``wanted`` (by id or by label), in that order.

        Args:
            wanted: names, or only "all" for the relations that come with test facts.

        Raises:
            UserError: a name is unknown, the message lists the known ones; or there is none.
        """
        if not wanted:
            raise UserError("--relations names none; give ids such as P36,P17, or all")
        known = ", ".join(r.id for r in self.relations)
        if list(wanted) == ["all"]:
            chosen = tuple(r for r in self.relations if r.test)
            if not chosen:
                raise UserError(
                    f"{self.source} has test facts of no relation; name relations by --relations, "
                    f"and some of their training facts are held out to test on; there are {known}"
                )
        else:
            by_name = {r.label.lower(): r for r in self.relations} | {
                r.id.lower(): r for r in self.relations
            }
            unknown = [name for name in wanted if name.lower() not in by_name]
            if unknown:
                raise UserError(
                    f"unknown relation {', '.join(map(repr, unknown))} in {self.source}; "
                    f"known: {known}"
                )
            chosen = tuple(dict.fromkeys(by_name[name.lower()] for name in wanted))
        return FactSet(self.source, chosen, self.dropped, self.common_vocab)


def split_by_subject(
    facts: Iterable[Fact], fractions: tuple[float, float, float]
) -> tuple[tuple[Fact, ...], tuple[Fact, ...], tuple[Fact, ...]]:
    """Split facts into train, dev and test so that no subject is in two parts.

    The part of a subject depends on its name alone (a hash), so adding or removing facts never
    moves another subject between parts.

    Args:
        fractions: shares of train, dev and test; they add up to 1.
    """
    parts: tuple[list[Fact], list[Fact], list[Fact]] = ([], [], [])
    train_share, dev_share, _ = fractions
    for fact in facts:
        digest = hashlib.sha256(fact.subject.encode()).digest()
        position = int.from_bytes(digest[:8], "big") / 2**64
        index = 0 if position < train_share else 1 if position < train_share + dev_share else 2
        parts[index].append(fact)
    return tuple(parts[0]), tuple(parts[1]), tuple(parts[2])
