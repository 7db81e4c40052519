"""Facts as a model sees them: single-token answers, no leaks, a development part for everyone."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ptune_scale.data.batch import Example
from ptune_scale.data.facts import Fact, FactSet, Relation
from ptune_scale.errors import UserError
from ptune_scale.template import Template
from ptune_scale.tokenization import Tokenization

_DEV_SHARE = 0.1
_TEST_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class LabelledFact:
    """A subject and the token id of its one-token object."""

    subject: str
    label: int


@dataclass(frozen=True)
class PreparedRelation:
    """A relation whose facts have one-token objects; no test fact is in ``train`` or ``dev``.

    Attributes:
        test_held_out: the source has no test facts, so a part of its training facts was taken.
    """

    id: str
    label: str
    manual_prompt: str
    train: tuple[LabelledFact, ...]
    dev: tuple[LabelledFact, ...]
    test: tuple[LabelledFact, ...]
    test_held_out: bool = False

    @property
    def train_objects(self) -> list[int]:
        """Distinct token ids of the objects of all facts that may be learned from."""
        return sorted({fact.label for fact in (*self.train, *self.dev)})


@dataclass(frozen=True)
class PreparedFacts:
    """All relations of a job.

    Attributes:
        dropped: how many facts were left out, by reason, the reader's counts included.
    """

    relations: tuple[PreparedRelation, ...]
    dropped: Counter[str]


def prepare(
    facts: FactSet,
    tokens: Tokenization,
    *,
    answers: Iterable[int] | None = None,
    dev_facts: int = 64,
    test_facts: int = 0,
) -> PreparedFacts:
    """Filter and label the facts of all relations for one tokenizer.

    Dropped and counted: objects of several tokens; training and development facts that are in the
    test of the same relation; duplicates in training; test facts whose object is no candidate.

    Args:
        answers: token ids that an answer is looked for among; None for the whole vocabulary.
        dev_facts: most development facts per relation. Where the source has none, a tenth of the
            training facts is held out, by subject.
        test_facts: most test facts per relation, an even sample by subject; 0 for all. Where the
            source has none, a quarter of the training facts is held out, by subject.

    Raises:
        UserError: a relation is left without training or test facts.
    """
    dropped = Counter(facts.dropped)
    allowed = None if answers is None else set(answers)
    relations = []
    for relation in facts.relations:
        prepared = _prepare_one(relation, tokens, allowed, dev_facts, test_facts, dropped)
        relations.append(prepared)
    empty = [r.id for r in relations if not r.train or not r.test]
    if empty:
        raise UserError(
            f"relation {', '.join(empty)}: no training or no test fact with a single-token object "
            "is left for this tokenizer; leave it out of --relations"
        )
    return PreparedFacts(tuple(relations), dropped)


def _prepare_one(
    relation: Relation,
    tokens: Tokenization,
    allowed: set[int] | None,
    dev_facts: int,
    test_facts: int,
    dropped: Counter[str],
) -> PreparedRelation:
    in_test = set(relation.test)
    seen: set[Fact] = set()

    def keep_train(part: Iterable[Fact], name: str) -> list[Fact]:
        kept = []
        for fact in part:
            if fact in in_test:
                dropped[f"{name} fact that is in the test"] += 1
            elif fact in seen:
                dropped[f"duplicate {name} fact"] += 1
            else:
                seen.add(fact)
                kept.append(fact)
        return kept

    dev = _labelled(keep_train(relation.dev, "dev"), tokens, dropped)
    train = _labelled(keep_train(relation.train, "training"), tokens, dropped)
    test = _labelled(relation.test, tokens, dropped)
    if not relation.test:
        train, test = _hold_out(train, int(len(train) * _TEST_SHARE))
    if allowed is not None:
        outside = [fact for fact in test if fact.label not in allowed]
        dropped["test fact whose object is no candidate"] += len(outside)
        test = [fact for fact in test if fact.label in allowed]
    if relation.dev:
        dev = sample(dev, dev_facts)
    else:
        wanted = min(int(len(train) * _DEV_SHARE), dev_facts or len(train))
        train, dev = _hold_out(train, wanted)
    return PreparedRelation(
        relation.id,
        relation.label,
        relation.manual_prompt,
        tuple(train),
        tuple(dev),
        tuple(sample(test, test_facts)),
        test_held_out=not relation.test,
    )


def _hold_out(
    facts: list[LabelledFact], wanted: int
) -> tuple[list[LabelledFact], list[LabelledFact]]:
    """Split off all facts of about ``wanted`` subjects."""
    subjects = {fact.subject for fact in sample(facts, wanted)} if wanted else set()
    kept = [fact for fact in facts if fact.subject not in subjects]
    return kept, [fact for fact in facts if fact.subject in subjects]


def _labelled(
    facts: Iterable[Fact], tokens: Tokenization, dropped: Counter[str]
) -> list[LabelledFact]:
    kept = []
    for fact in facts:
        label = tokens.word_token(fact.object)
        if label is None:
            dropped["object of several tokens"] += 1
        else:
            kept.append(LabelledFact(fact.subject, label))
    return kept


def sample(facts: Sequence[LabelledFact], at_most: int) -> list[LabelledFact]:
    """At most so many facts (0 for all), chosen by a hash of the subject, in their old order."""
    if not at_most or len(facts) <= at_most:
        return list(facts)

    def position(index: int) -> bytes:
        return hashlib.sha256(facts[index].subject.encode()).digest()

    chosen = sorted(range(len(facts)), key=position)[:at_most]
    return [facts[index] for index in sorted(chosen)]


def fill(
    relation: int, facts: Iterable[LabelledFact], template: Template, tokens: Tokenization
) -> list[Example]:
    """Examples of one relation's facts under a template."""
    examples = []
    for fact in facts:
        cloze = template.render(fact.subject, tokens)
        examples.append(Example(relation, cloze.ids, cloze.slots, (cloze.target,), fact.label))
    return examples
