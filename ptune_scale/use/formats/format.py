"""What a format is, and what all formats need of a tuned prompt.

Shapes: N rows, T tokens, K targets in a row, V vocabulary, S slots, H embedding size.
"""

import importlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ptune_scale.errors import UserError
from ptune_scale.task.answers.words import Words
from ptune_scale.task.asking import AskedTask
from ptune_scale.task.example import Batch
from ptune_scale.task.pattern import Pattern, Separator, Slots, Target, TextPiece
from ptune_scale.task.record import Record
from ptune_scale.use.prompt import TunedPrompt

Logits = Callable[[Batch, Tensor], Tensor]
"""Logits (N, K, V) at the targets of rows, under P, as other software computes them."""


@dataclass(frozen=True)
class Format:
    """A format that other software reads.

    Attributes:
        name: what ``--to`` takes; the command's help says what it is.
        check: refuses a prompt that the format cannot hold.
        write: fills a directory; is given the prompt, its tasks by row, and records by row.
        load: reads the directory back with the software that it is for.
        needs: a package that is not among our own requirements.
        needs_records: it writes requests, so it needs records to ask about.
    """

    name: str
    check: Callable[[TunedPrompt, Sequence[int]], None]
    write: Callable[[TunedPrompt, Sequence[int], dict[int, list[Record]], Path], None]
    load: Callable[[TunedPrompt, Sequence[int], Path], Logits]
    needs: str = ""
    needs_records: bool = False


ABOUT = "ptune_scale.json"
"""The file beside an export that says how its tasks are asked."""


def check_package(flag: str, package: str, distribution: str = "") -> None:
    """Make sure that what a flag needs is installed.

    Args:
        distribution: what pip calls it, if not by its own name.

    Raises:
        UserError: it is not; the message says how to install it.
    """
    try:
        importlib.import_module(package)
    except ImportError as error:
        name = distribution or package
        raise UserError(f"{flag} needs {name}: pip install {name}") from error


def template_of(
    pattern: Pattern, slots: Sequence[str], *, separator: str = "\n", mask: str = ""
) -> str:
    """A pattern as text to be filled by others, with a name in the place of each slot.

    The target is where it ends; what a causal model does not see behind it is left out.

    Args:
        pattern: what the model can use of it.
        slots: what stands for each slot.
        separator: what stands for [SEP].
        mask: what stands for the target of a masked model.

    Example:
        >>> template_of(Pattern.parse("{title}. [P]*2 Category: [Y]"), ["<|p0|>", "<|p1|>"])
        '{title}.<|p0|><|p1|> Category:'
    """
    names = iter(slots)
    text = ""
    for piece in pattern.pieces:
        if isinstance(piece, Slots):
            text += "".join(next(names) for _ in range(piece.count))
        elif isinstance(piece, TextPiece):
            space = " " if piece.space and text and not text.endswith("\n") else ""
            text += space + piece.text
        elif isinstance(piece, Separator):
            text += separator
        elif isinstance(piece, Target) and mask:
            text += " " * piece.space + mask
    return text


def described(
    task: AskedTask, slots: Sequence[str], *, behind_slots: bool = False
) -> dict[str, Any]:
    """How a task is asked, for the file beside an export.

    Args:
        slots: what stands for each slot.
        behind_slots: the template is what stands behind the last slot.
    """
    tokenizer = task.filler.tokens.tokenizer
    masked = task.filler.tokens.kind == "masked"
    template = template_of(
        task.filler.pattern,
        slots,
        separator=(masked and tokenizer.sep_token) or "\n",
        mask=tokenizer.mask_token if masked else "",
    )
    answer = task.wording.answer
    return {
        "template": template.rpartition(slots[-1])[2] if behind_slots else template,
        "pattern": task.wording.pattern.text,
        "space_before_answer": task.filler.begins_word,
        **({"words": dict(answer.words)} if isinstance(answer, Words) else {}),
    }


def slot_names(name: str, row: int, count: int) -> list[str]:
    """What the tokens of a task's slots are called."""
    return [f"<|{plain_name(name, row)}_{slot}|>" for slot in range(count)]


def plain_name(name: str, row: int) -> str:
    """A task's name as a file and a token may have it; of two alike, the row tells which it is."""
    plain = re.sub(r"\W", "_", name)
    return plain if plain == name else f"{plain}_{row}"


def folder_of(task: AskedTask, directory: Path, rows: Sequence[int]) -> Path:
    """Where one of several tasks lies; the directory itself where there is one."""
    return directory if len(rows) == 1 else directory / plain_name(task.task.name, task.index)
