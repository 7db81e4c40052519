"""LPAQA's prompts, mined and paraphrased: the best one of a relation, and all of them together.

Jiang et al. 2020, "How Can We Know What Language Models Know?" (arXiv:1911.12543). Their sentences
were collected for a BERT; which is best and how much each counts is found here on training facts
of this model. Their own weights, fitted to BERT, stand beside as ``..._file_weights``.
"""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from ptune_scale.lama.job import LamaJob
from ptune_scale.lama.methods.mixture import PromptMixture, answerable, best_prompt, fit_weights
from ptune_scale.lama.methods.wordings import LamaMethod, subject_alone
from ptune_scale.lama.reader.prepare import sample
from ptune_scale.lama.reader.published import (
    LPAQA_KINDS,
    UsablePrompts,
    WordPrompt,
    usable,
    word_pattern,
)
from ptune_scale.progress import bar
from ptune_scale.task.answers.answer import Prediction
from ptune_scale.task.answers.ranked import RankedPanel
from ptune_scale.task.asking import AskedTask
from ptune_scale.task.record import Record
from ptune_scale.task.task import Task, Wording
from ptune_scale.tune.job import MethodResult

_NAMES = ("top1", "ensemble", "file_weights")


def run(job: LamaJob) -> list[MethodResult]:
    """Score the mined prompts, then the paraphrased ones.

    Raises:
        Stopped: the job was asked to stop.
    """
    return [result for kind in LPAQA_KINDS for result in _run_kind(job, kind)]


LPAQA = LamaMethod(
    "lpaqa", run, "LPAQA's published prompts", can_be_served=False, takes_phrases=False
)


def _run_kind(job: LamaJob, kind: str) -> list[MethodResult]:
    published = job.published[kind]
    left_out = Counter(published.dropped)
    tokens = job.backbone.tokens
    asked = job.asked([subject_alone(task, job.config, tokens) for task in job.tasks])
    panel = RankedPanel({task.index: task.bound for task in asked})  # type: ignore[misc]
    prompts = [_usable_or_manual(job, t.task, published.prompts[t.task.name]) for t in asked]
    samples = [_sample(job, task, panel) for task in asked]
    answers: list[dict[str, list[Prediction]]] = [{} for _ in _NAMES]
    shown: list[dict[str, str]] = [{} for _ in _NAMES]
    total = sum(len(task.splits.test) for task in job.tasks) + sum(map(len, samples))
    with bar(f"LPAQA {kind}", total, "facts", shown=job.is_main) as progress:
        for task, chosen, facts in zip(asked, prompts, samples, strict=True):
            left_out += chosen.left_out
            name, count = task.task.name, len(chosen.patterns)
            asker = job.problem(asked).asker
            asker.prompts = torch.zeros(count, 0, job.backbone.hidden_size)

            def after_batch(rows: int, count: int = count) -> None:
                progress.update(rows / count)
                job.stop.check()

            asker.after_batch = after_batch
            mixture = PromptMixture(_asked(job, task, chosen), asker, panel, task.index)
            weights = _weights(job, mixture, facts, chosen.weights)
            for place, found in enumerate(mixture.predict(task.task.splits.test, weights)):
                answers[place][name] = found
            shown[0][name] = chosen.patterns[int(weights[0].argmax())].text
            shown[1][name] = _shares(chosen, weights[1])
    return [
        MethodResult(f"lpaqa_{kind}_{name}", description, found, wordings=words)
        for name, description, found, words in zip(
            _NAMES, _descriptions(job, kind, left_out), answers, shown, strict=True
        )
    ]


def _usable_or_manual(job: LamaJob, task: Task, texts: Sequence[WordPrompt]) -> UsablePrompts:
    found = usable(texts, job.backbone.kind, job.config.discrete.lpaqa_prompts)
    if found.patterns:
        return found
    pattern = word_pattern(task.manual["manual"].pattern.text, job.backbone.kind)
    reason = f"manual prompt instead, none of {task.name} is usable"
    return UsablePrompts([pattern], [1.0], found.left_out + Counter([reason]))


def _sample(job: LamaJob, task: AskedTask, panel: RankedPanel) -> list[Record]:
    """Training facts to choose by, of those whose answer can be found at all."""
    splits = task.task.splits
    known = answerable(panel, task.index, (*splits.train, *splits.dev))
    return sample(known, job.config.discrete.lpaqa_facts, lambda record: record.id)


def _asked(job: LamaJob, task: AskedTask, prompts: UsablePrompts) -> list[AskedTask]:
    """The relation in each of the prompts' wordings."""
    return [
        AskedTask(
            task.task,
            job.backbone.tokens,
            place,
            wording=Wording(pattern, task.wording.answer),
            context_length=task.max_length,
        )
        for place, pattern in enumerate(prompts.patterns)
    ]


def _weights(
    job: LamaJob, mixture: PromptMixture, facts: Sequence[Record], published: Sequence[float]
) -> Tensor:
    """Rows of ``_NAMES``: all on the best prompt, fitted to this model, as published; (3, K)."""
    count = len(published)
    total = sum(published)
    theirs = [w / total for w in published] if total else [1 / count] * count
    best, fitted = 0, theirs
    if facts:
        words, answers = mixture.candidates(facts)
        found = mixture.log_probabilities(facts, words)
        # Ranks may differ in the last bits, and then the first one decides for all.
        chosen = best_prompt(found, answers), fit_weights(found, answers).tolist()
        best, fitted = job.world.gather(chosen)[0]
    only_best = [float(place == best) for place in range(count)]
    return torch.tensor([only_best, fitted, theirs])


def _shares(prompts: UsablePrompts, weights: Tensor) -> str:
    """Each prompt with its weight in percent, those that round to nothing left out."""
    order = weights.argsort(descending=True, stable=True).tolist()
    parts = ((round(100 * float(weights[k])), prompts.patterns[k].text) for k in order)
    return "; ".join(f"{share} % {text}" for share, text in parts if share)


def _descriptions(job: LamaJob, kind: str, left_out: Counter[str]) -> tuple[str, str, str]:
    what = {"mine": "mined", "paraphrase": "paraphrased"}[kind]
    settings = job.config.discrete
    facts = f"{settings.lpaqa_facts or 'all'} training facts"
    bound = f", the {settings.lpaqa_prompts} heaviest" if settings.lpaqa_prompts else ""
    counts = ", ".join(f"{n} x {why}" for why, n in sorted(left_out.items()))
    asked = f"LPAQA's {what} prompts of a relation{bound}"
    return (
        f"of {asked}, the one that answers most of {facts}; left out: {counts or 'none'}",
        f"{asked} together, weighted for the likelihood of {facts}",
        f"{asked} together, with their published weights, which were fitted to BERT",
    )
