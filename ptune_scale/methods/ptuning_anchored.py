"""P-tuning beside the manual prompt: its words stay as anchors, tuned slots stand in front.

The paper keeps single words of a template as anchors (section 3.2); here it is all of them.
"""

from ptune_scale.backbone import Backbone
from ptune_scale.config import PromptConfig
from ptune_scale.data.prepare import PreparedFacts
from ptune_scale.job import Job
from ptune_scale.methods.manual import manual_template
from ptune_scale.methods.prompts import train_prompts
from ptune_scale.methods.result import MethodResult
from ptune_scale.prompt_setup import PromptSetup
from ptune_scale.reference_layout import reference_counts
from ptune_scale.template import Template


def setup(config: PromptConfig, facts: PreparedFacts, backbone: Backbone) -> PromptSetup:
    """As many slots as the flags' template has, in front of each relation's manual prompt.

    Raises:
        UserError: a relation's manual prompt does not fit the kind of model.
    """
    if config.layout == "reference":
        count = sum(reference_counts(config.template))
    else:
        count = Template.parse(config.template).num_slots
    slots = f"[P]*{count}"
    templates = tuple(
        Template.parse(f"{slots} {manual_template(relation, backbone.kind).pattern}")
        for relation in facts.relations
    )
    described = f"tuned {slots} before the manual prompt"
    return PromptSetup("ptuning_anchored", described, templates, facts, backbone.tokens)


def run(job: Job) -> list[MethodResult]:
    return train_prompts(job, job.setups["ptuning_anchored"])
