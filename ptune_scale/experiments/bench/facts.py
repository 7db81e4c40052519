"""The facts of a benchmark as tasks."""

from pathlib import Path

from ptune_scale.experiments.bench.config import BenchDataConfig
from ptune_scale.flags import names_in
from ptune_scale.lama.reader.embedded import load_embedded
from ptune_scale.lama.reader.files import load_lama
from ptune_scale.task.answers.ranked import Ranked
from ptune_scale.task.pattern import SUBJECT, Pattern
from ptune_scale.task.record import Record
from ptune_scale.task.task import Splits, Task, Wording


def read_facts(data: BenchDataConfig) -> list[Task]:
    """The facts of each relation that can be trained on, all asked alike.

    Raises:
        UserError: they are not there, a relation is unknown, or the pattern is wrong.
    """
    wording = Wording(Pattern.parse(data.template), Ranked({"full_vocab": None}, one_token=True))
    embedded = data.data_dir == "embedded"
    facts = load_embedded() if embedded else load_lama(Path(data.data_dir))
    tasks = []
    for relation in facts.select(names_in(data.relations)).relations:
        records = tuple(
            Record(str(number), {SUBJECT: fact.subject}, fact.object, source=fact.source)
            for number, fact in enumerate(relation.train)
        )
        tasks.append(Task(relation.id, wording, Splits(records, (), ())))
    return tasks
