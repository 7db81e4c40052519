"""LPAQA's prompts, mined and paraphrased: the best one of a relation, and all of them together.

Jiang et al. 2020, "How Can We Know What Language Models Know?" (arXiv:1911.12543). Their sentences
were collected for a BERT; which is best and how much each counts is found here on training facts
of this model. Their own weights, fitted to BERT, stand beside as ``..._file_weights``.
"""

from collections import Counter
from pathlib import Path

import torch
from torch import Tensor

from ptune_scale.data.prepare import LabelledFact, PreparedRelation, sample
from ptune_scale.data.prompts import (
    LPAQA_KINDS,
    UsablePrompts,
    WordPrompt,
    prompts_directory,
    read_lpaqa,
    usable,
)
from ptune_scale.job import Job
from ptune_scale.methods.manual import manual_template
from ptune_scale.methods.result import MethodResult
from ptune_scale.mixture import PromptMixture, fit_weights
from ptune_scale.progress import bar

_NAMES = ("top1", "ensemble", "file_weights")


def run(job: Job) -> list[MethodResult]:
    """Score the mined prompts, then the paraphrased ones.

    Raises:
        Stopped: the job was asked to stop.
        UserError: prompts are missing or cannot be read.
    """
    config = job.config
    directory = prompts_directory(config.data.data_dir, config.discrete.prompts_dir)
    return [result for kind in LPAQA_KINDS for result in _run_kind(job, directory, kind)]


def _run_kind(job: Job, directory: Path, kind: str) -> list[MethodResult]:
    relations = job.facts.relations
    left_out: Counter[str] = Counter()
    names = [relation.id for relation in relations]
    texts = read_lpaqa(directory, kind, names, job.config.data.on_bad_record, left_out)
    asked = [_usable_or_manual(job, relation, texts[relation.id]) for relation in relations]
    samples = [_sample(job, index) for index in range(len(relations))]
    total = sum(len(relation.test) for relation in relations) + sum(map(len, samples))
    ranks: list[Tensor] = []
    best: dict[str, str] = {}
    mixed: dict[str, str] = {}
    with bar(f"LPAQA {kind}", total, "facts", shown=job.is_main) as progress:

        def after_batch(facts: int) -> None:
            progress.update(facts)
            job.stop.check()

        for index, (relation, prompts) in enumerate(zip(relations, asked, strict=True)):
            left_out += prompts.left_out
            mixture = PromptMixture(
                job.function,
                prompts.templates,
                job.tokens,
                job.backbone.hidden_size,
                batch_size=job.config.train.eval_batch_size,
                batch_tokens=job.config.train.eval_batch_tokens,
                after_batch=after_batch,
            )
            weights = _weights(job, mixture, index, samples[index], prompts.weights)
            ranks.append(mixture.ranks(relation.test, weights, job.candidates, index))
            best[relation.id] = prompts.templates[int(weights[0].argmax())].pattern
            mixed[relation.id] = _shares(prompts, weights[1])
    descriptions = _descriptions(job, kind, left_out)
    by_weighting = torch.cat(ranks).unbind(1)
    shown = (best, mixed, {})
    return [
        MethodResult(f"lpaqa_{kind}_{name}", description, part, prompts)
        for name, description, part, prompts in zip(
            _NAMES, descriptions, by_weighting, shown, strict=True
        )
    ]


def _usable_or_manual(
    job: Job, relation: PreparedRelation, texts: list[WordPrompt]
) -> UsablePrompts:
    found = usable(texts, job.tokens.kind, job.config.discrete.lpaqa_prompts)
    if found.templates:
        return found
    manual = manual_template(relation, job.tokens.kind)
    reason = f"manual prompt instead, none of {relation.id} is usable"
    return UsablePrompts((manual,), (1.0,), found.left_out + Counter([reason]))


def _sample(job: Job, index: int) -> list[LabelledFact]:
    """Training facts to choose by, of those whose answer can be found at all."""
    relation, name = job.facts.relations[index], job.candidates.names[0]
    known = [
        fact
        for fact in (*relation.train, *relation.dev)
        if job.candidates.contains(name, index, fact.label)
    ]
    return sample(known, job.config.discrete.lpaqa_facts)


def _weights(
    job: Job,
    mixture: PromptMixture,
    index: int,
    facts: list[LabelledFact],
    published: tuple[float, ...],
) -> Tensor:
    """Rows of ``_NAMES``: all on the best prompt, fitted to this model, as published; (3, K)."""
    count = len(published)
    total = sum(published)
    theirs = [w / total for w in published] if total else [1 / count] * count
    best, fitted = 0, theirs
    if facts:
        words = job.candidates.tokens(job.candidates.names[0], index)
        answers = torch.searchsorted(words, torch.tensor([fact.label for fact in facts]))
        found = mixture.log_probabilities(facts, words)
        best = best_prompt(found, answers)
        # Ranks may differ in the last bits, and then the first one decides for all.
        fitted = job.function.world.gather(fit_weights(found, answers).tolist())[0]
    only_best = [float(place == best) for place in range(count)]
    return torch.tensor([only_best, fitted, theirs])


def best_prompt(log_probabilities: Tensor, answers: Tensor) -> int:
    """The prompt with the most right answers; of several, the one that thinks them likeliest.

    Args:
        log_probabilities: (F, K, C), of the words that answers are looked for among.
        answers: (F,) int64, places of the right ones.
    """
    right = (log_probabilities.argmax(-1) == answers[:, None]).sum(0)
    places = answers[:, None, None].expand(-1, log_probabilities.shape[1], 1)
    likelihood = log_probabilities.log_softmax(-1).gather(2, places).mean((0, 2))
    return max(range(len(right)), key=lambda k: (int(right[k]), float(likelihood[k])))


def _shares(prompts: UsablePrompts, weights: Tensor) -> str:
    """Each prompt with its weight in percent, those that round to nothing left out."""
    order = weights.argsort(descending=True, stable=True).tolist()
    parts = ((round(100 * float(weights[k])), prompts.templates[k].pattern) for k in order)
    return "; ".join(f"{share} % {text}" for share, text in parts if share)


def _descriptions(job: Job, kind: str, left_out: Counter[str]) -> tuple[str, str, str]:
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
