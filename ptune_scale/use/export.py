"""The product of training: prompt vectors without the encoder that made them.

An export holds all that is needed to ask: of each task its pattern, the kind of answer with its
words, the columns of its files, its length limit; and which backbone it was trained for. Equal
prompts make equal bytes, and what was changed since is noticed.

Shapes: R tasks, S prompt slots, H embedding size.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from ptune_scale.backbone import Backbone
from ptune_scale.backbone.options import WeightBits
from ptune_scale.errors import UserError
from ptune_scale.files import write_bytes
from ptune_scale.reading import check_kind, has_file, is_texts, shown
from ptune_scale.strict_json import parse_json
from ptune_scale.task.answers.data import as_data, from_data
from ptune_scale.task.answers.ranked import Ranked
from ptune_scale.task.pattern import Pattern, SpellingName
from ptune_scale.task.task import Wording

_FILE = "prompt.safetensors"
_FORMAT = 1
_KEY = "ptune_scale"
_ABOUT = {
    "lists": list,
    "tasks": list,
    "model": str,
    "backbone_fingerprint": str,
    "weight_bits": str,
    "tokenizer": str,
}
_TASK = {"name": str, "label": str, "pattern": str, "spelling": str, "answer": dict}


@dataclass(frozen=True)
class ExportedTask:
    """How a row of P is asked.

    Attributes:
        name, label: of the task.
        wording: its pattern and kind of answer.
        max_length: most tokens of a row; None for no limit.
        columns: of the files it was made from, by field.
    """

    name: str
    label: str
    wording: Wording
    max_length: int | None = None
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PromptExport:
    """Prompts of R tasks with S slots each, for one backbone.

    Attributes:
        prompts: (R, S, H) fp32, the prompt matrix P.
        tasks: in the order of P's rows.
        model: the backbone as the user named it.
        fingerprint: identity of the backbone's weights.
        weight_bits: to which they were rounded in training; "full" for not at all.
        tokenizer: identity of how texts were spelled; "" for any.
    """

    prompts: Tensor
    tasks: tuple[ExportedTask, ...]
    model: str
    fingerprint: str
    weight_bits: WeightBits = "full"
    tokenizer: str = ""

    def save(self, directory: Path) -> Path:
        """Write ``prompt.safetensors``; it replaces an older one in a single step.

        Raises:
            UserError: it cannot be written.
        """
        prompts, text = self._vectors, self._description
        sealed = json.dumps({"about": text, "sha256": hashlib.sha256(text.encode()).hexdigest()})
        target = directory / _FILE
        # One key: the library writes several in an order of chance.
        write_bytes(target, to_bytes({"prompts": prompts}, {_KEY: sealed}))
        return target

    @property
    def digest(self) -> str:
        """Identity of the vectors and of all that is said about them."""
        return hashlib.sha256(self._description.encode()).hexdigest()

    @property
    def _vectors(self) -> Tensor:
        return self.prompts.detach().contiguous().float().cpu()

    @property
    def _description(self) -> str:
        lists: list[list[str]] = []
        about = {
            "format": _FORMAT,
            "tasks": [_task_data(task, lists) for task in self.tasks],
            "lists": lists,
            "model": self.model,
            "backbone_fingerprint": self.fingerprint,
            "weight_bits": self.weight_bits,
            "tokenizer": self.tokenizer,
            "prompts_sha256": _digest(self._vectors),
        }
        return json.dumps(about, sort_keys=True)

    @classmethod
    def load(cls, directory: Path) -> "PromptExport":
        """Read what ``save`` wrote, from its directory or the file itself.

        Raises:
            UserError: no file, a damaged one, or one of another format.
        """
        path = directory / _FILE if os.path.isdir(directory) else directory
        if not has_file(path):
            inside = directory / "prompt"
            advice = (
                f"did you mean {inside}?"
                if (inside / _FILE).is_file()
                else ("give the prompt folder of a run")
            )
            raise UserError(f"prompt {path} is not there; {advice}")
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                prompts = file.get_tensor("prompts")
        except (OSError, SafetensorError) as error:
            raise UserError(f"prompt {path} cannot be read: {error}") from error
        about = _unsealed(metadata.get(_KEY), path)
        if about.get("format") != _FORMAT or about["format"] is True:
            raise UserError(
                f"prompt {path} has format {shown(about.get('format'))}, want {_FORMAT}"
            )
        if _digest(prompts) != about.get("prompts_sha256"):
            raise UserError(f"prompt {path} is damaged: its vectors are not those that were saved")
        for key, kind in _ABOUT.items():
            check_kind(about.get(key), kind, f"prompt {path}: {key}")
        lists = [_list_of_texts(each, path) for each in about["lists"]]
        tasks = tuple(_task_from(data, lists, path) for data in about["tasks"])
        if about["weight_bits"] not in get_args(WeightBits):
            raise UserError(f"prompt {path}: weight_bits is {shown(about['weight_bits'])}")
        export = cls(
            prompts,
            tasks,
            about["model"],
            about["backbone_fingerprint"],
            about["weight_bits"],
            about["tokenizer"],
        )
        export.check(path)
        return export

    def check(self, path: Path) -> None:
        """Make sure that vectors and tasks go together.

        Raises:
            UserError: they do not, or the vectors are not finite.
        """
        shape = tuple(self.prompts.shape)
        if self.prompts.dtype != torch.float32 or len(shape) != 3 or shape[0] != len(self.tasks):
            raise UserError(f"prompt {path}: vectors {shape} do not fit {len(self.tasks)} tasks")
        if not self.tasks or not shape[2]:
            raise UserError(f"prompt {path}: vectors {shape} are of no task, or empty")
        if not bool(self.prompts.isfinite().all()):
            raise UserError(f"prompt {path}: its vectors are not finite")
        names = [task.name for task in self.tasks]
        if len(set(names)) < len(names):
            raise UserError(f"prompt {path}: two of its tasks have the same name")
        slots = max(task.wording.pattern.num_slots for task in self.tasks)
        if slots != shape[1]:
            raise UserError(
                f"prompt {path}: its patterns have {slots} slots, its vectors {shape[1]}"
            )

    def check_backbone(self, backbone: Backbone) -> None:
        """Make sure that a backbone is the one that the prompts were trained with.

        Raises:
            UserError: it is another, or takes vectors of another width.
        """
        if backbone.fingerprint != self.fingerprint:
            raise UserError(
                f"the prompt was trained with another model than {backbone.name} "
                f"(fingerprint {self.fingerprint[:12]}..., here {backbone.fingerprint[:12]}...); "
                "give the one it was trained with by --model"
            )
        if self.tokenizer and backbone.tokens.digest != self.tokenizer:
            raise UserError(
                f"the prompt was trained with another tokenizer than that of {backbone.name}; give "
                "the model with its own tokenizer by --model"
            )
        if self.prompts.shape[2] != backbone.hidden_size:
            raise UserError(
                f"the prompt's vectors have {self.prompts.shape[2]} numbers each, the words of "
                f"{backbone.name} {backbone.hidden_size}: it is damaged"
            )

    def row(self, task: str) -> int:
        """The row of a task, by name or label, in any case.

        Raises:
            UserError: there is none, or several; the message lists what there is.
        """
        names: Sequence[str] = [each.name for each in self.tasks]
        labels: Sequence[str] = [each.label for each in self.tasks]
        if task in names:
            return names.index(task)
        for known in (names, labels):
            found = [row for row, name in enumerate(known) if name.lower() == task.lower()]
            if len(found) == 1:
                return found[0]
        listed = ", ".join(each.name for each in self.tasks)
        raise UserError(f"the prompt has no task {task!r}; it has {listed}")


def _task_data(task: ExportedTask, lists: list[list[str]]) -> dict[str, Any]:
    """A task as plain data; long lists of words stand once for all tasks."""
    answer = task.wording.answer
    if isinstance(answer, Ranked):
        answer = replace(answer, sets={answer.first: answer.sets[answer.first]})
    data = as_data(answer)
    if isinstance(answer, Ranked):
        words = answer.sets[answer.first]
        place = None
        if words is not None:
            if list(words) not in lists:
                lists.append(list(words))
            place = lists.index(list(words))
        data["candidates"] = {answer.first: place}
    return {
        "name": task.name,
        "label": task.label,
        "pattern": task.wording.pattern.text,
        "spelling": task.wording.pattern.spelling,
        "answer": data,
        "max_length": task.max_length,
        "columns": dict(task.columns),
    }


def _task_from(
    data: Mapping[str, Any], lists: Sequence[tuple[str, ...]], path: Path
) -> ExportedTask:
    where = f"prompt {path}: a task"
    check_kind(data, dict, where)
    for key, kind in _TASK.items():
        check_kind(data.get(key), kind, f"{where}'s {key}")
    where = f"prompt {path}: task {shown(data['name'])}"
    limit, columns, table = data.get("max_length"), data.get("columns"), dict(data["answer"])
    fits = limit is None or (type(limit) is int and limit > 0)
    if not fits or not isinstance(columns, dict) or not is_texts(columns):
        raise UserError(f"{where}: max_length or columns are not as they were written")
    if "candidates" in table:
        table["candidates"] = _candidates(table["candidates"], lists, where)
    if data["spelling"] not in get_args(SpellingName):
        raise UserError(f"{where}: spelling is {shown(data['spelling'])}")
    return ExportedTask(
        data["name"],
        data["label"],
        Wording(Pattern.read(data["pattern"], data["spelling"]), from_data(table, where)),
        limit,
        columns,
    )


def _candidates(
    sets: Any, lists: Sequence[tuple[str, ...]], where: str
) -> dict[str, tuple[str, ...] | None]:
    """Sets of candidates, of which the file has the places among its lists."""
    check_kind(sets, dict, f"{where}: candidates")
    for place in sets.values():
        if place is not None and (type(place) is not int or not 0 <= place < len(lists)):
            raise UserError(f"{where}: there is no list {shown(place)} of candidates")
    return {name: None if place is None else lists[place] for name, place in sets.items()}


def _list_of_texts(value: Any, path: Path) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise UserError(f"prompt {path}: a list of candidates is {shown(value)}")
    return tuple(value)


def _unsealed(text: str | None, path: Path) -> dict[str, Any]:
    """The description, if its bytes are those that were written."""
    if text is None:
        raise UserError(f"prompt {path} is none of this library's: it has no description")
    try:
        sealed = parse_json(text.encode())
        about = sealed.get("about") if isinstance(sealed, dict) else None
        raw = about.encode() if isinstance(about, str) else b""
        intact = raw and hashlib.sha256(raw).hexdigest() == sealed.get("sha256")
        described = parse_json(raw) if intact else None
    except ValueError as error:
        raise UserError(
            f"prompt {path} is damaged: its description cannot be read ({error})"
        ) from error
    if not isinstance(described, dict):
        raise UserError(f"prompt {path} is damaged: its description is not what was saved")
    return described


def _digest(prompts: Tensor) -> str:
    flat = prompts.contiguous().reshape(-1)
    return hashlib.sha256(flat.view(torch.uint8).numpy().tobytes()).hexdigest()
