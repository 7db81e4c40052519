"""A tiny model that knows some words, facts, and a task's records in these words."""

import json
import random
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

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
def study_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a GPT-2 with random weights: H=32, two layers."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["x " + _TEXT] * 8, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")
    config = GPT2Config(
        vocab_size=len(fast),
        n_positions=128,
        n_embd=32,
        n_layer=2,
        n_head=2,
        initializer_range=0.4,
        bos_token_id=0,
        eos_token_id=0,
    )
    directory = tmp_path_factory.mktemp("study_model")
    GPT2LMHeadModel(config).save_pretrained(directory)
    fast.save_pretrained(directory)
    return directory


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
