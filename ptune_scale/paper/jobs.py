"""From rows to jobs: rows that share model, data and settings run as one with several methods."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch

from ptune_scale.backbone import find_model, load_backbone
from ptune_scale.cli import parse
from ptune_scale.data.facts import digest
from ptune_scale.paper.records import JobName, Row
from ptune_scale.paper.request import EMBEDDED, PROGRAMS, Request
from ptune_scale.tokenization import Kind

_NO_LETTERS = re.compile(r"[^A-Za-z0-9.]+")


@dataclass(frozen=True)
class Settings:
    """All that makes a job but its methods; equal for rows that can share one.

    Attributes:
        launcher: whose flags they are.
        label: of the job's directory, for people.
        flags: by name, in order, without method and output directory.
        manual_prompt: asked instead of the relation's own, see ``paper.reworded``.
    """

    launcher: JobName
    label: str = field(compare=False)
    flags: tuple[tuple[str, str], ...]
    manual_prompt: str = ""

    def name(self, methods: Iterable[str]) -> str:
        """Of a job's directory: the same for the same settings and methods."""
        key = digest([self.launcher, self.flags, self.manual_prompt])[:8]
        return f"{self.label}-{key}-{'+'.join(methods)}"

    def arguments(self, methods: Iterable[str], **changed: str) -> list[str]:
        """The command line behind the launcher.

        Args:
            changed: flags that take another value here.
        """
        flags = {**dict(self.flags), "method": ",".join(methods), **changed}
        return [text for name, value in flags.items() for text in (f"--{name}", value)]

    def check(self, methods: Iterable[str]) -> None:
        """Make sure that the job takes its flags.

        Raises:
            UserError: it does not.
        """
        _, flags = parse(self.arguments(methods), PROGRAMS[self.launcher])
        PROGRAMS[self.launcher].config.from_flags(flags)


def settings_of(row: Row, request: Request) -> list[Settings]:
    """The jobs that cover a row together.

    Raises:
        UserError: a flag is wrong, or the model cannot be found.
    """
    protocol, extra = row.protocol, request.extra_flags(row.protocol.job)
    model = request.model_of(row)
    by_kind = protocol.by_kind.get(_kind_of(row, request), {}) if protocol.by_kind else {}
    common = {
        "model": model,
        "data_dir": request.data_of(row),
        **protocol.flags,
        **by_kind,
        **_candidates(row, request),
    }
    # The prompt that is asked is this relation's.
    fixed = {"relations": protocol.flags["relations"]} if row.manual_prompt else {}
    label = _NO_LETTERS.sub("-", f"{protocol.name}-{Path(model).name}")
    found = []
    for part in _parts(row, request, extra):
        flags = {**common, **extra, **part, **fixed}
        texts = tuple((name, str(value)) for name, value in flags.items())
        found.append(Settings(protocol.job, label, texts, row.manual_prompt))
    return found


def plan(rows: Iterable[Row], request: Request) -> dict[Settings, list[str]]:
    """The jobs of all rows: the methods that each has to run, none of them twice.

    Raises:
        UserError: a job would not take its flags.
    """
    methods: dict[Settings, list[str]] = {}
    for row in rows:
        for settings in settings_of(row, request):
            wanted = methods.setdefault(settings, [])
            if row.method not in wanted:
                wanted.append(row.method)
    for settings, wanted in methods.items():
        settings.check(wanted)
    return methods


def _parts(row: Row, request: Request, extra: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The parts of the row's protocol, with what flags behind ``--`` change of them."""
    for part in row.protocol.parts:
        kept = {name: extra.get(name, value) for name, value in part.items()}
        if "tasks" in part:
            kept["tasks"] = ",".join(t for t in part["tasks"].split(",") if request.wants_task(t))
        if kept.get("tasks") != "":
            yield kept


def _candidates(row: Row, request: Request) -> dict[str, str]:
    """The published list of words where the data has it; else what ``auto`` finds there."""
    vocabulary, directory = row.protocol.vocabulary, request.data_of(row)
    if not vocabulary or directory == EMBEDDED:
        return {}
    path = Path(directory) / vocabulary
    return {"candidates": str(path)} if path.is_file() else {}


def _kind_of(row: Row, request: Request) -> Kind:
    return row.model.kind if request.is_papers_model() else _kind(request.model)


@cache
def _kind(model: str) -> Kind:
    source = find_model(model)
    return "causal" if source.is_gguf else load_backbone(source, dtype=torch.float32).kind
