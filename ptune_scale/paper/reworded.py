"""Facts under another manual prompt (Table 1 asks one relation four ways)."""

import json
import os
from pathlib import Path

from ptune_scale.errors import UserError


def reword(source: Path, relation: str, manual_prompt: str, directory: Path) -> None:
    """Make a directory of the same facts in which one relation has another prompt.

    All but ``relations.jsonl`` are links to the source.

    Args:
        manual_prompt: with "[X]" and "[Y]".
        directory: made if it is not there.

    Raises:
        UserError: the source has no such relation, a line of it cannot be read, or the directory
            cannot be written.
    """
    described = source / "relations.jsonl"
    lines, found = [], False
    try:
        for number, line in enumerate(described.read_text(encoding="utf-8").splitlines(), start=1):
            if not line.strip():
                continue
            record = _object(line, f"{described}:{number}")
            if record.get("relation") == relation:
                record["template"], found = manual_prompt, True
            lines.append(json.dumps(record))
        if not found:
            raise UserError(f"{described} has no relation {relation}")
        directory.mkdir(parents=True, exist_ok=True)
        for entry in source.iterdir():
            link = directory / entry.name
            if entry.name != described.name and not link.is_symlink():
                link.symlink_to(entry.resolve())
        scratch = directory / ".relations.jsonl.partial"
        scratch.write_text("\n".join(lines) + "\n", encoding="utf-8")
        os.replace(scratch, directory / described.name)
    except OSError as error:
        raise UserError(f"{error.filename or directory}: {error.strerror}") from error


def _object(line: str, place: str) -> dict:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise UserError(f"{place}: not JSON ({error})") from None
    if not isinstance(record, dict):
        raise UserError(f"{place}: not a JSON object")
    return record
