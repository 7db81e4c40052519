"""P-tuning of frozen language models at any size (Liu et al. 2021, arXiv:2103.10385)."""

from ptune_scale.answer import Answer, TunedPrompt, load_prompt
from ptune_scale.backbone import Backbone, load_backbone
from ptune_scale.errors import UserError
from ptune_scale.prompt import PromptBank
from ptune_scale.template import Template

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "Backbone",
    "PromptBank",
    "Template",
    "TunedPrompt",
    "UserError",
    "load_backbone",
    "load_prompt",
]
