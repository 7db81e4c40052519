"""What a user asks for, the jobs that it means, and what is missing to run a row here."""

import hashlib
import os
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from ptune_scale.errors import UserError
from ptune_scale.experiments.paper.rows import PaperRow, models
from ptune_scale.flags import flag, names_in
from ptune_scale.run.main import COMMANDS

_NOT_FOR_JOBS = {"model", "data_dir", "method", "output_dir", "resume_from"}


@dataclass(frozen=True)
class PaperJob:
    """A run of a launcher, with all that is typed behind it but the output directory."""

    launcher: str
    arguments: tuple[str, ...]
    label: str

    @property
    def name(self) -> str:
        """Of its directory: the same for the same arguments."""
        key = hashlib.sha256(repr((self.launcher, self.arguments)).encode()).hexdigest()
        return f"{self.label}-{key[:8]}"


@dataclass(frozen=True, kw_only=True)
class PaperConfig:
    """which rows, and on what"""

    row: tuple[str, ...] = flag((), "id of a row to run")
    table: tuple[str, ...] = flag((), "number of a table to run, 1 to 6")
    model: str = flag("", "runs instead of the paper's models")
    weights: tuple[str, ...] = flag((), "NAME=DIR: where a model of the paper lies")
    data_dir: str = flag("", "LAMA facts, or 'embedded' for built-in ones")
    fewglue_dir: str = flag("", "FewGLUE, 32 training records a task")
    superglue_dir: str = flag("", "SuperGLUE, whole")
    output_dir: str = flag("runs/paper", "where results go, and what is finished is found")


@dataclass(frozen=True)
class PaperRequest:
    """Rows of the paper on models and data that are here; ``extra`` are flags for the jobs."""

    config: PaperConfig
    extra: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check what the weights are of.

        Raises:
            UserError: none of the paper's models.
        """
        for text in self.config.weights:
            name, _, place = text.partition("=")
            if name not in models() or not place:
                raise UserError(f"--weights {text}: write NAME=DIR; names: {', '.join(models())}")

    def model_of(self, row: PaperRow) -> str:
        """What the row is run on, as --model takes it; "" for a model that is nowhere."""
        given = dict(text.partition("=")[::2] for text in self.config.weights)
        return _absolute(self.config.model or given.get(row.model, "")) or row.hub

    def jobs(self, row: PaperRow) -> list[PaperJob]:
        """The jobs that cover a row together.

        Raises:
            UserError: the launcher would not take its flags, or the model cannot be found.
        """
        model, directory = self.model_of(row), self._data(row)[1]
        kind = _kind(model) if self.config.model and row.by_kind else row.kind
        flags = {"model": model, "method": row.method, "data_dir": directory, **row.flags}
        flags |= row.by_kind.get(kind, {})
        if os.path.isfile(words := Path(directory, row.vocabulary)):
            flags["candidates"] = str(words)
        extra = _typed(row.launcher, self.extra)
        if wrong := sorted(_NOT_FOR_JOBS & extra.keys()):
            raise UserError(
                f"--{wrong[0]} behind -- : a row has its own; see the flags in front of it"
            )
        found = []
        for part in row.parts:
            merged = {**flags, **part, **extra}
            if tasks := part.get("tasks"):
                merged["tasks"] = ",".join(self._wanted(tasks))
            arguments = tuple(t for name, v in merged.items() for t in (f"--{name}", str(v)))
            if not tasks or merged["tasks"]:
                _program(row.launcher).settle(_typed(row.launcher, arguments))
                label = f"{row.launcher}-{Path(model).name}-{row.method}"
                found.append(PaperJob(row.launcher, arguments, label))
        return found

    def missing(self, row: PaperRow) -> str:
        """Why the row cannot be run, in words; "" where it can."""
        name, directory = self._data(row)
        tasks = [task for part in row.parts for task in self._wanted(part.get("tasks", ""))]
        files = [f"{task}/{split}.jsonl" for task in tasks for split in row.splits]
        files = files if row.splits else ["relations.jsonl"]
        lacking = [path for file in files if not os.path.isfile(path := Path(directory, file))]
        if row.not_here:
            return row.not_here
        if not directory:
            return f"no data: give --{name} DIR"
        if directory == "embedded" and row.prompt:
            return "the built-in facts have no such relation"
        if not files:
            return "--tasks leaves none of its tasks"
        if lacking and directory != "embedded":
            return f"no data: {lacking[0]} is not there"
        if model := self.model_of(row):
            return _unreachable(model)
        return f"no weights: {row.missing}; give --weights {row.model}=DIR"

    def _data(self, row: PaperRow) -> tuple[str, str]:
        """The flag that names the row's data, and what was given."""
        tasks = "superglue_dir" if "val" in row.splits else "fewglue_dir"
        name = tasks if row.splits else "data_dir"
        return name, _absolute(getattr(self.config, name))

    def _wanted(self, tasks: str) -> list[str]:
        """Those that ``--tasks`` behind the dashes leaves."""
        if not tasks:
            return []
        asked = names_in(_typed("superglue", self.extra).get("tasks", "all").lower())
        return [t for t in names_in(tasks) if "all" in asked or t.lower() in asked]


@cache
def _typed(launcher: str, arguments: tuple[str, ...]) -> dict[str, Any]:
    """Flags by name, as a launcher reads them.

    Raises:
        UserError: it has no such flag.
    """
    return _program(launcher).parse(arguments)


def _program(launcher: str) -> Any:
    return import_module(COMMANDS[launcher][0]).PROGRAM


def _absolute(path: str) -> str:
    """A path that means the same wherever a job runs; what is no path stays."""
    place = Path(path).expanduser()
    return str(place.resolve()) if path and os.path.exists(place) else path


@cache
def _kind(model: str) -> str:
    from ptune_scale.backbone import load_backbone

    return load_backbone(model).kind


@cache
def _unreachable(model: str) -> str:
    """Why a model cannot be loaded; looked for once, since some files are hashed for it."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    from ptune_scale.backbone import find_model

    try:
        source = find_model(model)
        if source.path is None and not try_to_load_from_cache(model, "config.json"):
            HfApi().model_info(model, timeout=3.0)
    except UserError as error:
        return f"no weights: {error}"
    except Exception:  # its client has been built on several libraries, each with errors of its own
        return f"no weights: {model} is not cached here, and the hub does not answer"
    return ""
