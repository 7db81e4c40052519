"""Facts, relations and sets of relations: plain text, before any tokenizer has seen them."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ptune_scale.errors import UserError


@dataclass(frozen=True, slots=True)
class Fact:
    """One (subject, object) pair of a relation, for example ("Norway", "Oslo")."""

    subject: str
    object: str


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
            UserError: a name is unknown; the message lists the known ones.
        """
        if list(wanted) == ["all"]:
            tested = tuple(r for r in self.relations if r.test)
            return FactSet(self.source, tested, self.dropped, self.common_vocab)
        by_name = {r.label.lower(): r for r in self.relations} | {
            r.id.lower(): r for r in self.relations
        }
        unknown = [name for name in wanted if name.lower() not in by_name]
        if unknown:
            known = ", ".join(r.id for r in self.relations)
            raise UserError(
                f"unknown relation {', '.join(map(repr, unknown))} in {self.source}; known: {known}"
            )
        chosen = tuple(dict.fromkeys(by_name[name.lower()] for name in wanted))
        return FactSet(self.source, chosen, self.dropped, self.common_vocab)

    def fingerprint(self) -> str:
        """SHA-256 over every fact in order: two runs with equal values saw the same facts.

        ``common_vocab`` is not in it: a run may rank answers among other words.
        """
        content = [
            [r.id, r.manual_prompt]
            + [[[f.subject, f.object] for f in part] for part in (r.train, r.dev, r.test)]
            for r in self.relations
        ]
        return digest(content)


def digest(content: Any) -> str:
    """SHA-256 of lists, dictionaries, texts and numbers."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


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
