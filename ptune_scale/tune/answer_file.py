"""Answers to the records of a file, chunk by chunk, so that a stopped run goes on where it was."""

import contextlib
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, Self

from filelock import FileLock

from ptune_scale.errors import UserError
from ptune_scale.files import cannot_write, hold, write_json
from ptune_scale.parallel import Degrees
from ptune_scale.parallel.launch import relaunch as launch
from ptune_scale.progress import bar
from ptune_scale.reading import has_file, is_texts, read_object
from ptune_scale.run.site import Site
from ptune_scale.run.speed import Planned
from ptune_scale.task.answers.answer import Prediction, Question
from ptune_scale.task.files import RawRow, bad_record, count_rows, digest_file, read_rows
from ptune_scale.tune.config import PredictConfig
from ptune_scale.tune.opened import OpenedPrompt, open_prompt
from ptune_scale.use.export import PromptExport
from ptune_scale.use.prompt import TunedPrompt

_ADDED = ("answer", "score", "scores")
"""What each record gets."""


@dataclass(frozen=True)
class CheckedAnswers:
    """What a run needs.

    Attributes:
        begun: what an earlier run left unfinished.
    """

    config: PredictConfig
    opened: OpenedPrompt
    output: Path
    begun: "Begun"

    @property
    def degrees(self) -> Degrees:
        return self.opened.degrees


