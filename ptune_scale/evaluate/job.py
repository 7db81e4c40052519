"""An evaluating run: what is wrong is found before any weight is loaded; then it is measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptune_scale.errors import UserError
from ptune_scale.evaluate import own
from ptune_scale.evaluate.config import EvalConfig
from ptune_scale.files import write_json
from ptune_scale.flags import names_in
from ptune_scale.parallel import Degrees
from ptune_scale.run.site import Site
from ptune_scale.run.speed import Planned
from ptune_scale.task.answers.answer import Question
from ptune_scale.tune.opened import OpenedPrompt, open_prompt
from ptune_scale.use.formats.format import check_package
from ptune_scale.use.prompt import TunedPrompt

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager


@dataclass(frozen=True)
class CheckedEval:
    """What a run needs: nothing is read or opened twice.

    Attributes:
        questions: about the records of ``--input``, if any.
        metrics: of each row of P that they ask.
        manager: the harness's tasks, if any are asked.
    """

    config: EvalConfig
    opened: OpenedPrompt
    questions: list[Question]
    metrics: dict[int, tuple[str, ...]]
    manager: "TaskManager | None"

    @property
    def degrees(self) -> Degrees:
        return self.opened.degrees


def check(config: EvalConfig) -> CheckedEval:
    """Everything that can be found wrong before ranks meet or a weight is loaded.

    Raises:
        UserError: the first thing that is wrong.
    """
    asked = config.measure
    if not asked.prompt:
        raise UserError("--prompt is needed; see --help")
    if asked.output and Path(asked.output).exists():
        raise UserError(f"--output {asked.output} is there already; remove it or choose another")
    manager = None
    if asked.harness:
        check_package("--harness", "lm_eval", "lm-eval")
        manager = _tasks_of(config)
    opened = open_prompt(asked.prompt, config.use, config.parallel, config.served)
    if asked.task:
        opened.export.row(asked.task)
    questions: list[Question] = []
    metrics: dict[int, tuple[str, ...]] = {}
    if asked.input:
        prompt = TunedPrompt(opened.export, opened.backbone)
        questions = own.read_questions(prompt, asked.input, asked.task, asked.limit)
        metrics = own.chosen_metrics(prompt, names_in(asked.metrics), questions)
    return CheckedEval(config, opened, questions, metrics, manager)


def _tasks_of(config: EvalConfig) -> "TaskManager":
    from ptune_scale.evaluate.harness_run import open_tasks

    asked = config.measure
    given = {"prompt": asked.prompt, "task": asked.task, "data_dir": asked.data_dir}
    return open_tasks(config.harness_tasks, {key: value for key, value in given.items() if value})


def run(checked: CheckedEval, site: Site) -> None:
    """Measure, on all ranks.

    Raises:
        UserError: a task of the harness cannot be asked, or a file cannot be written.
        Stopped: the job was asked to stop.
    """
    config, asked = checked.config, checked.config.measure
    prompt = checked.opened.lay_out(
        config.use,
        config.parallel,
        site,
        (lambda: _planned(checked)) if checked.questions else None,
        Path(asked.output).parent,
    )
    results: dict[str, Any] = {"prompt": asked.prompt, "model": checked.opened.backbone.name}
    tables = []
    if checked.questions:
        results["tasks"] = own.measure(prompt, checked.questions, checked.metrics)
        tables.append(own.table(results["tasks"]))
        tables.append("Percent, but for perplexity; in brackets the 95 % confidence interval.")
    if checked.manager is not None:
        from ptune_scale.evaluate.harness import PtuneLM
        from ptune_scale.evaluate.harness_run import run_tasks

        lm = PtuneLM(prompt, asked.task)
        names: Sequence[str] = config.harness_tasks
        results["harness"], table = run_tasks(lm, names, checked.manager, asked.limit)
        tables.append(table)

    def tell() -> None:
        if asked.output:
            write_json(Path(asked.output), results)
        print("\n".join(tables))

    site.world.on_main(tell)


def _planned(checked: CheckedEval) -> Planned:
    rows = [row for question in checked.questions for row in question.rows]
    tokens = sum(len(row.ids) for row in rows)
    slots = checked.opened.export.prompts.shape[1]
    size = checked.config.use.batch_size
    return Planned(rows[:size], num_slots=slots, trained=0, asked=tokens)
