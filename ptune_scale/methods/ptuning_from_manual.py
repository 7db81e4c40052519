"""P-tuning from the manual prompt: each of its tokens is a slot that begins as that token.

The start of OptiPrompt (Zhong et al. 2021, "Factual Probing Is [MASK]", section 4).
"""

import torch
from torch import Tensor

from ptune_scale.backbone import Backbone
from ptune_scale.config import PromptConfig
from ptune_scale.data.prepare import PreparedFacts
from ptune_scale.job import Job
from ptune_scale.methods.manual import manual_template
from ptune_scale.methods.prompts import train_prompts
from ptune_scale.methods.result import MethodResult
from ptune_scale.prompt_setup import PromptSetup

NAME = "ptuning_from_manual"


def setup(config: PromptConfig, facts: PreparedFacts, backbone: Backbone) -> PromptSetup:
    """Templates with a slot for each token of the relation's manual prompt.

    Raises:
        UserError: a relation's manual prompt does not fit the kind of model, or has no words.
    """
    pairs = [
        manual_template(relation, backbone.kind).words_as_slots(backbone.tokens)
        for relation in facts.relations
    ]
    templates = tuple(template for template, _ in pairs)
    start = _start([words for _, words in pairs], backbone)
    described = "tuned prompt that began as the manual one"
    return PromptSetup(NAME, described, templates, facts, backbone.tokens, start)


def _start(words: list[list[int]], backbone: Backbone) -> Tensor:
    """Embeddings of each relation's words, (R, S, H); rows beyond them are zero."""
    start = torch.zeros(len(words), max(map(len, words)), backbone.hidden_size)
    for row, tokens in zip(start, words, strict=True):
        row[: len(tokens)] = backbone.embeddings.of(tokens)
    return start


def run(job: Job) -> list[MethodResult]:
    return train_prompts(job, job.setups[NAME])
