"""What a format is, and what all formats need of a tuned prompt.

Shapes: N rows, T tokens, K targets in a row, V vocabulary, S slots, H embedding size.
"""

import importlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ptune_scale.errors import UserError
from ptune_scale.task.asking import AskedTask
from ptune_scale.task.example import Batch
from ptune_scale.task.pattern import Separator, Slots, Target, TextPiece
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


def check_package(name: str, package: str) -> None:
    """Make sure that what a format needs is installed.

    Raises:
        UserError: it is not; the message says how to install it.
    """
    try:
        importlib.import_module(package)
    except ImportError as error:
        raise UserError(f"--to {name} needs {package}: pip install {package}") from error


def template_of(task: AskedTask, slots: Sequence[str]) -> str:
    """A task's pattern as text to be filled by others, with a name in the place of each slot.

    The target is where it ends; what a causal model does not see behind it is left out.

    Args:
        slots: what stands for each slot.

    Example:
        >>> template_of(task, ["<|p0|>", "<|p1|>"])  # "{title}. [P]*2 Category: [Y]"
        '{title}.<|p0|><|p1|> Category:'
    """
    names = iter(slots)
    text = ""
    for piece in task.filler.pattern.pieces:
        if isinstance(piece, Slots):
            text += "".join(next(names) for _ in range(piece.count))
        elif isinstance(piece, TextPiece):
            space = " " if piece.space and text and not text.endswith("\n") else ""
            text += space + piece.text
        elif isinstance(piece, Separator):
            tokenizer = task.filler.tokens.tokenizer
            masked = task.filler.tokens.kind == "masked"
            text += tokenizer.sep_token if masked and tokenizer.sep_token else "\n"
        elif isinstance(piece, Target) and task.filler.tokens.kind == "masked":
            text += " " * piece.space + task.filler.tokens.tokenizer.mask_token
    return text


def plain_name(task: AskedTask) -> str:
    """A task's name as a file and a token may have it; of two alike, the row tells which it is."""
    plain = re.sub(r"\W", "_", task.task.name)
    return plain if plain == task.task.name else f"{plain}_{task.index}"


def folder_of(task: AskedTask, directory: Path, rows: Sequence[int]) -> Path:
    """Where one of several tasks lies; the directory itself where there is one."""
    return directory if len(rows) == 1 else directory / plain_name(task)
