"""Fine-tuning, asked with the subject alone: nothing but the weights names the relation.

"FT" of Liu et al. 2021, Table 2. A causal model is read after the subject; a masked one gets the
subject and a mask.
"""

from ptune_scale.job import Job
from ptune_scale.methods.finetune import finetune_relations
from ptune_scale.methods.result import MethodResult
from ptune_scale.template import Template


def run(job: Job) -> list[MethodResult]:
    templates = [Template.parse("[X] [Y]")] * len(job.facts.relations)
    return finetune_relations(job, "ft", "fine-tuned, subject alone", templates)
