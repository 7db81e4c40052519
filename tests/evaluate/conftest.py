"""Prompts of a tiny model, saved, and records of tasks that they ask about."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch

from ptune_scale.backbone import load_backbone
from ptune_scale.task.answers.ranked import Ranked
from ptune_scale.task.answers.words import Words
from ptune_scale.task.pattern import Pattern
from ptune_scale.task.task import Wording
from ptune_scale.use.export import ExportedTask, PromptExport

CITIES = Words({"entailment": ("Oslo",), "contradiction": ("Rome",), "neutral": ("the city",)})
FRONT = {
    "CB": Wording(Pattern.parse("The [P]*2 city [P] {premise} is {hypothesis} [Y]"), CITIES),
    "P36": Wording(Pattern.parse("[P]*3 {subject} is [Y]"), Ranked({"all": None}, one_token=True)),
}
BEHIND = {
    "CB": Wording(Pattern.parse("{premise...} is {hypothesis|bare} [P]*3 a [P] [Y]"), CITIES),
    "P36": Wording(Pattern.parse("{subject} is [P]*2 [Y]"), Ranked({"all": None}, one_token=True)),
}
PLACES = ["Norway", "Spain", "Germany", "France", "Italy near Rome", "the city of Berlin"]
ANSWERS = ["entailment", "contradiction", "neutral"]

Save = Callable[[Mapping[str, Wording]], Path]


@pytest.fixture
def save(tiny_llama: Path, tmp_path: Path) -> Save:
    """Writes a prompt of some wordings; its vectors are of chance."""

    def write(wordings: Mapping[str, Wording]) -> Path:
        backbone = load_backbone(str(tiny_llama))
        slots = max(each.pattern.num_slots for each in wordings.values())
        shape = (len(wordings), slots, backbone.hidden_size)
        vectors = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        tasks = tuple(ExportedTask(name, name, each) for name, each in wordings.items())
        export = PromptExport(vectors, tasks, str(tiny_llama), backbone.fingerprint)
        return export.save(tmp_path / "_".join(wordings)).parent

    return write


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A directory that is both a LAMA and a SuperGLUE directory."""
    files = {
        "CB/val.jsonl": [
            {"idx": i, "premise": place, "hypothesis": f"{place}.", "label": ANSWERS[i % 3]}
            for i, place in enumerate(PLACES)
        ],
        "relations.jsonl": [{"relation": "P36", "template": "[X] is the city of [Y] ."}],
        "train/P36.jsonl": [{"sub_label": "Oslo", "obj_label": "Norway"}],
        "test/P36.jsonl": [{"sub_label": place, "obj_label": "Rome"} for place in PLACES],
    }
    for name, rows in files.items():
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return tmp_path / "data"
