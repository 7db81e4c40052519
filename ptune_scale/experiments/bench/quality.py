"""What PEFT's P-tuning answers after as much processor time as a job of ours takes.

It gets our fastest settings for it (our dtype, attention spelled out, facts grouped by length), an
adapter for each relation as the paper has a prompt for each, an even share of the time, and the
best of a few learning rates, chosen on development facts. Facts, candidates and what is counted
are those of ``lama.py``, whose table is the other side.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from ptune_scale.experiments.bench.asking import PeftAsked
from ptune_scale.experiments.bench.case import Case
from ptune_scale.experiments.bench.peft_way import PeftWay
from ptune_scale.flags import names_in
from ptune_scale.lama.config import FactsConfig
from ptune_scale.lama.reader.embedded import load_embedded
from ptune_scale.lama.reader.files import load_lama
from ptune_scale.lama.reader.prepare import make_tasks
from ptune_scale.progress import bar
from ptune_scale.task.answers.ranked import Ranked
from ptune_scale.task.asking import AskedTask
from ptune_scale.task.example import Example
from ptune_scale.train.order import TaskOrder

_ASKED_AT_ONCE = 64


def measure_quality(case: Case) -> Iterator[dict[str, Any]]:
    """Of each learning rate, P@1 on development and test facts.

    Yields:
        ``rate``, ``records`` trained on, ``cpu_seconds`` of training, and ``dev`` and ``test``, by
        relation: how many were answered of how many.
    """
    asked, data = case.config.bench, case.config.data
    facts = load_embedded() if data.data_dir == "embedded" else load_lama(Path(data.data_dir))
    chosen = facts.select(names_in(data.relations))
    config = FactsConfig(data_dir=data.data_dir, test_facts=asked.test_facts)
    tasks = [
        AskedTask(task, case.backbone.tokens, place)
        for place, task in enumerate(make_tasks(chosen, case.backbone.tokens, config, case.pattern))
    ]
    way = PeftWay("peft", case, case.dtype, "eager", grouped=True)
    seconds = asked.minutes * 60 / len(tasks)
    for rate in map(float, names_in(asked.peft_rates)):
        point: dict[str, Any] = {"rate": rate, "records": 0, "cpu_seconds": 0.0}
        point |= {"dev": {}, "test": {}}
        with bar(f"peft, rate {rate:g}", len(tasks), "relations", shown=True) as progress:
            for task in tasks:
                torch.manual_seed(data.seed)
                way.start(rate)
                started = time.process_time()
                point["records"] += _train(way, task, data.batch_size, data.seed, seconds)
                point["cpu_seconds"] += time.process_time() - started
                for part, questions in (("dev", task.dev), ("test", task.test)):
                    rows = [question.rows[0] for question in questions]
                    point[part][task.task.name] = [_right(way, case, task, rows), len(rows)]
                progress.update()
        yield point


def _train(way: PeftWay, task: AskedTask, batch_size: int, seed: int, seconds: float) -> int:
    """Train for so much processor time; returns on how many facts."""
    examples = [question.rows[0] for question in task.learn]
    order = TaskOrder(task.task.name, examples, batch_size, seed)
    end, visit, count = time.process_time() + seconds, 0, 0
    while time.process_time() < end:
        batch = order.chunk(visit)
        way.step(batch)
        visit, count = visit + 1, count + len(batch)
    return count


def _right(way: PeftWay, case: Case, task: AskedTask, rows: Sequence[Example]) -> int:
    """How many facts are answered, among the candidates that ``lama.py`` ranks among."""
    answer = task.task.wording.answer
    assert isinstance(answer, Ranked)
    words = next(iter(answer.sets.values()))
    tokens = case.backbone.tokens
    allowed = None
    if words is not None:
        found = {token for word in words if (token := tokens.word_token(word)) is not None}
        allowed = torch.tensor(sorted(found), device=case.device)
    side, right = PeftAsked(case, way), 0
    by_length = sorted(rows, key=lambda row: row.num_tokens)
    for start in range(0, len(by_length), _ASKED_AT_ONCE):
        part = by_length[start : start + _ASKED_AT_ONCE]
        answers = side.answers(part, allowed).tolist()
        right += sum(a == row.answers[0] for a, row in zip(answers, part, strict=True))
    return right
