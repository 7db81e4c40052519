"""Relations as tasks for a model: answers that can be asked for, no leaks, a dev part for everyone.

With objects of any length, the test facts whose object is one token are those that are tested
without, and others stand beside them: what is measured on the former is measured on the same facts.
"""

import hashlib
import operator
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, TypeVar

from ptune_scale.errors import UserError
from ptune_scale.lama.config import FactsConfig
from ptune_scale.lama.objects import Objects
from ptune_scale.lama.reader.facts import Fact, FactSet, Relation
from ptune_scale.lama.reader.files import OBJECT, SUBJECT, candidate_words
from ptune_scale.task import pattern as notation
from ptune_scale.task.answers.answer import Answer
from ptune_scale.task.answers.ranked import Ranked
from ptune_scale.task.pattern import Pattern
from ptune_scale.task.record import Record
from ptune_scale.task.task import Splits, Task, Wording
from ptune_scale.task.tokenization import Tokenization

HELD_OUT = "no test facts in the data; a quarter of the training facts was held out by subject"
"""Note of a task that is tested on facts of its training file."""

_DEV_SHARE = 0.1
_TEST_SHARE = 0.25
# Objects of the test may be so many tokens longer than those of training.
_SPARE = 2

Item = TypeVar("Item")

_Parts = tuple[list[Fact], list[Fact], list[Fact]]
"""Facts to train on, to choose prompts by, and to test on."""


def make_tasks(
    facts: FactSet, tokens: Tokenization, data: FactsConfig, pattern: Pattern
) -> list[Task]:
    """A task for each relation, for one tokenizer.

    Dropped and counted: objects of several tokens, unless all are asked for, and then those to
    learn from that are their own subject; training and development facts that are in the test of
    the same relation; duplicates in training; test facts whose object is no candidate.

    Args:
        data: which candidates and objects, and how many facts. Where the source has no dev part, a
            tenth of the training facts is held out, by subject; where it has no test, a quarter.
        pattern: how facts are asked with tuned prompts.

    Raises:
        UserError: a relation is left without training or test facts.
    """
    reported, words = candidate_words(data.candidates, facts)
    allowed = None if words is None else set(tokens.word_tokens(words))
    dropped = {relation.id: Counter[str]() for relation in facts.relations}
    chosen = {r.id: _choose(r, tokens, allowed, data, dropped[r.id]) for r in facts.relations}
    empty = [name for name, (train, _, test) in chosen.items() if not train or not test]
    if empty:
        raise UserError(
            f"relation {', '.join(empty)}: no training or no test fact is left whose object is "
            f"{'a candidate' if data.objects == 'all' else 'a single token of this tokenizer'}; "
            "leave it out of --relations"
        )
    learned = [fact for train, dev, _ in chosen.values() for fact in (*train, *dev)]
    longest = _SPARE + max(len(tokens.after(f" {fact.object}")) for fact in learned)
    tasks = []
    for relation in facts.relations:
        train, dev, _ = chosen[relation.id]
        own = tuple(sorted({fact.object for fact in (*train, *dev)}))
        sets = {reported: own if reported == "relation" else words, "full_vocab": None}
        ranked = Ranked({**sets, "relation": own}, one_token=True)
        answer: Answer = Objects(ranked, longest) if data.objects == "all" else ranked
        train_records, dev_records, test_records = map(_records, chosen[relation.id])
        notes = () if relation.test else (HELD_OUT,)
        tasks.append(
            Task(
                relation.id,
                Wording(pattern, answer),
                Splits(
                    train_records,
                    dev_records,
                    test_records,
                    dropped=dropped[relation.id],
                    notes=notes,
                ),
                manual={"manual": Wording(Pattern.parse(relation.manual_prompt), answer)},
                label=relation.label,
                columns={notation.SUBJECT: SUBJECT, "answer": OBJECT},
            )
        )
    return tasks


def _records(facts: Iterable[Fact]) -> tuple[Record, ...]:
    return tuple(
        Record(fact.subject, {notation.SUBJECT: fact.subject}, fact.object, source=fact.source)
        for fact in facts
    )


