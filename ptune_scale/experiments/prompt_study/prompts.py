"""The prompts of a study: where they come from, and how files of them are read."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ptune_scale.errors import UserError
from ptune_scale.experiments.paper.rows import PaperRow, rows
from ptune_scale.lama.reader.published import LPAQA_KINDS, read_lpaqa, word_pattern
from ptune_scale.reading import has_file, read_text
from ptune_scale.strict_json import parse_json
from ptune_scale.task.answers.words import Words
from ptune_scale.task.pattern import Kind, Pattern
from ptune_scale.task.task import Task, Wording


@dataclass(frozen=True)
class StudyPrompt:
    """A prompt: how it is asked, as it was written, and by whom.

    Attributes:
        paper: what Liu et al. 2021 report of it, in percent: "small" and "full", as far as they do.
    """

    wording: Wording
    text: str
    source: str
    paper: Mapping[str, float] = field(default_factory=dict)


def of_relation(
    task: Task, kind: Kind, data_dir: Path, prompts: str
) -> Iterator[StudyPrompt | str]:
    """The prompts of a relation, and why others cannot be used by a kind of model.

    Args:
        prompts: a file with all of them, or "paper"; "" for the published ones that are at hand.

    Raises:
        UserError: a file cannot be read; a bad line is named.
    """
    numbers = {row.prompt: {"full": row.paper[task.name]} for row in papers_rows(task.name)}
    found = [(text, "paper") for text in numbers]
    if prompts and prompts != "paper":
        path = Path(prompts)
        lines = _lines(path, "template")
        found = [(value["template"], f"{path.name}:{number}") for number, value in lines]
    elif not prompts:
        found += [(wording.pattern.text, "LAMA") for wording in list(task.manual.values())[:1]]
        for name in LPAQA_KINDS:
            if has_file(data_dir / "prompts" / "lpaqa" / name / f"{task.name}.jsonl"):
                published = read_lpaqa(data_dir / "prompts", name, [task.name]).prompts[task.name]
                heaviest = sorted(published, key=lambda prompt: -prompt.weight)
                found += [(prompt.text, f"LPAQA {name}") for prompt in heaviest]
    for text, source in found:
        try:
            wording = Wording(word_pattern(text, kind), task.wording.answer)
            yield StudyPrompt(wording, text, source, numbers.get(text, {}))
        except UserError as error:
            yield str(error).partition(f"{text!r}: ")[2]


def of_task(task: Task, patterns: str) -> dict[str, StudyPrompt]:
    """The built-in patterns of a task and those of a file, by name.

    Raises:
        UserError: the file cannot be read; a bad line is named.
    """
    wordings = {name: (wording, "built in") for name, wording in task.manual.items()}
    for number, value in _lines(Path(patterns), "pattern") if patterns else ():
        try:
            wording = _wording(task, value)
        except UserError as error:
            raise UserError(f"{patterns}:{number}: {error}") from error
        wordings[f"manual_{Path(patterns).stem}_{number}"] = (wording, Path(patterns).name)
    numbers = {
        row.prompt: {"small": row.paper[f"{task.name} dev32"], "full": row.paper[task.name]}
        for row in papers_rows(task.name)
    }
    found = {}
    for name, (wording, source) in wordings.items():
        text = wording.pattern.text
        if isinstance(wording.answer, Words):
            text += f" ({'/'.join('|'.join(words) for words in wording.answer.words.values())})"
        found[name] = StudyPrompt(wording, text, source, numbers.get(name, {}))
    return found


def papers_rows(subject: str) -> list[PaperRow]:
    """Rows of the paper that are about one prompt of a relation or of a task."""
    return [row for row in rows().values() if row.prompt and subject in row.paper]


def _wording(task: Task, value: Mapping[str, Any]) -> Wording:
    answer, words = task.wording.answer, value.get("words")
    if words is not None:
        labels = answer.labels if isinstance(answer, Words) else ()
        good = isinstance(words, dict) and all(isinstance(w, str) and w for w in words.values())
        if not good or set(words) != set(labels):
            raise UserError(f"'words' must have a word for {', '.join(labels) or 'no label'}")
        answer = Words({label: (words[label],) for label in labels}) if labels else answer
    pattern = Pattern.parse(value["pattern"])
    pattern.check_fields(list(task.splits.train[0].fields), f"a record of {task.name}")
    if pattern.num_slots:
        raise UserError(f"pattern {pattern.text!r}: a manual pattern has no prompt slots [P]")
    return Wording(pattern, answer)


def _lines(path: Path, key: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number, object with a text at ``key``) of each line that is not blank."""
    lines = read_text(path, f"file of {key}s").splitlines()
    if not any(map(str.strip, lines)):
        raise UserError(f"{path} holds no {key}s")
    for number, line in enumerate(map(str.strip, lines), start=1):
        # A pattern may begin with a brace, too: "{premise...} ...".
        try:
            value = parse_json(line.encode()) if line.startswith('{"') else {key: line}
        except ValueError as error:
            raise UserError(f"{path}:{number}: bad record: {error}") from error
        if line and not (isinstance(value.get(key), str) and value[key].strip()):
            raise UserError(f"{path}:{number}: bad record: {key!r} is missing or not a text")
        if line:
            yield number, value
