"""The sentences that facts are taught in: never the one that the manual prompt asks with."""

import re
from collections import Counter
from pathlib import Path

from ptune_scale.errors import UserError
from ptune_scale.lama.reader.facts import Relation
from ptune_scale.reading import has_directory, has_file, read_text

EMBEDDED = {
    "capital": ("The capital city of [X] is [Y] .", "[X] is governed from [Y] ."),
    "capital_country": ("The town of [X] is the capital of [Y] .", "[Y] is governed from [X] ."),
    "continent": ("The land of [X] is on the continent of [Y] .", "[X] is a part of [Y] ."),
    "language": ("The main language of [X] is [Y] .", "In [X] people speak [Y] ."),
    "currency": ("The money of [X] is the [Y] .", "In [X] one pays with the [Y] ."),
    "city_country": (
        "The town of [X] lies in the country of [Y] .",
        "[X] is a large town in [Y] .",
    ),
    "city_state": ("The American town of [X] is in the state of [Y] .", "[X] lies in [Y] , USA ."),
    "language_country": ("[X] is spoken in the country of [Y] .", "Who speaks [X] lives in [Y] ."),
}
"""Relation of the embedded facts -> sentences to teach it with, the closest to its prompt first."""


def sentences_to_teach(
    relations: tuple[Relation, ...], data_dir: str, wanted: int
) -> dict[str, tuple[str, ...]]:
    """For each relation at most ``wanted`` sentences with "[X]" and "[Y]".

    For a LAMA directory they come from LPAQA's manual paraphrases
    (``prompts/lpaqa/manual_paraphrase/P*.txt``, Jiang et al. 2020, arXiv:1911.12543): those that
    have the smallest share of words in common with the manual prompt, else in the file's order. A
    sentence does not count if, but for case, punctuation and articles, it is a manual prompt, or a
    paraphrase of another relation too: the same words would ask for two objects.

    Returns:
        relation id -> sentences; none for a relation that has no sentence of its own.

    Raises:
        UserError: the directory has no paraphrases, or a file of them cannot be read.
    """
    if data_dir == "embedded":
        return {relation.id: EMBEDDED[relation.id][:wanted] for relation in relations}
    directory = Path(data_dir) / "prompts" / "lpaqa" / "manual_paraphrase"
    if not has_directory(directory):
        raise UserError(
            f"data directory {data_dir} has no prompts/lpaqa/manual_paraphrase to take the "
            "sentences from that facts are taught in; give one that has, or --data_dir embedded"
        )
    offered = {r.id: _read(directory / f"{r.id}.txt") for r in relations}
    asked = {relation.id: _gist(relation.manual_prompt) for relation in relations}
    uses = Counter(gist for lines in offered.values() for gist in {_gist(line) for line in lines})
    chosen = {}
    for name, lines in offered.items():
        own: dict[str, str] = {}
        for line in lines:
            gist = _gist(line)
            if gist not in asked.values() and uses[gist] == 1:
                own.setdefault(gist, line)
        closeness = {gist: _closeness(gist, asked[name]) for gist in own}
        chosen[name] = tuple(own[gist] for gist in sorted(own, key=closeness.__getitem__)[:wanted])
    return chosen


def _read(path: Path) -> tuple[str, ...]:
    if not has_file(path):
        return ()
    lines = read_text(path, "paraphrases").splitlines()
    return tuple(s.strip() for s in lines if s.count("[X]") == 1 and s.count("[Y]") == 1)


def _gist(sentence: str) -> str:
    """A sentence without case, punctuation and articles."""
    words = re.findall(r"\[[XY]\]|\w+", sentence)
    return " ".join(w for w in words if w.lower() not in ("a", "an", "the")).lower()


def _closeness(one: str, other: str) -> float:
    """Share of the words of either that are in both, in [0, 1]."""
    first, second = set(one.split()), set(other.split())
    return len(first & second) / len(first | second)
