"""A trials file: settings of P-tuning that are to be tried for each task.

It is TOML::

    [trials.bold]                # a trial, with the settings in which it differs
    lr = 0.01
    [trials.short]
    slots = 2                    # so many slots wherever the pattern has some
    [trials.question]
    pattern = "{text...} [P]*4 Which of these is it? [Y]"
    [trials.seldom.pattern]      # by task; other tasks keep their own
    tickets = "{title}. {body...} [P]*6 Category: [Y]"
    [grid]                       # every combination of these too
    lr = [0.001, 0.005]
    seed = [34, 35]

What was typed is always among them, as the trial "typed".
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ptune_scale.errors import UserError
from ptune_scale.flags import check_flags, flags_of, unknown_name
from ptune_scale.reading import is_texts, read_toml, shown
from ptune_scale.run.config import PromptConfig
from ptune_scale.task.pattern import Pattern
from ptune_scale.task.task import Task, Wording
from ptune_scale.train.config import TrainConfig

TYPED = "typed"

Wordings = Mapping[str, Callable[[Task], Wording]]
"""Ways to word a task that have a name, which a trial can take by it."""

# Steps, batches and evaluations are those of the job: rows of different trials are compared.
_TRAIN = ("lr", "schedule", "warmup", "weight_decay", "max_grad_norm", "seed")
_PROMPT = ("encoder", "encoder_sharing", "prompt_start")
_MOST_TRIALS = 256


@dataclass(frozen=True)
class PromptTrial:
    """Settings that are tried for every task.

    Attributes:
        name: of the trial.
        settings: those in which it differs from what was typed.
        train, prompt: what was typed, with them.
    """

    name: str
    settings: Mapping[str, Any]
    train: TrainConfig
    prompt: PromptConfig

    def worded(self, task: Task, wordings: Wordings) -> Wording:
        """How the trial asks a task.

        Raises:
            UserError: the pattern makes no sense.
        """
        wording = task.wording
        if "pattern" in self.settings and wording.pattern.spelling == "chat":
            raise UserError("the message is the chat template's: change the pattern of the task")
        if "wording" in self.settings:
            wording = wordings[self.settings["wording"]](task)
        pattern = self.settings.get("pattern", {})
        if text := pattern.get(task.name) if isinstance(pattern, Mapping) else pattern:
            wording = replace(wording, pattern=Pattern.parse(text))
        if "slots" in self.settings:
            wording = replace(wording, pattern=wording.pattern.with_slots(self.settings["slots"]))
        return wording

    @property
    def described(self) -> str:
        """The settings in a line."""
        return ", ".join(f"{key} {shown(value)}" for key, value in self.settings.items())


def read_trials(
    path: Path,
    tasks: Sequence[Task],
    train: TrainConfig,
    prompt: PromptConfig,
    wordings: Wordings,
) -> tuple[PromptTrial, ...]:
    """The trials of a file, what was typed in front.

    Args:
        train, prompt: what was typed.
        wordings: names that ``wording`` can take.

    Raises:
        UserError: the file cannot be read, a setting is unknown or of a wrong value, or a task has
            no development records to choose on.
    """
    table = read_toml(path, "trials file")
    where = f"trials file {path}"
    if unknown := sorted(table.keys() - {"trials", "grid"}):
        raise UserError(f"{where}: {unknown_name(unknown[0], ['trials', 'grid'])}")
    named: dict[str, Mapping[str, Any]] = {TYPED: {}}
    made = {
        ", ".join(f"{key} {value}" for key, value in settings.items()): settings
        for settings in _combinations(table.get("grid", {}), where)
    }
    for name, settings in (*_tables(table, "trials", where).items(), *made.items()):
        if name in named:
            raise UserError(f"{where}: trial {name!r} is there already; give it another name")
        named[name] = settings
    if not 1 < len(named) <= _MOST_TRIALS:
        raise UserError(f"{where}: it has {len(named) - 1} trials; write 1 to {_MOST_TRIALS - 1}")
    trials = tuple(
        _trial(name, settings, train, prompt, wordings, tasks, f"{where}, trial {name!r}")
        for name, settings in named.items()
    )
    for task in tasks:
        if not task.splits.dev:
            raise UserError(f"{where}: task {task.name} has no development records to choose on")
    return trials


def _tables(table: Mapping[str, Any], name: str, where: str) -> dict[str, dict[str, Any]]:
    found = table.get(name, {})
    if not isinstance(found, dict) or not all(isinstance(each, dict) for each in found.values()):
        raise UserError(f"{where}: write [{name}.NAME] and settings below it")
    return found


def _combinations(grid: Any, where: str) -> Iterator[dict[str, Any]]:
    if not isinstance(grid, dict) or not all(isinstance(v, list) and v for v in grid.values()):
        raise UserError(f"{where}: [grid] takes lists of values, as lr = [0.001, 0.005]")
    if grid:
        for values in itertools.product(*grid.values()):
            yield dict(zip(grid, values, strict=True))


def _trial(
    name: str,
    settings: Mapping[str, Any],
    train: TrainConfig,
    prompt: PromptConfig,
    wordings: Wordings,
    tasks: Sequence[Task],
    where: str,
) -> PromptTrial:
    of_train, of_prompt = flags_of(TrainConfig), flags_of(PromptConfig)
    known = (*_TRAIN, *_PROMPT, "slots", "pattern", *(["wording"] if wordings else []))
    for key, value in settings.items():
        if key not in known:
            hint = unknown_name(key, known)
            raise UserError(f"{where}: {hint}; it can set {', '.join(known)}")
        if key == "slots" and (type(value) is not int or value < 1):
            raise UserError(f"{where}: slots must be a number of 1 or more, got {shown(value)}")
        if key == "wording" and (not isinstance(value, str) or value not in wordings):
            raise UserError(f"{where}: wording {shown(value)}: choose from {', '.join(wordings)}")
        if key == "pattern" and not (isinstance(value, str) or _by_task(value, tasks)):
            names = ", ".join(task.name for task in tasks)
            raise UserError(f"{where}: pattern is a text, or a table of texts by task: {names}")
    try:
        changed = {k: of_train[k].convert(settings[k]) for k in _TRAIN if k in settings}
        train = replace(train, **changed)
        changed = {k: of_prompt[k].convert(settings[k]) for k in _PROMPT if k in settings}
        prompt = replace(prompt, **changed)
        check_flags((train, prompt))
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    return PromptTrial(name, settings, train, prompt)


def _by_task(value: Any, tasks: Sequence[Task]) -> bool:
    return is_texts(value) and value.keys() <= {task.name for task in tasks}
