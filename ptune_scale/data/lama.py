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

from ptune_scale.data.facts import Fact, FactSet, Relation
from ptune_scale.data.records import OnBadRecord, bad_record, read_records
from ptune_scale.errors import UserError

_PARTS = ("train", "dev", "test")


def load_lama(directory: Path, on_bad_record: OnBadRecord = "stop") -> FactSet:
    """All relations of a directory that have facts.

    Parts without a file are empty here; they are held out of ``train`` later.

    Raises:
        UserError: the directory is missing or of neither layout, or a bad record was met and
            ``on_bad_record`` is "stop"; the message names file, line and reason.
    """
    if not directory.is_dir():
        raise UserError(f"data directory {directory} does not exist")
    dropped: Counter[str] = Counter()
    facts_of = _find_layout(directory)
    described = directory / "relations.jsonl"
    if not described.is_file():
        raise UserError(f"data directory {directory} has no relations.jsonl")
    relations = []
    for number, record in read_records(described, ("relation", "template"), on_bad_record, dropped):
        name, prompt = record["relation"], record["template"]
        if "[X]" not in prompt or "[Y]" not in prompt:
            bad_record(described, number, "template needs [X] and [Y]", on_bad_record, dropped)
            continue
        parts = [tuple(_facts(facts_of(name, part), on_bad_record, dropped)) for part in _PARTS]
        if parts[0] or parts[2]:
            relations.append(Relation(name, record.get("label", name), prompt, *parts))
    if not relations:
        raise UserError(f"data directory {directory} has no relation with facts")
    return FactSet(str(directory), tuple(relations), dropped, _common_vocab(directory))


def _find_layout(directory: Path):  # noqa: ANN202 (a function of two names)
    """How to find the file of a relation's part in this directory."""
    original = directory / "fact-retrieval" / "original"
    if original.is_dir():
        return lambda relation, part: original / relation / f"{part}.jsonl"
    if (directory / "test").is_dir():
        return lambda relation, part: directory / part / f"{relation}.jsonl"
    raise UserError(
        f"data directory {directory} has neither test/ nor fact-retrieval/original/; "
        "see `ptune_scale/data/lama.py` for the two layouts"
    )


def _facts(path: Path, on_bad_record: OnBadRecord, dropped: Counter[str]) -> Iterator[Fact]:
    if path.is_file():
        for _, record in read_records(path, ("sub_label", "obj_label"), on_bad_record, dropped):
            yield Fact(record["sub_label"].strip(), record["obj_label"].strip())


def _common_vocab(directory: Path) -> tuple[str, ...] | None:
    for name in ("common_vocab_cased.txt", "29k-vocab.json"):
        if (directory / name).is_file():
            return read_vocab(directory / name)
    return None


def read_vocab(path: Path) -> tuple[str, ...]:
    """Candidate words: one a line, or the reference's JSON of token lists by model.

    In the JSON form all models list the same words in their own spelling; any list serves.

    Raises:
        UserError: the file is missing, empty or not of either form.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            lists = json.loads(text)
            chosen = lists.get("gpt2-xl") or next(iter(lists.values()))
            words = [token.lstrip("Ġ▁") for token in chosen]
        else:
            words = [line.strip() for line in text.splitlines()]
    except OSError as error:
        raise UserError(f"candidate file {path}: {error.strerror}") from error
    except (ValueError, AttributeError, StopIteration, TypeError) as error:
        raise UserError(f"candidate file {path}: not a word list ({error})") from error
    words = tuple(word for word in words if word)
    if not words:
        raise UserError(f"candidate file {path} holds no words")
    return words


def candidate_words(choice: str, facts: FactSet) -> tuple[str, tuple[str, ...] | None]:
    """The set of candidates that a choice means for these facts.

    Returns:
        its name, and its words; None where they are not the same list for all relations.

    Raises:
        UserError: the choice is a file that cannot be read.
    """
    if choice == "auto":
        choice = "common_vocab" if facts.common_vocab else "full_vocab"
    if choice == "common_vocab":
        return choice, facts.common_vocab
    if choice in ("full_vocab", "relation"):
        return choice, None
    return Path(choice).name, read_vocab(Path(choice))
