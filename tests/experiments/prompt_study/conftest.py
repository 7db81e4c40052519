"""A tiny model that knows some words, facts, and a task's records in these words."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

_TEXT = (
    "Yes No Maybe true false neither Question question Answer answer True or False Premise "
    "Hypothesis Does agree with Norway Oslo Sweden France Paris Germany is in the capital of near"
)
SENTENCES = ["Norway is near Sweden.", "Oslo is in Norway.", "Paris is the capital of France."]

_LABELS = {
    "RTE": ("entailment", "not_entailment"),
    "CB": ("entailment", "contradiction", "neutral"),
}


@pytest.fixture(scope="session")
def study_model(gpt2_that_knows: Callable[..., Path]) -> Path:
    """Directory of a GPT-2 with random weights: H=32, two layers."""
    return gpt2_that_knows(_TEXT, vocab_size=700, positions=128)


@pytest.fixture(scope="session")
def study_tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of RTE and CB: 8 records each in train, dev32 and val."""
    directory = tmp_path_factory.mktemp("study_tasks")
    for task, labels in _LABELS.items():
        (directory / task).mkdir()
        for split in ("train", "dev32", "val"):
            chance = random.Random(split)
            records = [
                {
                    "idx": idx,
                    "premise": " ".join(chance.choices(SENTENCES, k=1 + idx % 3)),
                    "hypothesis": chance.choice(SENTENCES),
                    "label": labels[idx % len(labels)],
                }
                for idx in range(8)
            ]
            (directory / task / f"{split}.jsonl").write_text("\n".join(map(json.dumps, records)))
    return directory
