"""What a user asks for: rows, the model they run on, the data, and flags for their jobs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ptune_scale import lama
from ptune_scale.cli import Program, build_parser
from ptune_scale.errors import UserError
from ptune_scale.paper.records import JobName, Row
from ptune_scale.superglue import launcher as superglue

PROGRAMS: dict[JobName, Program] = {"lama": lama.PROGRAM, "superglue": superglue.PROGRAM}
"""The command lines of the jobs; their launchers are called NAME.py."""

EMBEDDED = "embedded"

# What is decided here, or asks for something other than a job.
_NOT_FOR_JOBS = frozenset(
    {"model", "data_dir", "method", "output_dir", "resume_from", "prompt", "subject", "relation"}
)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to run the rows with.

    Attributes:
        model: runs instead of the paper's models; "" for those.
        weights: directories of the paper's models, by name.
        data_dir: LAMA facts; "embedded" for the built-in ones, "" for none.
        fewglue_dir, superglue_dir: directories with one of each task; "" for none.
        extra: flags for the jobs, as typed.
    """

    model: str = ""
    weights: Mapping[str, str] = field(default_factory=dict)
    data_dir: str = ""
    fewglue_dir: str = ""
    superglue_dir: str = ""
    extra: tuple[str, ...] = ()

    def model_of(self, row: Row) -> str:
        """What the row is run on, as --model takes it; "" for a model that is nowhere."""
        return self.model or self.weights.get(row.model.name) or row.model.hub

    def is_papers_model(self) -> bool:
        """Whether rows are run on the models that the paper ran them on."""
        return not self.model

    def data_of(self, row: Row) -> str:
        """The directory of the row's data; "" where it was not said."""
        if row.protocol.job == "lama":
            return self.data_dir
        return self.superglue_dir if "val" in row.protocol.splits else self.fewglue_dir

    def extra_flags(self, job: JobName) -> dict[str, Any]:
        """The flags for the jobs by name.

        Raises:
            UserError: the job has no such flag, or it is not the user's to set.
        """
        typed = vars(build_parser(PROGRAMS[job]).parse_args(self.extra))
        if wrong := sorted(_NOT_FOR_JOBS & typed.keys()):
            raise UserError(
                f"--{wrong[0]} behind -- : a row has its own; see the flags in front of it"
            )
        return typed

    def wants_task(self, task: str) -> bool:
        """Whether ``--tasks`` behind the dashes leaves a task of SuperGLUE."""
        asked = self.extra_flags("superglue").get("tasks", "all").lower().split(",")
        return [name.strip() for name in asked] == ["all"] or task.lower() in map(str.strip, asked)


def absolute(path: str) -> str:
    """A path that means the same wherever a job runs; what is no path stays."""
    place = Path(path).expanduser()
    return str(place.resolve()) if path and path != EMBEDDED and place.exists() else path
