"""What tiny models of random weights, and small banks of prompts, are made of."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from ptune_scale.prompt.bank import PromptBank, plan_encoders


def bank_of(
    task_ids: Sequence[str],
    num_slots: int,
    hidden_size: int,
    *,
    held: Sequence[int] | None = None,
    **settings: Any,
) -> PromptBank:
    """A bank whose encoders are all alike; settings are those of ``plan_encoders``."""
    encoders = plan_encoders(task_ids, num_slots, **settings)
    return PromptBank(task_ids, num_slots, hidden_size, encoders, held=held)


def byte_pairs(text: str, vocab_size: int = 600) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer for which each word of a text is one token, if there is room."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([f"x {text} ."] * 8, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>"
    )


def save_llama(
    tokenizer: PreTrainedTokenizerFast,
    directory: Path,
    *,
    hidden_size: int = 32,
    intermediate_size: int = 48,
    positions: int = 64,
) -> Path:
    """Save a Llama of two layers and two heads; returns the directory."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=intermediate_size,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=positions,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return save(LlamaForCausalLM, config, tokenizer, directory)


def save(model_class, config, tokenizer, directory: Path) -> Path:  # noqa: ANN001
    """Save a model of random weights with its tokenizer; returns the directory."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = model_class(config)
        # The usual tiny initialization makes all logits nearly equal.
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.3)
        model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory
