"""Which facts a small BERT is taught, in which sentences, and which are held back from it."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from ptune_scale.errors import UserError
from ptune_scale.experiments.fact_bert.config import FactBertConfig
from ptune_scale.experiments.fact_bert.sentences import sentences_to_teach
from ptune_scale.flags import names_in
from ptune_scale.lama.reader.embedded import is_spelled_out, load_embedded
from ptune_scale.lama.reader.facts import Fact, FactSet, Relation, split_by_subject
from ptune_scale.lama.reader.files import load_lama

# Of the taught facts a prompt learns from half, is chosen by a tenth and is scored on the rest.
_SPLIT = (0.5, 0.1, 0.4)
_MOST_WORDS = 5


@dataclass(frozen=True)
class Lesson:
    """One relation's facts.

    Attributes:
        relation: its taught facts, split by subject into what a prompt is later trained, chosen and
            scored on; the model is taught all three.
        sentences: what the facts are taught in, with "[X]" and "[Y]"; not the manual prompt.
        untaught: facts with the same objects about subjects that stand in no sentence.
    """

    relation: Relation
    sentences: tuple[str, ...]
    untaught: tuple[Fact, ...]

    @property
    def taught(self) -> tuple[Fact, ...]:
        return (*self.relation.train, *self.relation.dev, *self.relation.test)


@dataclass(frozen=True)
class Curriculum:
    """All that a model is taught.

    Attributes:
        source: where the facts come from.
        left_out: relation id -> why it is not taught.
    """

    source: str
    lessons: tuple[Lesson, ...]
    left_out: dict[str, str]


def plan_lessons(config: FactBertConfig) -> Curriculum:
    """Choose facts by a hash of seed and subject.

    A fact can be taught if its object is one word that its subject does not spell out, its subject
    is of five words at most and has no other object in the relation.

    Raises:
        UserError: the data cannot be read, a relation is unknown, or none can be taught.
    """
    facts = _load(config)
    sentences = sentences_to_teach(facts.relations, config.data_dir, config.sentences_per_relation)
    lessons: list[Lesson] = []
    left_out: dict[str, str] = {}
    usable: dict[str, list[Fact]] = {}
    for relation in facts.relations:
        if config.max_relations and len(lessons) == config.max_relations:
            left_out[relation.id] = "over --max_relations"
            continue
        usable[relation.id] = _usable(relation, config.seed)
        taught = _limited(usable[relation.id], config.facts_per_relation, config.max_per_object)
        if not sentences[relation.id]:
            left_out[relation.id] = "no sentence but its manual prompt or another relation's"
        elif len(taught) < config.facts_per_relation / 2:
            left_out[relation.id] = f"only {len(taught)} facts that can be taught"
        else:
            train, dev, test = split_by_subject(taught, _SPLIT)
            taught_relation = replace(relation, train=train, dev=dev, test=test)
            lessons.append(Lesson(taught_relation, sentences[relation.id], ()))
    if not lessons:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise UserError(f"{facts.source}: no relation can be taught ({reasons})")
    subjects = {fact.subject for lesson in lessons for fact in lesson.taught}
    lessons = [
        replace(lesson, untaught=_held_back(lesson, usable[lesson.relation.id], subjects, config))
        for lesson in lessons
    ]
    return Curriculum(facts.source, tuple(lessons), left_out)


def _load(config: FactBertConfig) -> FactSet:
    if config.data_dir == "embedded":
        facts = load_embedded()
    else:
        facts = load_lama(Path(config.data_dir), config.on_bad_record)
    wanted = list(names_in(config.relations))
    # "all" of a fact set are those with test facts, which do not matter here.
    return facts if wanted == ["all"] else facts.select(wanted)


def _usable(relation: Relation, seed: int) -> list[Fact]:
    distinct = dict.fromkeys((*relation.train, *relation.dev, *relation.test))
    objects: defaultdict[str, set[str]] = defaultdict(set)
    for fact in distinct:
        objects[fact.subject].add(fact.object)
    usable = [
        fact
        for fact in distinct
        if len(objects[fact.subject]) == 1
        and fact.object.isalpha()
        and len(fact.subject.split()) <= _MOST_WORDS
        and not is_spelled_out(fact)
    ]
    return sorted(usable, key=lambda f: hashlib.sha256(f"{seed} {f.subject}".encode()).digest())


def _limited(facts: Iterable[Fact], at_most: int, per_object: int) -> list[Fact]:
    """The first so many facts, of each object so many."""
    kept: list[Fact] = []
    counts: Counter[str] = Counter()
    for fact in facts:
        if len(kept) < at_most and counts[fact.object] < per_object:
            counts[fact.object] += 1
            kept.append(fact)
    return kept


def _held_back(
    lesson: Lesson, usable: Iterable[Fact], subjects: Collection[str], config: FactBertConfig
) -> tuple[Fact, ...]:
    """Facts with objects that a prompt can learn of, about subjects that are never mentioned."""
    objects = {fact.object for fact in (*lesson.relation.train, *lesson.relation.dev)}
    never_read = (f for f in usable if f.object in objects and f.subject not in subjects)
    return tuple(_limited(never_read, config.untaught_per_relation, config.max_per_object))
