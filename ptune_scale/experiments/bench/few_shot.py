"""What PEFT's prompt tuning answers on SuperGLUE's few records, after so much processor time.

It gets our dtype, attention spelled out and a learning rate that falls to 0. What is minimized,
how answers are read, which step is kept and what is scored are those of ``superglue.py``; looking
at dev takes nothing off its time.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from ptune_scale.backbone.families import context_length
from ptune_scale.errors import UserError
from ptune_scale.experiments.bench.case import Case
from ptune_scale.experiments.bench.config import BenchSections
from ptune_scale.experiments.bench.peft_prompt import NUM_VECTORS, PeftPromptTuning
from ptune_scale.experiments.bench.reference_way import load_model
from ptune_scale.flags import names_in
from ptune_scale.progress import bar
from ptune_scale.superglue.check import ReadTask, read_tasks
from ptune_scale.superglue.config import RecordsConfig, SuperglueConfig
from ptune_scale.task.answers.answer import Question
from ptune_scale.task.ask import Asker
from ptune_scale.task.asking import AskedTask, Panels
from ptune_scale.train.order import TaskOrder
from ptune_scale.train.selection import DevScore, Selection

_BATCH_SIZE = 8
_LOOKS = 12
"""Evaluations on dev, evenly over the time."""


def few_shot_tasks(config: BenchSections) -> list[ReadTask]:
    """The tasks that were asked for.

    Raises:
        UserError: one cannot be read, or has nothing to learn from.
    """
    data = RecordsConfig(data_dir=config.few_shot.few_shot, tasks=config.few_shot.tasks)
    found = read_tasks(SuperglueConfig(data=data))
    for read in found:
        if not read.task.splits.learned:
            raise UserError(f"{read.task.name}: no training record has an answer to learn")
    return found


def measure_few_shot(case: Case) -> Iterator[dict[str, Any]]:
    """Of each task, learning rate and seed, metrics on dev and test.

    Yields:
        ``task``, ``rate``, ``seed``, ``records`` trained on, ``cpu_seconds`` of training, and of
        the step that was best on dev ``dev`` and ``test``, by name in ``task.metrics``, and
        ``decisive``, the dev metrics that it was chosen by.
    """
    asked = case.config.few_shot
    tasks, limit = few_shot_tasks(case.config), context_length(case.backbone.config)
    model = load_model(case, case.dtype, "eager")
    rates = [float(rate) for rate in names_in(asked.prompt_rates)]
    seconds = case.config.bench.minutes * 60 / len(tasks)
    total = len(tasks) * len(rates) * asked.repetitions
    with bar("peft, few-shot", total, "trainings", shown=True) as done:
        for read in tasks:
            room = None if limit is None else limit - NUM_VECTORS
            task = AskedTask(read.task, case.backbone.tokens, 0, context_length=room)
            for rate in rates:
                for seed in range(case.config.data.seed, case.config.data.seed + asked.repetitions):
                    side = PeftPromptTuning(case, model, rate, seed)
                    found = _trained(side, task, seed, seconds)
                    done.update()
                    yield {"task": task.task.name, "rate": rate, "seed": seed, **found}


def _trained(side: PeftPromptTuning, task: AskedTask, seed: int, seconds: float) -> dict[str, Any]:
    """Train for so much processor time, and score the step that is best on dev."""
    panels, asker = Panels([task]), Asker(side, torch.empty(0), batch_size=_BATCH_SIZE)

    def scored(questions: Sequence[Question]) -> dict[str, float]:
        return task.measured(task.task.metrics, questions, panels.predict(asker, questions))

    def decisive(metrics: Mapping[str, float]) -> tuple[float, ...]:
        return tuple(metrics[name] for name in task.task.select_on)

    order = TaskOrder(task.task.name, task.learn, _BATCH_SIZE, seed)
    kept = Selection((1, *side.prompt.shape), patience=0, rule="reference_strict")
    visit = records = looks = 0
    spent, best = 0.0, {}
    while spent < seconds:
        questions = order.chunk(visit)
        started = time.process_time()
        side.step(panels.batches(questions), share_left=1 - spent / seconds)
        spent += time.process_time() - started
        visit, records = visit + 1, records + len(questions)
        if spent >= seconds * (looks + 1) / _LOOKS:
            looks = int(spent * _LOOKS / seconds)
            dev = scored(task.dev)
            score = DevScore(decisive(dev), len(task.dev))
            if kept.record(0, score, side.prompt.detach(), visit):
                best = dev
    side.take_back(kept.prompts[0])
    same = task.task.splits.test is task.task.splits.dev
    test = best if same else scored(task.test)
    return {
        "records": records,
        "cpu_seconds": spent,
        "decisive": decisive(best),
        "dev": best,
        "test": test,
    }
