"""The manual prompt: the relation's hand-written sentence, asked as it is."""

from ptune_scale.data.batch import Example
from ptune_scale.data.prepare import LabelledFact, PreparedRelation
from ptune_scale.job import Job
from ptune_scale.methods.result import MethodResult
from ptune_scale.template import Template
from ptune_scale.tokenization import Kind


def run(job: Job) -> list[MethodResult]:
    """Score the manual prompt, a causal one in both readings, and with typed answers as a control.

    "[X] was born in [Y] ." cut at [Y] ends in a space. Without it the model is read after "in";
    with it, after a token that is only a space, which a byte-pair model hardly ever saw there.
    The first reading is the one reported as ``manual``; the second, that of the published code,
    stands beside it as ``manual_trailing_space``. One forward pass gives both.
    """
    examples: list[Example] = []
    for index, relation in enumerate(job.facts.relations):
        template = manual_template(relation, job.tokens.kind)
        examples += [_example(job, index, fact, template) for fact in relation.test]
    both = all(len(e.targets) == 2 for e in examples)
    if not both:
        examples = [Example(e.relation, e.ids, e.slots, e.targets[:1], e.label) for e in examples]
    ranks = job.rank(examples, job.no_prompts, "manual prompt")
    results = [MethodResult("manual", "manual prompt, read after its last word", ranks[:, 0])]
    typed = ranks[:, 0, job.candidates.names.index("relation"), None]
    results.append(
        MethodResult(
            "manual_train_objects",
            "manual prompt, answers only among the relation's training objects",
            typed.expand(-1, len(job.candidates.names)),
        )
    )
    if both:
        results.append(
            MethodResult(
                "manual_trailing_space",
                "manual prompt, read after a space token behind its last word",
                ranks[:, 1],
            )
        )
    return results


def manual_template(relation: PreparedRelation, kind: Kind) -> Template:
    """The relation's manual prompt, up to its target where the model sees nothing behind it.

    Raises:
        UserError: its subject stands behind the target, and the model is a causal one.
    """
    template = Template.parse(relation.manual_prompt)
    return template.cut_after_target() if kind == "causal" else template


def _example(job: Job, relation: int, fact: LabelledFact, template: Template) -> Example:
    """An example with both readings as targets where the tokenizer tells them apart."""
    plain = template.render(fact.subject, job.tokens)
    if job.tokens.kind == "causal":
        spaced = template.render(fact.subject, job.tokens, trailing_space=True)
        if spaced.ids[:-1] == plain.ids:
            targets = (plain.target, spaced.target)
            return Example(relation, spaced.ids, spaced.slots, targets, fact.label)
    return Example(relation, plain.ids, plain.slots, (plain.target,), fact.label)
