"""One job after another; the finished are not run again, and one that fails stops no other.

Under the output directory, ``jobs/NAME/`` is a job's own, ``jobs/NAME.json`` says how it ended, and
``jobs/NAME.log`` has what it said.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ptune_scale.data.facts import digest
from ptune_scale.errors import UserError
from ptune_scale.paper.jobs import Settings
from ptune_scale.paper.process import Launcher, said
from ptune_scale.paper.request import PROGRAMS
from ptune_scale.paper.reworded import reword


@dataclass
class Runner:
    """Runs jobs into an output directory.

    Args:
        launchers: directory of lama.py and superglue.py.

    Attributes:
        failures: by settings and method, why it failed; of this run.
    """

    output: Path
    launchers: Path
    process: Launcher = field(default_factory=Launcher)
    failures: dict[tuple[Settings, str], str] = field(default_factory=dict)

    def run(self, jobs: Mapping[Settings, Sequence[str]]) -> None:
        """Run what is not finished.

        A job of several methods that fails is tried method by method: one that does not fit into
        memory shall not take the others with it. Stops early where the user says so.
        """
        with self.process.listening():
            for settings, methods in jobs.items():
                left = [method for method in methods if self.finished(settings, method) is None]
                if not left or self.process.stopped_by:
                    continue
                reason = self._run_one(settings, left)
                if reason and len(left) > 1:
                    print(f"paper.py: {reason}; now one method at a time", file=sys.stderr)
                    for method in left:
                        if not self.process.stopped_by:
                            self._note(settings, method, self._run_one(settings, [method]))
                elif reason:
                    self._note(settings, left[0], reason)

    def finished(self, settings: Settings, method: str) -> Path | None:
        """The directory of a finished job that ran the method, in this run or an earlier one."""
        for path in sorted(self._jobs.glob("*.json")):
            record, directory = json.loads(path.read_text()), path.with_suffix("")
            is_same = record["settings"] == _as_record(settings) and method in record["methods"]
            if is_same and record["status"] == 0 and (directory / "results.json").is_file():
                return directory
        return None

    @property
    def _jobs(self) -> Path:
        return self.output / "jobs"

    def _note(self, settings: Settings, method: str, reason: str) -> None:
        if reason:
            self.failures[settings, method] = reason

    def _run_one(self, settings: Settings, methods: Sequence[str]) -> str:
        """Run a job, or go on with it; returns why it failed, "" where it did not."""
        name = settings.name(methods)
        directory, log = self._jobs / name, self._jobs / f"{name}.log"
        try:
            self._jobs.mkdir(parents=True, exist_ok=True)
            arguments = settings.arguments(methods, **self._facts(settings))
            arguments += ["--output_dir", str(directory), *self._going_on(settings, directory)]
            command = [sys.executable, str(self.launchers / f"{settings.launcher}.py"), *arguments]
            print(f"paper.py: {name}", file=sys.stderr, flush=True)
            started = time.monotonic()
            status = self.process.run(command, log)
            self._record(settings, methods, name, status, time.monotonic() - started, command)
        except UserError as error:
            return str(error)
        except OSError as error:
            raise UserError(f"{error.filename or self._jobs}: {error.strerror}") from error
        if self.process.stopped_by or not status:
            return ""
        return f"{said(log)} (status {status}; all of it in {log})"

    def _facts(self, settings: Settings) -> dict[str, str]:
        """Flags for facts that have to be made."""
        if not settings.manual_prompt:
            return {}
        flags = dict(settings.flags)
        source, relation = flags["data_dir"], flags["relations"]
        place = self.output / "facts" / digest([source, relation, settings.manual_prompt])[:8]
        reword(Path(source), relation, settings.manual_prompt, place)
        return {"data_dir": str(place)}

    def _going_on(self, settings: Settings, directory: Path) -> list[str]:
        """Flags to go on with what an earlier run left; what nothing can go on from is removed."""
        if not directory.exists():
            return []
        try:
            PROGRAMS[settings.launcher].resume(directory)
        except UserError:
            shutil.rmtree(directory)
            return []
        return ["--resume_from", str(directory)]

    def _record(
        self,
        settings: Settings,
        methods: Sequence[str],
        name: str,
        status: int,
        seconds: float,
        command: Sequence[str],
    ) -> None:
        record = {
            "settings": _as_record(settings),
            "methods": list(methods),
            "status": status,
            "seconds": round(seconds, 1),
            "command": list(command),
        }
        scratch = self._jobs / f".{name}.partial"
        scratch.write_text(json.dumps(record, indent=1))
        os.replace(scratch, self._jobs / f"{name}.json")


def _as_record(settings: Settings) -> dict[str, Any]:
    return {
        "launcher": settings.launcher,
        "flags": dict(settings.flags),
        "manual_prompt": settings.manual_prompt,
    }
