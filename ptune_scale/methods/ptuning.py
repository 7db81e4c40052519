"""P-tuning: one template for all relations, prompts that begin as no word in particular."""

from ptune_scale.backbone import Backbone
from ptune_scale.config import PromptConfig
from ptune_scale.data.prepare import PreparedFacts
from ptune_scale.job import Job
from ptune_scale.methods.prompts import train_prompts
from ptune_scale.methods.result import MethodResult
from ptune_scale.prompt_setup import PromptSetup
from ptune_scale.reference_layout import reference_counts, reference_template
from ptune_scale.template import Template


def setup(config: PromptConfig, facts: PreparedFacts, backbone: Backbone) -> PromptSetup:
    """The template or reference layout that the flags give, for every relation.

    Raises:
        UserError: the template does not fit the kind of model.
    """
    counts = reference_counts(config.template) if config.layout == "reference" else None
    template = (
        reference_template(counts, backbone.kind) if counts else Template.parse(config.template)
    )
    template.check(backbone.kind)
    layout = "in the reference layout, " if counts else ""
    return PromptSetup(
        "ptuning",
        f"tuned prompt {layout}{template.pattern}",
        (template,) * len(facts.relations),
        facts,
        backbone.tokens,
        counts=counts,
    )


def run(job: Job) -> list[MethodResult]:
    return train_prompts(job, job.setups["ptuning"])
