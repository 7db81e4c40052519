"""A tiny backbone, and exports of prompts for it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ptune_scale.backbone import Backbone, load_backbone
from ptune_scale.task.answers.choices import Choices
from ptune_scale.task.answers.ranked import Ranked
from ptune_scale.task.answers.span import Span
from ptune_scale.task.answers.text import Text
from ptune_scale.task.answers.words import Words
from ptune_scale.task.pattern import Pattern
from ptune_scale.task.task import Wording
from ptune_scale.use.export import ExportedTask, PromptExport

WORDINGS = {
    "words": Wording(
        Pattern.parse("[P]*2 {a} is [P] [Y]"),
        Words({"north": ("Oslo", "Stockholm"), "south": ("Rome",)}, calibrate=True),
    ),
    "long words": Wording(
        Pattern.parse("{a} [P] [Y]"), Words({"x": ("the city",), "y": ("Rome", "a city")})
    ),
    "choices": Wording(
        Pattern.parse("{a|bare} [P]*3 [Y]"), Choices(("b|lower", "c"), ("first", "second"))
    ),
    "ranked": Wording(
        Pattern.parse("{a} [P]*2 [Y]"), Ranked({"cities": ("Oslo", "Rome", "Paris")}, True)
    ),
    "whole": Wording(Pattern.parse("[X] in [P] [Y]"), Ranked({"all": None}, one_token=True)),
    "phrases": Wording(
        Pattern.parse("{a} [P] [Y]"), Ranked({"places": ("Oslo", "the city of Rome")})
    ),
    "more phrases": Wording(
        Pattern.parse("{a} near [P] [Y]"), Ranked({"places": ("Oslo", "the city of Rome")})
    ),
    "text": Wording(Pattern.parse("{a...} [P]*3 [Y]"), Text(5, (".", "\n"), cut=True)),
    "span": Wording(Pattern.parse("{a} [P] [Y]"), Span("b", "0", "1")),
    "chat": Wording(Pattern.chat("user: {a}\n\n[P]*2\nanswer:[Y]"), Text(4)),
}
"""Of each kind of answer, and each spelling that a causal model knows."""


@pytest.fixture(scope="session")
def backbone(tiny_llama: Path) -> Backbone:
    return load_backbone(str(tiny_llama))


@pytest.fixture(scope="session")
def prompts() -> Tensor:
    """(R, S, H), a row for each wording."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(len(WORDINGS), 3, 32, generator=generator)


@pytest.fixture(scope="session")
def wordings() -> dict[str, Wording]:
    return WORDINGS


@pytest.fixture(scope="session")
def export_of(backbone: Backbone, prompts: Tensor) -> Callable[..., PromptExport]:
    """An export of some of the wordings, by name."""

    def make(*names: str) -> PromptExport:
        rows = [list(WORDINGS).index(name) for name in names]
        slots = max(WORDINGS[name].pattern.num_slots for name in names)
        tasks = [
            ExportedTask(name, f"all of {name}", WORDINGS[name], 40, {"a": "text"})
            for name in names
        ]
        return PromptExport(
            prompts[rows, :slots], tuple(tasks), backbone.name, backbone.fingerprint
        )

    return make
