"""Reads LAMA facts from a directory, in either of two layouts.

Plain (one file a relation)::

    relations.jsonl  train/P36.jsonl  test/P36.jsonl  [dev/P36.jsonl]  [common_vocab_cased.txt]

The reference implementation's (github.com/THUDM/P-tuning, its data/LAMA directory)::

    relations.jsonl  fact-retrieval/original/P36/{train,dev,test}.jsonl  [29k-vocab.json]

Every record is a JSON object with "sub_label" and "obj_label".
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ptune_scale.errors import UserError
from ptune_scale.lama.reader.facts import Fact, FactSet, Relation
from ptune_scale.reading import has_directory, has_file, read_object, shown
from ptune_scale.task.define import words_of
from ptune_scale.task.files import OnBadRecord, bad_record, read_rows
from ptune_scale.task.pattern import SUBJECT as SUBJECT_FIELD
from ptune_scale.task.pattern import Pattern

SUBJECT, OBJECT = "sub_label", "obj_label"
"""Columns of a file of facts."""

_PARTS = ("train", "dev", "test")


def load_lama(directory: Path, on_bad_record: OnBadRecord = "stop") -> FactSet:
    """All relations of a directory that have facts.

    Parts without a file are empty here; they are held out of ``train`` later.

    Raises:
        UserError: the directory is missing or of neither layout, a name in it leads to nothing that
            can be read, or a bad record was met and ``on_bad_record`` is "stop"; the message names
            file, line and reason.
    """
    if not has_directory(directory):
        raise UserError(f"data directory {directory} does not exist")
    dropped: Counter[str] = Counter()
    pattern = _file_pattern(directory)
    described = directory / "relations.jsonl"
    if not has_file(described):
        raise UserError(f"data directory {directory} has no relations.jsonl")
    relations: dict[str, Relation] = {}
    for row in read_rows(
        described, required=("relation", "template"), on_bad_record=on_bad_record, dropped=dropped
    ):
        name, prompt = row.values["relation"], row.values["template"]
        label = row.values.get("label")
        reason = f"relation {name!r} is there twice" if name in relations else _fault(prompt)
        if not reason and not isinstance(label, str | None):
            reason = f"'label' is {shown(label)}, not a string"
        if reason:
            bad_record(row.source, reason, on_bad_record, dropped)
            continue
        files = [directory / pattern.format(relation=name, part=part) for part in _PARTS]
        train, dev, test = (tuple(_facts(file, on_bad_record, dropped)) for file in files)
        if train or test:
            relations[name] = Relation(name, label or name, prompt, train, dev, test)
    if not relations:
        raise UserError(f"data directory {directory} has no relation with facts")
    common = _common_vocab(directory)
    return FactSet(str(directory), tuple(relations.values()), dropped, common)


def _file_pattern(directory: Path) -> str:
    """Where the file of a relation's part is in this directory."""
    if has_directory(directory / "fact-retrieval" / "original"):
        return "fact-retrieval/original/{relation}/{part}.jsonl"
    if any([has_directory(directory / part) for part in _PARTS]):
        return "{part}/{relation}.jsonl"
    raise UserError(
        f"data directory {directory} has neither train/ and test/ nor fact-retrieval/original/; "
        "docs/facts.md shows the two layouts"
    )


def _fault(prompt: str) -> str:
    """What is wrong with a relation's manual prompt; "" for nothing."""
    if "[X]" not in prompt or "[Y]" not in prompt:
        return "template needs [X] and [Y]"
    try:
        pattern = Pattern.parse(prompt)
    except UserError as error:
        return str(error)
    if pattern.num_slots:
        return "a manual prompt has no slots; leave [P] out of the template"
    others = [name for name in pattern.names if name != SUBJECT_FIELD]
    return f"template asks about {', '.join(others)}; a fact has [X] alone" if others else ""


def _facts(path: Path, on_bad_record: OnBadRecord, dropped: Counter[str]) -> Iterator[Fact]:
    if has_file(path):
        required = (SUBJECT, OBJECT)
        for row in read_rows(path, required=required, on_bad_record=on_bad_record, dropped=dropped):
            yield Fact(row.values[SUBJECT].strip(), row.values[OBJECT].strip(), row.source)


def _common_vocab(directory: Path) -> tuple[str, ...] | None:
    for name in ("common_vocab_cased.txt", "29k-vocab.json"):
        if has_file(directory / name):
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
    lists = read_object(path, "candidate file")
    chosen: Any = lists.get("gpt2-xl") or next(iter(lists.values()), [])
    if not isinstance(chosen, list) or not all(isinstance(token, str) for token in chosen):
        raise UserError(f"candidate file {path}: write lists of words by model")
    words = tuple(dict.fromkeys(word for token in chosen if (word := token.lstrip("Ġ▁"))))
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
