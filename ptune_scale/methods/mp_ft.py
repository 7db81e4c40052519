"""Fine-tuning on the manual prompt, "MP+FT" of Liu et al. 2021, Table 2.

The sentence is read where ``manual`` reads it: of a causal model, after its last word.
"""

from ptune_scale.job import Job
from ptune_scale.methods.finetune import finetune_relations
from ptune_scale.methods.manual import manual_template
from ptune_scale.methods.result import MethodResult


def run(job: Job) -> list[MethodResult]:
    templates = [manual_template(relation, job.tokens.kind) for relation in job.facts.relations]
    return finetune_relations(job, "mp_ft", "fine-tuned on the manual prompt", templates)