@dataclass
class Begun:
    """How far the answers to a file are; kept beside them until they are complete.

    Attributes:
        identity: what prompt and which records they are of.
        rows: records that were read.
        bytes: of their answers.
        dropped: records that were left out, by reason.
    """

    identity: dict[str, str]
    rows: int = 0
    bytes: int = 0
    dropped: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what was kept.

        Raises:
            UserError: it cannot be read, or is not as it was written.
        """
        kept = read_object(path, "--output")
        dropped = kept.get("dropped")
        counts = [kept.get("rows"), kept.get("bytes")]
        counts += dropped.values() if isinstance(dropped, dict) else [None]
        known = kept.keys() == {each.name for each in fields(cls)}
        if not known or not is_texts(kept["identity"]) or not all(map(_is_count, counts)):
            raise UserError(f"--output {path} is not as it was written; remove it to begin anew")
        return cls(**kept)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def check(config: PredictConfig) -> CheckedAnswers:
    """Everything that can be found wrong before ranks meet or anything is written.

    Raises:
        UserError: the first thing that is wrong.
    """
    asked, use = config.answer, config.use
    missing = [name for name in ("prompt", "input", "output") if not getattr(asked, name)]
    if missing:
        raise UserError(f"--{missing[0]} is needed; see --help")
    opened = open_prompt(asked.prompt, use, config.parallel, config.served)
    export = opened.export
    if asked.task:
        export.row(asked.task)
    first = next(read_rows(asked.input, on_bad_record=asked.on_bad_record), None)
    if first is None:
        raise UserError(f"--input {asked.input} holds no records")
    count_rows(asked.input)  # what is wrong with the file as a whole is found here
    if asked.on_bad_record == "stop":
        # None of the weights is loaded for this.
        _question(TunedPrompt(export, opened.backbone), first, 0, asked.task, Random(0))
    output = Path(asked.output)
    if output.suffix not in (".jsonl", ".ndjson"):
        raise UserError(f"--output {output}: answers are JSON lines; name it *.jsonl")
    identity = {
        "prompt": export.digest,
        "input": digest_file(asked.input),
        "task": asked.task,
        "dtype": str(opened.backbone.dtype).removeprefix("torch."),
        "on_bad_record": asked.on_bad_record,
    }
    return CheckedAnswers(config, opened, output, _begun(output, identity))


def _progress_file(output: Path) -> Path:
    return output.with_name(f".{output.name}.unfinished")


def _begun(output: Path, identity: dict[str, str]) -> Begun:
    """How far an earlier run came with the same answers.

    Raises:
        UserError: there is something else of that name.
    """
    path = _progress_file(output)
    if os.path.isdir(output):
        raise UserError(f"--output {output} is a directory; name a file")
    if not has_file(path):
        if os.path.lexists(output) and launch.is_first_rank():
            raise UserError(f"--output {output} is there already; remove it or choose another")
        return Begun(identity)
    begun = Begun.read(path)
    whole = has_file(output) and output.stat().st_size >= begun.bytes
    precision = begun.identity.get("dtype")
    if whole and begun.identity == {**identity, "dtype": precision} != identity:
        raise UserError(
            f"--output {output}: its answers were begun in {precision}; go on with --dtype "
            f"{precision}, or, where the model is served, with a server that was started with it"
        )
    if begun.identity != identity or not whole:
        raise UserError(
            f"--output {output} holds the unfinished answers of another prompt or input; remove it "
            f"and {path}, or choose another"
        )
    return begun


def run(checked: CheckedAnswers, site: Site) -> None:
    """Answer all records that are not answered yet, on all ranks.

    Raises:
        UserError: a record is unusable, or answers cannot be written; those before it are kept.
        Stopped: the job was asked to stop; the chunks before it are kept.
    """
    config, world = checked.config, site.world
    prompt = checked.opened.lay_out(
        config.use, config.parallel, site, lambda: _planned(checked), checked.output.parent
    )
    has_cache = prompt.function.has_cache
    if world.is_main and not has_cache and _writes_texts(prompt.export):
        print(
            f"layout {site.mesh.degrees.name}: texts are written without a cache of keys and "
            "values, each token by a whole forward pass",
            file=sys.stderr,
        )
    lock = FileLock(checked.output.with_name(f".{checked.output.name}.lock"))
    # What the first rank finds under the lock decides for all.
    begun = world.together(lambda: _claim(checked, lock) if world.is_main else None)[0]
    assert begun is not None
    dropped = Counter[str](begun.dropped)
    total = count_rows(config.answer.input)
    with bar("answers", total, "records", shown=world.is_main, initial=begun.rows) as progress:
        for rows, questions in _chunks(prompt, config, begun.rows, dropped):
            found = prompt.answers([question for _, question in questions])
            pairs = [(row, each) for (row, _), each in zip(questions, found, strict=True)]
            begun.rows += rows
            begun.dropped = dict(dropped)

            def keep(pairs: list[tuple[RawRow, Prediction]] = pairs) -> None:
                _append(checked.output, pairs, begun)

            world.on_main(keep)
            progress.update(rows)
    world.on_main(lambda: _finish(checked.output, lock, begun, dropped))


def _writes_texts(export: PromptExport) -> bool:
    return any(task.wording.answer.kind == "text" for task in export.tasks)


def _planned(checked: CheckedAnswers) -> Planned:
    """What is to be computed, by the records that come first."""
    config = checked.config
    prompt = TunedPrompt(checked.opened.export, checked.opened.backbone)
    _, asked = next(_chunks(prompt, config, checked.begun.rows, Counter()), (0, []))
    rows = [row for _, question in asked for row in question.rows]
    left = (count_rows(config.answer.input) or len(asked)) - checked.begun.rows
    tokens = sum(len(row.ids) for row in rows) * left // max(1, len(asked))
    size = config.use.batch_size
    return Planned(rows[:size], num_slots=prompt.export.prompts.shape[1], trained=0, asked=tokens)


def _chunks(
    prompt: TunedPrompt, config: PredictConfig, skip: int, dropped: Counter[str]
) -> Iterator[tuple[int, list[tuple[RawRow, Question]]]]:
    """Chunks of rows: how many were read, and those that can be asked.

    Raises:
        UserError: a row is unusable, and ``on_bad_record`` is "stop".
    """
    asked = config.answer
    chance = Random(0)
    read = read_rows(asked.input, on_bad_record=asked.on_bad_record, dropped=dropped)
    rows = islice(enumerate(read), skip, None)
    while chunk := list(islice(rows, config.answer.chunk)):
        usable = []
        for number, row in chunk:
            try:
                usable.append((row, _question(prompt, row, number, asked.task, chance)))
            except UserError as error:
                if asked.on_bad_record == "stop":
                    raise
                bad_record(row.source, str(error), asked.on_bad_record, dropped)
        yield len(chunk), usable


def _question(prompt: TunedPrompt, row: RawRow, number: int, task: str, chance: Random) -> Question:
    try:
        index = prompt.row_of(row.values, task or None)
    except UserError as error:
        raise UserError(f"{row.source}: {error}") from error
    record = prompt.read(row, number, index)
    return prompt.tasks[index].bound.question(record, "evaluate", chance)


def _append(output: Path, pairs: Sequence[tuple[RawRow, Prediction]], begun: Begun) -> None:
    """Write answers behind those that are there, then how far they are.

    Raises:
        UserError: they cannot be written.
    """
    lines = "".join(
        f"{json.dumps(_line(row, found), ensure_ascii=False)}\n" for row, found in pairs
    )
    try:
        with output.open("r+b") as stream:
            stream.seek(begun.bytes)
            stream.truncate()
            stream.write(lines.encode())
            stream.flush()
            os.fsync(stream.fileno())
            begun.bytes = stream.tell()
    except OSError as error:
        raise cannot_write(output, error) from error
    write_json(_progress_file(output), asdict(begun))


def _line(row: RawRow, found: Prediction) -> dict[str, Any]:
    added: dict[str, Any] = {"answer": found.answer, "score": found.score}
    if found.scores is not None:
        added["scores"] = dict(found.scores)
    # What the input calls so is kept under another name.
    kept = {f"given_{n}" if n in _ADDED else n: value for n, value in row.values.items()}
    return {**kept, **added}


def _claim(checked: CheckedAnswers, lock: FileLock) -> Begun:
    output = checked.output
    hold(lock, f"--output {output}")
    begun = _begun(output, checked.begun.identity)
    try:
        # Not through a link that somebody put there.
        os.close(os.open(output, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, 0o666))
    except OSError as error:
        raise UserError(f"--output {cannot_write(output, error)}") from error
    write_json(_progress_file(output), asdict(begun))
    return begun


def _finish(output: Path, lock: FileLock, begun: Begun, dropped: Counter[str]) -> None:
    _progress_file(output).unlink(missing_ok=True)
    lock.release()
    with contextlib.suppress(OSError):
        Path(lock.lock_file).unlink()
    for why, count in dropped.items():
        print(f"skipped {count} x {why}", file=sys.stderr)
    print(f"{begun.rows - dropped.total()} records answered in {output}")
