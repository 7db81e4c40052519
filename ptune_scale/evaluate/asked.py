"""How a prompt, or an export of it, words what it asks: for tasks of the harness.

A task of the harness is given what its model was given, so the same task file asks each model in
the words that its prompt was tuned with.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ptune_scale.errors import UserError
from ptune_scale.reading import has_file, read_object
from ptune_scale.task.answers.words import Words
from ptune_scale.task.pattern import Target, TextPiece
from ptune_scale.task.record import Record
from ptune_scale.task.task import Wording
from ptune_scale.use.export import PromptExport
from ptune_scale.use.formats.format import ABOUT, slot_names, template_of


@dataclass(frozen=True)
class Asked:
    """How the records of a task become texts.

    Attributes:
        template: what the model reads, with fields in braces; slots are tokens in it, or left out
            where the model puts them in front by itself.
        space: what separates an answer from it: a space or nothing.
        words: that stand for each label, where answers are labels.
    """

    template: str
    space: str = " "
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, wording: Wording, slots: list[str] | None = None) -> "Asked":
        """A wording for a causal model.

        Args:
            slots: what stands for each of its slots.

        Raises:
            UserError: a causal model cannot use it, or its label words are calibrated.
        """
        pattern = wording.pattern.usable_by("causal")
        target = next(piece for piece in pattern.pieces if isinstance(piece, Target))
        answer = wording.answer
        if isinstance(answer, Words) and answer.calibrate:
            raise UserError(
                "label words that are calibrated cannot be asked in lm-evaluation-harness; use "
                "ptune eval --input"
            )
        return cls(
            template_of(pattern, slots or []),
            " " if target.space else "",
            answer.words if isinstance(answer, Words) else {},
        )

    def text(self, record: Record) -> str:
        """What the model reads.

        Raises:
            UserError: the record lacks a field.
        """
        piece = TextPiece(self.template)
        missing = [name for name in piece.names if name not in record.fields]
        if missing:
            raise UserError(
                f"the prompt asks about {', '.join(missing)}, which the records of this task do "
                f"not have; they have {', '.join(record.fields)}"
            )
        return piece.filled(record.fields)

    def choices(self) -> dict[str, str]:
        """By label, what competes behind the text.

        Raises:
            UserError: answers are no labels, or a label has several words.
        """
        several = [label for label, words in self.words.items() if len(words) > 1]
        if several or not self.words:
            raise UserError(
                f"label {several[0]} has several words, and the harness compares one each"
                if several
                else "this task compares labels, for which the prompt has no words"
            )
        return {label: f"{self.space}{words[0]}" for label, words in self.words.items()}


def asked_by(given: Mapping[str, Any]) -> dict[str, Asked]:
    """How the model of the harness asks, by the names of its prompt's tasks.

    Args:
        given: the arguments of the model: "prompt" of our own, "peft" or "pretrained" of "hf".

    Returns:
        nothing where the model has no prompt.

    Raises:
        UserError: the prompt or the description of its export cannot be read.
    """
    if "prompt" in given:
        export = PromptExport.load(Path(str(given["prompt"])))
        return {
            task.name: Asked.of(
                task.wording, slot_names(task.name, row, task.wording.pattern.num_slots)
            )
            for row, task in enumerate(export.tasks)
        }
    places = [Path(str(given[key])) / ABOUT for key in ("peft", "pretrained") if key in given]
    described = next((place for place in places if has_file(place)), None)
    if described is None:
        return {}
    tasks = read_object(described, "export").get("tasks")
    if not isinstance(tasks, dict) or not all(map(_is_described, tasks.values())):
        raise UserError(f"{described} is not as ptune export wrote it")
    return {
        name: Asked(
            each["template"],
            " " if each["space_before_answer"] else "",
            {label: tuple(words) for label, words in each.get("words", {}).items()},
        )
        for name, each in tasks.items()
    }


def _is_described(task: Any) -> bool:
    if not isinstance(task, dict) or not isinstance(task.get("template"), str):
        return False
    words, space = task.get("words", {}), task.get("space_before_answer")
    lists: list[Any] = list(words.values()) if isinstance(words, dict) else [None]
    are_lists = all(isinstance(each, list) for each in lists)
    if not isinstance(space, bool) or not are_lists:
        return False
    return all(isinstance(word, str) for each in lists for word in each)


def asked_about(name: str, given: Mapping[str, Any]) -> Asked | None:
    """How the model asks about one task: as its only prompt, or that of this name, does.

    Args:
        name: of the task; the argument "task" names another one.

    Returns:
        None where the model has no prompt.

    Raises:
        UserError: it has prompts of other names.
    """
    found = asked_by(given)
    if not found or len(found) == 1:
        return next(iter(found.values()), None)
    wanted = str(given.get("task", name))
    same = [each for known, each in found.items() if known.lower() == wanted.lower()]
    if not same:
        raise UserError(f"no prompt for {wanted}: there are {', '.join(found)}; name one by task=")
    return same[0]
