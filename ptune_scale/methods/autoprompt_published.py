"""AutoPrompt's published prompts, as they are: words found for BERT or RoBERTa, not this model.

Shin et al. 2020, "AutoPrompt: Eliciting Knowledge from Language Models with Automatically Generated
Prompts" (arXiv:2010.15980). Words for this model are searched for in ``autoprompt``.
"""

from ptune_scale.data.prepare import fill
from ptune_scale.data.prompts import prompts_directory, read_autoprompt, word_template
from ptune_scale.errors import UserError
from ptune_scale.job import Job
from ptune_scale.methods.manual import manual_template
from ptune_scale.methods.result import MethodResult
from ptune_scale.template import Template


def run_bert(job: Job) -> list[MethodResult]:
    """Score the prompts found for BERT."""
    return _run(job, "bert")


def run_roberta(job: Job) -> list[MethodResult]:
    """Score the prompts found for RoBERTa."""
    return _run(job, "roberta")


def _run(job: Job, model: str) -> list[MethodResult]:
    data, relations = job.config.data, job.facts.relations
    directory = prompts_directory(data.data_dir, job.config.discrete.prompts_dir)
    names = [relation.id for relation in relations]
    texts = read_autoprompt(directory, model, names, data.on_bad_record)
    templates: dict[str, Template] = {}
    unusable = []
    for relation in relations:
        try:
            template = word_template(texts[relation.id].text, job.tokens.kind)
        except UserError:
            unusable.append(relation.id)
            template = manual_template(relation, job.tokens.kind)
        templates[relation.id] = template
    examples = [
        example
        for index, relation in enumerate(relations)
        for example in fill(index, relation.test, templates[relation.id], job.tokens)
    ]
    name = f"autoprompt_{model}"
    ranks = job.rank(examples, job.no_prompts, name)[:, 0]
    description = f"AutoPrompt's published words, found for another model ({model})"
    if unusable:
        description += f"; unusable, so the manual prompt instead: {', '.join(unusable)}"
    prompts = {relation: template.pattern for relation, template in templates.items()}
    return [MethodResult(name, description, ranks, prompts)]
