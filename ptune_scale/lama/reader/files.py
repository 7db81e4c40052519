"""Reads LAMA facts from a directory, in either of two layouts.

Plain (one file a relation)::

    relations.jsonl  train/P36.jsonl  test/P36.jsonl  [dev/P36.jsonl]  [common_vocab_cased.txt]

The reference implementation's (github.com/THUDM/P-tuning, its data/LAMA directory)::

    relations.jsonl  fact-retrieval/original/P36/{train,dev,test}.jsonl  [29k-vocab.json]

Every record is a JSON object with "sub_label" and "obj_label".
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ptune_scale.errors import UserError
from ptune_scale.lama.reader.facts import Fact, FactSet, Relation
from ptune_scale.task.define import words_of
from ptune_scale.task.files import OnBadRecord, bad_record, read_rows
from ptune_scale.task.pattern import Pattern

SUBJECT, OBJECT = "sub_label", "obj_label"
"""Columns of a file of facts."""

_PARTS = ("train", "dev", "test")


def load_lama(directory: Path, on_bad_record: OnBadRecord = "stop") -> FactSet:
    """All relations of a directory that have facts.

    Parts without a file are empty here; they are held out of ``train`` later.

    Raises:
        UserError: the directory is missing or of neither layout, a link leads nowhere, or a bad
            record was met and ``on_bad_record`` is "stop"; the message names file, line and reason.
    """
    if not is_there(directory):
        raise UserError(f"data directory {directory} does not exist")
    dropped: Counter[str] = Counter()
    pattern = _file_pattern(directory)
    described = directory / "relations.jsonl"
    if not is_there(described):
        raise UserError(f"data directory {directory} has no relations.jsonl")
    relations: dict[str, Relation] = {}
    for row in read_rows(
        described, required=("relation", "template"), on_bad_record=on_bad_record, dropped=dropped
    ):
        name, prompt = row.values["relation"], row.values["template"]
        reason = f"relation {name!r} is there twice" if name in relations else _fault(prompt)
        if reason:
            bad_record(row.source, reason, on_bad_record, dropped)
            continue
        files = [directory / pattern.format(relation=name, part=part) for part in _PARTS]
        train, dev, test = (tuple(_facts(file, on_bad_record, dropped)) for file in files)
        if train or test:
            label = str(row.values.get("label") or name)
            relations[name] = Relation(name, label, prompt, train, dev, test)
    if not relations:
        raise UserError(f"data directory {directory} has no relation with facts")
    common = _common_vocab(directory)
    return FactSet(str(directory), tuple(relations.values()), dropped, common)


def is_there(path: Path) -> bool:
    """Whether a path exists. A link that leads nowhere, on the way too, is not simply absent.

    Raises:
        UserError: there is such a link.
    """
    if path.exists():
        return True
    for place in (path, *path.parents):
        if place.is_symlink() and not place.exists():
            raise UserError(f"{place} is a link that leads nowhere; mend or remove it")
    return False


def _file_pattern(directory: Path) -> str:
    """Where the file of a relation's part is in this directory."""
    if is_there(directory / "fact-retrieval" / "original"):
        return "fact-retrieval/original/{relation}/{part}.jsonl"
    if is_there(directory / "test"):
        return "{part}/{relation}.jsonl"
    raise UserError(
        f"data directory {directory} has neither test/ nor fact-retrieval/original/; the README "
        "shows the two layouts"
    )


def _fault(prompt: str) -> str:
    """What is wrong with a relation's manual prompt; "" for nothing."""
    if "[X]" not in prompt or "[Y]" not in prompt:
        return "template needs [X] and [Y]"
    try:
        Pattern.parse(prompt)
    except UserError as error:
        return str(error)
    return ""


def _facts(path: Path, on_bad_record: OnBadRecord, dropped: Counter[str]) -> Iterator[Fact]:
    if is_there(path):
        required = (SUBJECT, OBJECT)
        for row in read_rows(path, required=required, on_bad_record=on_bad_record, dropped=dropped):
            yield Fact(row.values[SUBJECT].strip(), row.values[OBJECT].strip(), row.source)


def _common_vocab(directory: Path) -> tuple[str, ...] | None:
    for name in ("common_vocab_cased.txt", "29k-vocab.json"):
        if is_there(directory / name):
            return read_vocab(directory / name)
    return None


def read_vocab(path: Path) -> tuple[str, ...]:
    """Candidate words: one a line, or the reference's JSON of token lists by model.

    In the JSON form all models list the same words in their own spelling; any list serves.

    Raises:
        UserError: the file is missing, empty or not of either form.
    """
    if path.suffix != ".json":
        return tuple(words_of(path))
    try:
        lists = json.loads(path.read_text(encoding="utf-8-sig"))
        chosen = lists.get("gpt2-xl") or next(iter(lists.values()))
        words = tuple(dict.fromkeys(word for token in chosen if (word := token.lstrip("Ġ▁"))))
    except OSError as error:
        raise UserError(f"candidate file {path}: {error.strerror}") from error
    except (ValueError, AttributeError, StopIteration, TypeError, RecursionError) as error:
        raise UserError(f"candidate file {path}: not a word list ({error})") from error
    if not words:
        raise UserError(f"candidate file {path} holds no words")
    return words


def candidate_words(choice: str, facts: FactSet) -> tuple[str, tuple[str, ...] | None]:
    """The set of candidates that a choice means for these facts.

    Returns:
        its name, and its words; None where they are not the same list for all relations.

    Raises:
        UserError: the choice is a file that cannot be read, or words that these facts do not have.
    """
    if choice == "auto":
        choice = "common_vocab" if facts.common_vocab else "full_vocab"
    if choice == "common_vocab":
        if facts.common_vocab is None:
            raise UserError(f"--candidates common_vocab: {facts.source} has no such list")
        return choice, facts.common_vocab
    if choice in ("full_vocab", "relation"):
        return choice, None
    # Wherever the file lies and whatever it is called: its words are what counts.
    return "file", read_vocab(Path(choice))
