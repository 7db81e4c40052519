"""AutoPrompt on this very model: words searched for by gradients, relation by relation.

Shin et al. 2020 (arXiv:2010.15980), fact retrieval: the subject, a few searched words, the target.
What is found goes to ``autoprompt/prompts.jsonl`` under the output directory. A run that is stopped
goes on with the relation it was at.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from ptune_scale.files import write_text
from ptune_scale.lama.job import LamaJob
from ptune_scale.lama.methods.done import DoneRelations
from ptune_scale.lama.methods.trigger_search import (
    Found,
    TriggerSearch,
    allowed_words,
    first_words,
    with_words,
)
from ptune_scale.lama.methods.wordings import LamaMethod, searched
from ptune_scale.progress import bar
from ptune_scale.task.answers.answer import Question
from ptune_scale.task.asking import AskedTask
from ptune_scale.tune.job import MethodResult

NAME = "autoprompt"


def run(job: LamaJob) -> list[MethodResult]:
    """Search (or go on searching), write what was found, and score it on the test facts.

    Raises:
        Stopped: the job was asked to stop; relations that are done are kept.
        UserError: the checkpoint is of another run.
    """
    return _Method(job).run()


AUTOPROMPT = LamaMethod(
    "autoprompt", run, "words searched for", worded=searched, takes_phrases=False
)


class _Method:
    def __init__(self, job: LamaJob) -> None:
        self.job = job
        self.tokens = job.backbone.tokens
        self.settings = job.config.discrete
        self.asked = job.asked([searched(task, job.config, self.tokens) for task in job.tasks])
        settings = asdict(self.settings)
        own = {k: v for k, v in settings.items() if k.startswith("autoprompt_")}
        self.identity = job.identity(NAME, self.asked) | own

    def run(self) -> list[MethodResult]:
        allowed = allowed_words(self.tokens, self.job.backbone.embeddings.size)
        done = DoneRelations(self.job, NAME, self.identity)
        total = len(self.asked) * self.settings.autoprompt_steps
        with bar("AutoPrompt", total, "steps", shown=self.job.is_main) as progress:
            for task in self.asked:
                progress.set_postfix(relation=task.task.name)
                if task.task.name in done:
                    progress.update(self.settings.autoprompt_steps)
                    continue
                done.keep(task.task.name, asdict(self._search(task, allowed, progress)))
        found = {task.task.name: Found(**done[task.task.name]) for task in self.asked}
        self.job.world.on_main(lambda: self._write(found))
        predictions = self.job.answers(
            self.asked,
            self.job.no_prompts,
            "AutoPrompt, test",
            part=lambda task: _with_words(task.test, found[task.task.name].words),
        )
        prompts = {name: self._text(one.words) for name, one in found.items()}
        description = (
            f"{self.settings.autoprompt_words} words searched for on this model, "
            f"{self.settings.autoprompt_steps} steps (AutoPrompt)"
        )
        return [MethodResult(NAME, description, predictions, wordings=prompts)]

    def _search(self, task: AskedTask, allowed: Tensor, progress: Any) -> Found:
        job, splits = self.job, task.task.splits
        answers = {record.answer or "" for record in (*splits.train, *splits.dev)}
        without_answers = allowed.clone()
        without_answers[torch.tensor(self.tokens.word_tokens(answers))] = False

        def after_step() -> None:
            progress.update(1)
            job.stop.check()

        search = TriggerSearch(
            job.function,
            job.backbone.embeddings,
            task.task.name,
            [question.rows[0] for question in task.learn],
            [question.rows[0] for question in task.dev],
            without_answers,
            self.settings,
            seed=job.config.train.seed,
            batch_size=job.config.train.eval_batch_size,
        )
        return search.run(first_words(self.tokens, self.settings.autoprompt_words), after_step)

    def _text(self, words: Sequence[int]) -> str:
        """The prompt as a reader would write it; its text may be cut into other tokens again."""
        behind = " ." if self.tokens.kind == "masked" else ""
        return f"[X]{self.tokens.text_after(words)} [Y]{behind}"

    def _write(self, found: dict[str, Found]) -> None:
        lines = [
            {
                "relation": name,
                "template": self._text(one.words),
                "tokens": list(one.words),
                "dev_loss": one.loss,
                "first_dev_loss": one.first_loss,
            }
            for name, one in found.items()
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        write_text(self.job.output / NAME / "prompts.jsonl", text)


def _with_words(questions: Sequence[Question], words: Sequence[int]) -> list[Question]:
    """Questions whose slots are filled with words."""
    return [replace(each, rows=(with_words(each.rows[0], words),)) for each in questions]
