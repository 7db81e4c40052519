"""P-tuning of frozen language models at any size (Liu et al. 2021, arXiv:2103.10385)."""

from typing import TYPE_CHECKING

from ptune_scale.errors import UserError
from ptune_scale.lazy import exports

if TYPE_CHECKING:
    from ptune_scale.backbone.loading import Backbone, load_backbone
    from ptune_scale.prompt.bank import PromptBank
    from ptune_scale.task.pattern import Pattern
    from ptune_scale.task.record import Record
    from ptune_scale.use.prompt import Phrase, TunedPrompt, load_prompt
    from ptune_scale.use.ptune_model import PtuneModel

__version__ = "0.1.0"

__all__ = [
    "Backbone",
    "Pattern",
    "Phrase",
    "PromptBank",
    "PtuneModel",
    "Record",
    "TunedPrompt",
    "UserError",
    "load_backbone",
    "load_prompt",
]

if not TYPE_CHECKING:  # else any name would be taken for one that is there
    __getattr__ = exports(
        __name__,
        {
            "Backbone": "backbone.loading",
            "Pattern": "task.pattern",
            "Phrase": "use.prompt",
            "PromptBank": "prompt.bank",
            "PtuneModel": "use.ptune_model",
            "Record": "task.record",
            "TunedPrompt": "use.prompt",
            "load_backbone": "backbone.loading",
            "load_prompt": "use.prompt",
        },
    )
