"""Documents of the tasks in this folder, by the names that their YAML files have for them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset

from ptune_scale.errors import UserError
from ptune_scale.evaluate.asked import Asked, asked_about, asked_by
from ptune_scale.lama.check import read_facts
from ptune_scale.lama.config import FactsConfig
from ptune_scale.lama.reader.facts import Relation
from ptune_scale.superglue.reading import read_split
from ptune_scale.superglue.task import SuperglueTask
from ptune_scale.superglue.tasks import find_task
from ptune_scale.task.answers.ranked import Ranked
from ptune_scale.task.metrics import METRICS, Outcome
from ptune_scale.task.pattern import SUBJECT, Pattern
from ptune_scale.task.record import Record
from ptune_scale.task.task import Wording

Splits = dict[str, Dataset]


def cb(**given: Any) -> Splits:
    """CommitmentBank's ``val``."""
    return _labels("CB", given)


def rte(**given: Any) -> Splits:
    """RTE's ``val``."""
    return _labels("RTE", given)


def lama(**given: Any) -> Splits:
    """Test facts of those relations that the model has a prompt for; of all, where it has none.

    Args:
        given: "data_dir", else built-in facts; "relations".

    Raises:
        UserError: the prompt is for none of them.
    """
    known = asked_by(given)
    data_dir = str(given.get("data_dir", "embedded"))
    relations = str(given.get("relations", "all"))
    facts = read_facts(FactsConfig(data_dir=data_dir, relations=relations))
    chosen = [relation for relation in facts.relations if not known or relation.id in known]
    if not chosen:
        raise UserError(
            f"the prompt is for {', '.join(known)}, none of which is a relation of {facts.source} "
            "with test facts"
        )
    documents = []
    for relation in chosen:
        asked = known.get(relation.id) or _by_hand(relation)
        for number, fact in enumerate(relation.test):
            record = Record(f"{relation.id}/{number}", {SUBJECT: fact.subject}, fact.object)
            answer = f"{asked.space}{fact.object}"
            documents.append({"id": record.id, "text": asked.text(record), "answer": answer})
    return _test(documents)


def _by_hand(relation: Relation) -> Asked:
    return Asked.of(Wording(Pattern.parse(relation.manual_prompt), Ranked({"all": None})))


def _labels(name: str, given: dict[str, Any]) -> Splits:
    if "data_dir" not in given:
        raise UserError(
            f"this task reads DIR/{name}/val.jsonl (FewGLUE or SuperGLUE): name it by --data_dir "
            'DIR, or --metadata \'{"data_dir": "DIR"}\' with the harness\'s own command'
        )
    task = find_task(name)
    asked = asked_about(name, given) or _manual(task)
    choices = asked.choices()
    documents = [
        {
            "id": record.id,
            "text": asked.text(record),
            "choices": list(choices.values()),
            "gold": list(choices).index(record.answer or ""),
        }
        for record in read_split(Path(str(given["data_dir"])), task, "val")
    ]
    return _test(documents)


def _manual(task: SuperglueTask) -> Asked:
    """The first hand-written pattern that a causal model can use."""
    return next(_usable(task))


def _usable(task: SuperglueTask) -> Iterator[Asked]:
    for name, wording in task.wordings().items():
        if name.startswith("manual"):
            try:
                yield Asked.of(wording)
            except UserError:
                continue


def _test(documents: Sequence[dict[str, Any]]) -> Splits:
    return {"test": Dataset.from_list(list(documents))}


def macro_f1(pairs: Sequence[tuple[int, int]]) -> float:
    """Mean over classes of the F1 of each, from right and given answers."""
    return METRICS["macro_f1"].compute([Outcome(str(gold), str(found)) for gold, found in pairs])
