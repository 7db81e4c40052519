"""AutoPrompt on this very model: words searched for by gradients, relation by relation.

Shin et al. 2020 (arXiv:2010.15980), fact retrieval: the subject, a few searched words, the target.
What is found goes to ``autoprompt/prompts.jsonl`` under the output directory, in the form in which
``data.prompts`` reads published ones. A run that is stopped goes on with the relation it was at.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ptune_scale.data.batch import Example
from ptune_scale.data.facts import digest
from ptune_scale.data.prepare import LabelledFact, fill
from ptune_scale.job import Job
from ptune_scale.methods.by_relation import DoneRelations
from ptune_scale.methods.result import MethodResult
from ptune_scale.progress import bar
from ptune_scale.template import Template
from ptune_scale.tokenization import Kind
from ptune_scale.trigger_search import (
    Found,
    SearchSettings,
    TriggerSearch,
    allowed_words,
    first_words,
    with_words,
)

NAME = "autoprompt"


def run(job: Job) -> list[MethodResult]:
    """Search (or go on searching), write what was found, and score it on the test facts.

    Raises:
        Stopped: the job was asked to stop; relations that are done are kept.
        UserError: the checkpoint is of another run.
    """
    return _Method(job).run()


def slots_template(kind: Kind, count: int) -> Template:
    """The subject, slots for so many words, the target; a masked model gets a full stop."""
    return Template.parse(f"[X] [P]*{count} [Y]" + (" ." if kind == "masked" else ""))


class _Method:
    def __init__(self, job: Job) -> None:
        self.job = job
        settings = job.config.discrete
        self.num_words = settings.autoprompt_words
        self.template = slots_template(job.tokens.kind, self.num_words)
        self.settings = SearchSettings(
            steps=settings.autoprompt_steps,
            candidates=settings.autoprompt_candidates,
            facts=settings.autoprompt_facts,
            seed=job.config.train.seed,
        )
        relations = job.facts.relations
        self.train, self.dev, self.test = (
            [self._examples(i, getattr(r, part)) for i, r in enumerate(relations)]
            for part in ("train", "dev", "test")
        )
        examples = [
            (e.ids, e.targets, e.label)
            for part in (self.train, self.dev)
            for relation in part
            for e in relation
        ]
        self.identity = job.identity | {
            "method": NAME,
            "examples": digest(examples),
            **{k: v for k, v in vars(settings).items() if k.startswith("autoprompt_")},
        }

    def _examples(self, index: int, facts: Sequence[LabelledFact]) -> list[Example]:
        return fill(index, facts, self.template, self.job.tokens)

    def run(self) -> list[MethodResult]:
        relations = self.job.facts.relations
        allowed = allowed_words(self.job.tokens, self.job.backbone.embeddings.size)
        done = DoneRelations(self.job, NAME, self.identity)
        total = len(relations) * self.settings.steps
        with bar("AutoPrompt", total, "steps", shown=self.job.is_main) as progress:
            for index, relation in enumerate(relations):
                progress.set_postfix(relation=relation.id)
                if relation.id in done:
                    progress.update(self.settings.steps)
                    continue
                found = self._search(index, allowed, progress)
                done.keep(relation.id, vars(found))
        found = [Found(**done[relation.id]) for relation in relations]
        self.job.function.world.on_main(lambda: self._write(found))
        examples = [
            with_words(example, one.words)
            for one, part in zip(found, self.test, strict=True)
            for example in part
        ]
        ranks = self.job.rank(examples, self.job.no_prompts, "AutoPrompt, test")[:, 0]
        prompts = {r.id: self._text(one.words) for r, one in zip(relations, found, strict=True)}
        description = (
            f"{self.num_words} words searched for on this model, {self.settings.steps} steps "
            "(AutoPrompt)"
        )
        return [MethodResult(NAME, description, ranks, prompts)]

    def _search(self, index: int, allowed: Tensor, progress: Any) -> Found:
        job, relation = self.job, self.job.facts.relations[index]
        without_answers = allowed.clone()
        without_answers[torch.tensor(relation.train_objects)] = False

        def after_step() -> None:
            progress.update(1)
            job.stop.check()

        search = TriggerSearch(
            job.function,
            job.backbone.embeddings,
            relation.id,
            self.train[index],
            self.dev[index],
            without_answers,
            self.settings,
            batch_size=job.config.train.eval_batch_size,
            pad=job.tokens.placeholder,
        )
        return search.run(first_words(job.tokens, self.num_words), after_step)

    def _text(self, words: Sequence[int]) -> str:
        """The prompt as a reader would write it; its text may be cut into other tokens again."""
        behind = self.template.text_after_target
        text = f"[X]{self.job.tokens.text_after(words)} [Y]"
        return f"{text} {behind}" if behind else text

    @property
    def _directory(self) -> Path:
        return self.job.output_dir / NAME

    def _write(self, found: Sequence[Found]) -> None:
        lines = [
            {
                "relation": relation.id,
                "template": self._text(one.words),
                "tokens": list(one.words),
                "dev_loss": one.loss,
                "first_dev_loss": one.first_loss,
            }
            for relation, one in zip(self.job.facts.relations, found, strict=True)
        ]
        scratch = self._directory / ".prompts.jsonl.partial"
        scratch.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_text("".join(json.dumps(line) + "\n" for line in lines))
        os.replace(scratch, self._directory / "prompts.jsonl")
