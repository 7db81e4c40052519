"""A tuned prompt with its backbone, asked from Python in one process.

Example::

    prompt = load_prompt("out/prompt")
    prompt.predict([{"title": "No sound", "body": "The left speaker is silent."}])
    prompt.answer("Brazil", "capital")
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

import torch

from ptune_scale.backbone import Backbone, load_backbone
from ptune_scale.backbone.families import context_length
from ptune_scale.errors import UserError
from ptune_scale.parallel import Degrees, Mesh, PromptFunction, World, parallelize, single
from ptune_scale.parallel.remote.backbone import open_served
from ptune_scale.reading import NOT_TEXT, shown
from ptune_scale.task.answers.answer import Prediction, Question
from ptune_scale.task.answers.phrases import BoundPhrases
from ptune_scale.task.answers.ranked import Ranked
from ptune_scale.task.answers.text import Text
from ptune_scale.task.ask import Asker
from ptune_scale.task.asking import AskedTask, Panels
from ptune_scale.task.columns import Columns
from ptune_scale.task.files import RawRow
from ptune_scale.task.record import Record
from ptune_scale.task.task import Splits, Task
from ptune_scale.use.export import PromptExport
from ptune_scale.use.phrases import likely_phrases


@dataclass(frozen=True, slots=True)
class Phrase:
    """A whole word or phrase and its probability."""

    text: str
    probability: float


class TunedPrompt:
    """An exported prompt together with the backbone that it was trained for.

    Args:
        function: the backbone in some layout; None for this process alone.
        batch_size: most rows of a forward pass.

    Attributes:
        tasks: by row of the prompt matrix, ready to be asked.

    Raises:
        UserError: the backbone is not the one that the prompt was trained with.
    """

    def __init__(
        self,
        export: PromptExport,
        backbone: Backbone,
        function: PromptFunction | None = None,
        *,
        batch_size: int = 64,
        batch_tokens: int = 16384,
    ) -> None:
        export.check_backbone(backbone)
        self.export = export
        self.backbone = backbone
        self.tasks = [
            AskedTask(
                Task(
                    each.name,
                    each.wording,
                    Splits((), (), ()),
                    max_length=each.max_length,
                    label=each.label,
                    columns=each.columns,
                ),
                backbone.tokens,
                index,
                context_length=context_length(backbone.config),
            )
            for index, each in enumerate(export.tasks)
        ]
        self._columns = [Columns.parse(task.task.columns) for task in self.tasks]
        self._panels = Panels(self.tasks)
        self._function = function
        self._batch_size = batch_size
        self._batch_tokens = batch_tokens

    @cached_property
    def function(self) -> PromptFunction:
        """The backbone in its layout; its weights are loaded now, if they are not yet."""
        return self._function or single(self.backbone.lm)

    @cached_property
    def asker(self) -> Asker:
        """How the model is asked."""
        return Asker(self.function, self.export.prompts, self._batch_size, self._batch_tokens)

    def predict(
        self, records: Iterable[Record | Mapping[str, Any]], task: str | None = None
    ) -> list[Prediction]:
        """Answers to records, in their order.

        Args:
            records: with the fields that the task's pattern names.
            task: name or label of one of the prompt's tasks. None where there is only one, or
                where each record has a field "task".

        Raises:
            UserError: a record lacks a field, is too long, or names no task.
        """
        chance = Random(0)
        questions = []
        for number, given in enumerate(records):
            row = self.row_of(given, task)
            record = self.record(given, row, number)
            questions.append(self.tasks[row].bound.question(record, "evaluate", chance))
        return self.answers(questions)

    def answers(self, questions: Sequence[Question]) -> list[Prediction]:
        """Answers to questions of any of the tasks."""
        return self._panels.predict(self.asker, questions) if questions else []

    def generate(
        self, records: Iterable[Record | Mapping[str, Any]], task: str | None = None
    ) -> list[str]:
        """Texts that the model writes to records; see ``predict``.

        Raises:
            UserError: as ``predict``, or the task's answers are no texts.
        """
        records = list(records)
        for given in records:
            asked = self.tasks[self.row_of(given, task)]
            if not isinstance(asked.wording.answer, Text):
                raise UserError(
                    f"the answers of task {asked.task.name} are {asked.wording.answer.kind}, not "
                    "texts; use predict"
                )
        return [prediction.answer for prediction in self.predict(records, task)]

    def answer(self, subject: str, task: str | None = None, k: int = 5) -> list[Phrase]:
        """The k likeliest words or phrases, best first.

        A masked model answers with single tokens, of which pieces of words are left out.

        Args:
            subject: text of the only field of the task's pattern.
            task: name or label of one of the prompt's tasks; None where there is only one.

        Raises:
            UserError: the prompt has no such task, or it asks about more than one field, or its
                answers are labels or choices; or the subject is empty.
        """
        if not subject.strip():
            raise UserError("the subject is empty")
        if NOT_TEXT.search(subject):
            raise UserError(f"the subject {shown(subject)} is not UTF-8")
        row = self.row_of({}, task)
        asked = self.tasks[row]
        answer = asked.wording.answer
        fields = asked.wording.pattern.names
        if not isinstance(answer, Ranked | Text) or len(fields) != 1:
            raise UserError(
                f"task {asked.task.name} asks about {', '.join(fields)} and answers by "
                f"{answer.kind}; use predict"
            )
        record = Record(id="0", fields={fields[0]: subject.strip()}, answer=None)
        question = asked.bound.question(record, "evaluate", Random(0))
        if self.backbone.kind == "masked":
            return self._words(question, k)
        to_end = isinstance(answer, Text) or isinstance(asked.bound, BoundPhrases)
        found = likely_phrases(
            self.asker, question.rows[0], self.backbone.tokens, k, to_end_token=to_end
        )
        return [Phrase(text, probability) for text, probability in found]

    def _words(self, question: Question, k: int) -> list[Phrase]:
        """Whole words that a mask stands for."""
        tokens = self.backbone.tokens

        def ask(batch: Any) -> list[Any]:
            return list(zip(*self.asker.model.top(batch, self.asker.prompts, 4 * k), strict=True))

        probabilities, ids = self.asker.in_batches(question.rows, ask)[0]
        words = [
            Phrase(tokens.text(int(token)), float(probability))
            for probability, token in zip(probabilities[0], ids[0], strict=True)
            if tokens.word_token(tokens.text(int(token))) == int(token)
        ]
        return words[:k]

    def row_of(self, given: Record | Mapping[str, Any], task: str | None) -> int:
        """The row of P that a record is asked with.

        Raises:
            UserError: it cannot be told.
        """
        fields = given.fields if isinstance(given, Record) else given
        own = given.task if isinstance(given, Record) else ""
        named = task or own or fields.get("task") or fields.get("taskname")
        if not named and len(self.tasks) > 1:
            raise UserError(
                "the prompt has several tasks: name one (task), or give records with a field "
                f"'task'; there are {', '.join(each.name for each in self.export.tasks)}"
            )
        # A field called "task" may be anything where there is only one prompt.
        return self.export.row(str(named)) if task or len(self.tasks) > 1 else 0

    def record(self, given: Record | Mapping[str, Any], row: int, number: int) -> Record:
        """A record with the fields that the pattern of a row names.

        Raises:
            UserError: it lacks one.
        """
        if isinstance(given, Record):
            return given
        raw = RawRow(dict(given), f"record {number}")
        record = self.read(raw, number, row)
        for name, text in record.fields.items():
            if NOT_TEXT.search(text):
                raise UserError(f"record {number}: field {shown(name)} is not UTF-8")
        return record

    def read(self, raw: RawRow, number: int, row: int, *, answered: bool = False) -> Record:
        """The record of a row of a file.

        The fields may be called as in the files that the task was made from, or as in its pattern.

        Args:
            answered: keep its right answer, if it is there, which is not looked at otherwise.

        Raises:
            UserError: it lacks a field.
        """
        names, columns = self.tasks[row].wording.pattern.names, self._columns[row]
        if not set(columns.fields.values()) & raw.values.keys() and set(names) <= raw.values.keys():
            columns = Columns(answer=columns.answer if columns.answer in raw.values else "")
        record = columns.record(raw, number, names)
        return record if answered else replace(record, answer=None)


def load_prompt(
    directory: str | Path,
    *,
    model: str | None = None,
    dtype: torch.dtype = torch.float32,
    backbone: str | None = None,
    token: str = "",
) -> TunedPrompt:
    """Load an exported prompt and its backbone.

    Args:
        directory: the ``prompt`` folder of a run's output directory.
        model: where the backbone is now, if not where training found it.
        backbone: address of a server that has it, as http://HOST:PORT, or several by commas; then
            no weight is loaded here, and precision is the server's.
        token: what the server knows you by.

    Raises:
        UserError: prompt or backbone cannot be read, or they do not belong together.
        LostContact: no server answers.
    """
    export = PromptExport.load(Path(directory))
    if backbone is not None:
        served = open_served(backbone, token)
        function = parallelize(served, Mesh.build(World(), Degrees()))
        return TunedPrompt(export, served, function)
    here = load_backbone(model or export.model, dtype=dtype, weight_bits=export.weight_bits)
    return TunedPrompt(export, here)