def _choose(
    relation: Relation,
    tokens: Tokenization,
    allowed: Collection[int] | None,
    data: FactsConfig,
    dropped: Counter[str],
) -> _Parts:
    """What of a relation is used; no test fact is in train or dev."""
    train, dev = _without_leaks(relation, dropped)
    single: _Parts = ([], [], [])
    others: _Parts = ([], [], [])
    for place, part in enumerate((train, dev, relation.test)):
        for fact in part:
            (others if tokens.word_token(fact.object) is None else single)[place].append(fact)
    single = _split(relation, single, data.dev_facts)
    if allowed is not None:
        found = [fact for fact in single[2] if tokens.word_token(fact.object) in allowed]
        dropped["test fact whose object is no candidate"] = len(single[2]) - len(found)
        single = (*single[:2], found)
    if data.objects == "single":
        dropped["object of several tokens"] = sum(map(len, others))
        return (*single[:2], sample(single[2], data.test_facts))
    # Before dev is chosen of the others; behind it, so that the test stays, of those of one token.
    others = _split(relation, _without_copies(others, dropped), data.dev_facts)
    single = _without_copies(single, dropped)
    return _together(relation, single, others, data.test_facts)


def _without_leaks(relation: Relation, dropped: Counter[str]) -> tuple[list[Fact], list[Fact]]:
    """Training and development facts, each once, without those of the test."""
    in_test = set(relation.test)
    seen: set[Fact] = set()
    kept: dict[str, list[Fact]] = {"dev": [], "training": []}
    for name, part in (("dev", relation.dev), ("training", relation.train)):
        for fact in part:
            if fact in in_test:
                dropped[f"{name} fact that is in the test"] += 1
            elif fact in seen:
                dropped[f"duplicate {name} fact"] += 1
            else:
                seen.add(fact)
                kept[name].append(fact)
    return kept["training"], kept["dev"]


def _without_copies(parts: _Parts, dropped: Counter[str]) -> _Parts:
    """The parts, without objects to learn from that are their own subject.

    Some relations have little else (851 of 1,000 training facts of P36, a town that is its own
    capital), and a prompt learns from them to say the subject again.
    """
    train, dev = ([f for f in part if f.subject != f.object] for part in parts[:2])
    copies = len(parts[0]) + len(parts[1]) - len(train) - len(dev)
    dropped["training or dev fact whose object is its subject"] += copies
    return train, dev, parts[2]


def _split(relation: Relation, parts: _Parts, dev_facts: int) -> _Parts:
    """The parts, of which those that the source does not have are held out of training."""
    train, dev, test = parts
    if not relation.test:
        train, test = _hold_out(train, int(len(train) * _TEST_SHARE))
    if relation.dev:
        dev = sample(dev, dev_facts)
    else:
        train, dev = _hold_out(train, min(int(len(train) * _DEV_SHARE), dev_facts or len(train)))
    return train, dev, test


def _together(relation: Relation, single: _Parts, others: _Parts, test_facts: int) -> _Parts:
    """Both kinds of facts; a subject that was held out of one is not learned from in the other."""
    train, dev, test = (a + b for a, b in zip(single, others, strict=True))
    if not relation.test:
        tested = {fact.subject for fact in test}
        train, dev = ([f for f in part if f.subject not in tested] for part in (train, dev))
    if not relation.dev:
        held_out = {fact.subject for fact in dev}
        train = [fact for fact in train if fact.subject not in held_out]
    return train, dev, sample(single[2], test_facts) + sample(others[2], test_facts)


def _hold_out(facts: list[Fact], wanted: int) -> tuple[list[Fact], list[Fact]]:
    """Split off all facts of about ``wanted`` subjects."""
    subjects = {fact.subject for fact in sample(facts, wanted)} if wanted else set()
    kept = [fact for fact in facts if fact.subject not in subjects]
    return kept, [fact for fact in facts if fact.subject in subjects]


def sample(
    facts: Sequence[Item],
    at_most: int,
    subject: Callable[[Any], str] = operator.attrgetter("subject"),
) -> list[Item]:
    """At most so many facts (0 for all), chosen by a hash of the subject, in their old order."""
    if not at_most or len(facts) <= at_most:
        return list(facts)

    def position(index: int) -> bytes:
        return hashlib.sha256(subject(facts[index]).encode()).digest()

    chosen = sorted(range(len(facts)), key=position)[:at_most]
    return [facts[index] for index in sorted(chosen)]
