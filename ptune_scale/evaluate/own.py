"""Our own metrics of a tuned prompt over a file of records."""

from collections.abc import Sequence
from random import Random
from typing import Any

from ptune_scale.errors import UserError
from ptune_scale.report.table import Table
from ptune_scale.task.answers.answer import Question
from ptune_scale.task.asking import GROUP
from ptune_scale.task.files import read_rows
from ptune_scale.task.metrics import check_metrics
from ptune_scale.tune.report import cell
from ptune_scale.tune.scores import in_units, scores_of
from ptune_scale.use.prompt import TunedPrompt


def read_questions(prompt: TunedPrompt, path: str, task: str, limit: int) -> list[Question]:
    """Questions about the records of a file, whose right answers are known.

    Args:
        task: of the prompt; "" where it has only one, or where each record names its own.
        limit: most records of a task; 0 for all.

    Raises:
        UserError: the file cannot be read, or a record cannot be asked or has no right answer.
    """
    chance = Random(0)
    questions: list[Question] = []
    counts = [0] * len(prompt.tasks)
    for number, raw in enumerate(read_rows(path)):
        try:
            row = prompt.row_of(raw.values, task or None)
        except UserError as error:
            raise UserError(f"{raw.source}: {error}") from error
        if limit and counts[row] >= limit:
            continue
        counts[row] += 1
        record = prompt.read(raw, number, row, answered=True)
        asked = prompt.tasks[row]
        if record.answer is None:
            listed = ", ".join(raw.values)
            raise UserError(f"{raw.source}: no right answer to compare with; it has {listed}")
        asked.wording.answer.check(record)
        questions.append(asked.bound.question(record, "evaluate", chance))
    if not questions:
        raise UserError(f"--input {path} holds no records")
    return questions


def chosen_metrics(
    prompt: TunedPrompt, names: Sequence[str], questions: Sequence[Question]
) -> dict[int, tuple[str, ...]]:
    """What is measured of each row of P that is asked.

    Args:
        names: of metrics; none for those of each kind of answer.

    Raises:
        UserError: one is unknown or makes no sense for the answers.
    """
    found = {}
    for row in sorted({question.task for question in questions}):
        task = prompt.tasks[row]
        answer = task.wording.answer
        check_metrics(names, answer.kind, answer.metrics, task.task.name)
        found[row] = tuple(names) or answer.reported
        grouped = all(q.record.fields.get(GROUP) for q in questions if q.task == row)
        if "em_by_group" in found[row] and not grouped:
            raise UserError(f"em_by_group of {task.task.name} needs a field 'group' in each record")
    return found


def measure(
    prompt: TunedPrompt, questions: Sequence[Question], metrics: dict[int, tuple[str, ...]]
) -> dict[str, Any]:
    """Metrics of each task, by its name."""
    prompt.asker.wants_likelihood = any("perplexity" in names for names in metrics.values())
    predictions = prompt.answers(questions)
    found = {}
    for row, names in metrics.items():
        task = prompt.tasks[row]
        mine = [place for place, question in enumerate(questions) if question.task == row]
        outcomes = task.outcomes([questions[i] for i in mine], [predictions[i] for i in mine])
        found[task.task.name] = scores_of(names, in_units(names, outcomes))
    return found


def table(scores: dict[str, Any]) -> str:
    """Metrics as Markdown: percent where they are shares, with confidence intervals."""
    rows = [
        [task, str(each["records"]), name, cell(name, each)]
        for task, each in scores.items()
        for name in each["interval"]
    ]
    return Table(["task", "records", "metric", ""], rows).markdown()
