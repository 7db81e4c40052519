"""Slots as tokens of the vocabulary, so that they may stand anywhere in an ordinary text.

``tokens`` keeps the new rows in a PEFT folder of their own, ``model`` writes them into a checkpoint
that any engine serves.

Shapes: S slots, H embedding size, V vocabulary.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from ptune_scale.backbone import load_backbone
from ptune_scale.backbone.network import auto_class
from ptune_scale.backbone.shortcuts import PLAIN
from ptune_scale.backbone.source import find_model
from ptune_scale.errors import UserError
from ptune_scale.files import write_json
from ptune_scale.task.example import NO_SLOT, Batch, Example
from ptune_scale.task.record import Record
from ptune_scale.use.formats.compare import at_targets, padded
from ptune_scale.use.formats.format import ABOUT, Format, Logits, described, slot_names
from ptune_scale.use.formats.linked import write_shards
from ptune_scale.use.prompt import TunedPrompt


@dataclass(frozen=True)
class Added:
    """The new tokens of some tasks.

    Attributes:
        names, ids: of each task's slots, by row of the prompt matrix.
        tokenizer: one that knows them.
    """

    names: dict[int, list[str]]
    ids: dict[int, list[int]]
    tokenizer: PreTrainedTokenizerBase

    @property
    def flat(self) -> list[int]:
        """All ids, in the order of tasks and slots."""
        return [token for ids in self.ids.values() for token in ids]


def add_tokens(prompt: TunedPrompt, rows: Sequence[int]) -> Added:
    """A token for each slot, behind those that the tokenizer has.

    Raises:
        UserError: the tokenizer has tokens of such names.
    """
    tokenizer = copy.deepcopy(prompt.backbone.tokens.tokenizer)
    names = {}
    for row in rows:
        task = prompt.tasks[row]
        names[row] = slot_names(task.task.name, row, task.num_slots)
    every = [name for each in names.values() for name in each]
    new = [AddedToken(name, normalized=False, special=True) for name in every]
    if tokenizer.add_tokens(new, special_tokens=True) != len(every):
        raise UserError(f"the tokenizer has tokens of these names already: {', '.join(every)}")
    ids = {row: tokenizer.convert_tokens_to_ids(each) for row, each in names.items()}
    return Added(names, ids, tokenizer)


def spelled(example: Example, ids: dict[int, list[int]]) -> list[int]:
    """A row's tokens, with the new ones in its slots."""
    return [
        token if slot == NO_SLOT else ids[example.task][slot]
        for token, slot in zip(example.ids, example.slots, strict=True)
    ]


def _check(prompt: TunedPrompt, rows: Sequence[int]) -> None:
    add_tokens(prompt, rows)


def _base(prompt: TunedPrompt) -> PreTrainedModel:
    """The backbone as the library loads it: a copy, for it is changed."""
    return load_backbone(
        prompt.backbone.name, dtype=prompt.backbone.dtype, shortcuts=PLAIN
    ).lm.model


def vectors_of(prompt: TunedPrompt, added: Added, scale: float) -> Tensor:
    """Rows of the new tokens, in the order of their ids; their layer multiplies by ``scale``."""
    rows = [prompt.export.prompts[row, : len(ids)] for row, ids in added.ids.items()]
    return torch.cat(rows) / scale


def embedding_scale(model: PreTrainedModel) -> float:
    """What the word embedding multiplies its rows with (Gemma's does)."""
    return float(getattr(model.get_input_embeddings(), "embed_scale", 1.0))


def _with_room(model: PreTrainedModel, added: Added) -> PreTrainedModel:
    """The model with rows for all tokens; vocabularies that were padded may have them already."""
    size = max(added.flat) + 1
    if model.get_input_embeddings().weight.shape[0] < size:
        model.resize_token_embeddings(size, mean_resizing=False)
    return model


def describe(prompt: TunedPrompt, added: Added, directory: Path) -> None:
    """Write how the tasks are asked, beside their export."""
    write_json(
        directory / ABOUT,
        {
            "tasks": {
                prompt.tasks[row].task.name: {
                    **described(prompt.tasks[row], names),
                    "tokens": names,
                    "ids": added.ids[row],
                }
                for row, names in added.names.items()
            }
        },
    )


@torch.no_grad()
def _write_model(
    prompt: TunedPrompt, rows: Sequence[int], records: dict[int, list[Record]], directory: Path
) -> None:
    added = add_tokens(prompt, rows)
    model = _with_room(_base(prompt), added)
    words, head = model.get_input_embeddings(), model.get_output_embeddings()
    index = torch.tensor(added.flat)
    words.weight[index] = vectors_of(prompt, added, embedding_scale(model)).to(words.weight.dtype)
    if head.weight is not words.weight:
        head.weight[index] = 0
    # Tied to the head, or beside zeros in it, the new tokens could be predicted.
    if getattr(model, "generation_config", None) is not None:
        model.generation_config.suppress_tokens = added.flat
    if not _write_beside(prompt, model, directory):
        model.save_pretrained(directory)
    added.tokenizer.save_pretrained(directory)
    describe(prompt, added, directory)


def _write_beside(prompt: TunedPrompt, model: PreTrainedModel, directory: Path) -> bool:
    """Write a checkpoint that shares the unchanged files of the model's own, where it can be."""
    source = find_model(prompt.backbone.name).path
    if source is None or not source.is_dir():
        return False
    # A head that is tied to the words has no name of its own.
    parameters = {name: each.data for name, each in model.named_parameters()}
    mine = [model.get_input_embeddings().weight, model.get_output_embeddings().weight]
    touched = [name for name, each in model.named_parameters() if any(each is w for w in mine)]
    if not write_shards(source, directory, parameters, touched):
        return False
    model.config.save_pretrained(directory)
    if getattr(model, "generation_config", None) is not None:
        model.generation_config.save_pretrained(directory)
    return True


def _write_tokens(
    prompt: TunedPrompt, rows: Sequence[int], records: dict[int, list[Record]], directory: Path
) -> None:
    from peft import TrainableTokensConfig, get_peft_model

    added = add_tokens(prompt, rows)
    model = _with_room(_base(prompt), added)
    scale = embedding_scale(model)
    tuned: Any = get_peft_model(model, TrainableTokensConfig(token_indices=added.flat))
    for name, parameter in tuned.named_parameters():
        if "trainable_tokens_delta" in name:
            parameter.data = vectors_of(prompt, added, scale).to(parameter.dtype)
    tuned.peft_config["default"].base_model_name_or_path = prompt.export.model
    tuned.save_pretrained(directory, save_embedding_layers=False)
    added.tokenizer.save_pretrained(directory)
    describe(prompt, added, directory)


def _load_model(prompt: TunedPrompt, rows: Sequence[int], directory: Path) -> Logits:
    auto: Any = auto_class(prompt.backbone.kind)
    model = auto.from_pretrained(directory, dtype=prompt.backbone.dtype).eval()
    return logits_over(prompt, rows, model, AutoTokenizer.from_pretrained(directory))


def _load_tokens(prompt: TunedPrompt, rows: Sequence[int], directory: Path) -> Logits:
    from peft import PeftModel

    base = _with_room(_base(prompt), add_tokens(prompt, rows))
    tuned = PeftModel.from_pretrained(base, directory).eval()
    return logits_over(prompt, rows, tuned, AutoTokenizer.from_pretrained(directory))


def logits_over(
    prompt: TunedPrompt, rows: Sequence[int], model: Any, tokenizer: PreTrainedTokenizerBase
) -> Logits:
    """Logits of a model that has rows for the new tokens.

    Args:
        tokenizer: as it was read back.
    """
    names = add_tokens(prompt, rows).names
    ids_of = {row: tokenizer.convert_tokens_to_ids(each) for row, each in names.items()}

    def logits(batch: Batch, prompts: Tensor) -> Tensor:
        written = [spelled(example, ids_of) for example in batch.examples]
        ids, mask = padded(written, prompt.backbone.tokens.placeholder)
        found = model(input_ids=ids, attention_mask=mask).logits
        return at_targets(found, batch.targets, prompt.backbone.vocab_size)

    return logits


TOKENS = Format("tokens", _check, _write_tokens, _load_tokens, needs="peft")
MODEL = Format("model", _check, _write_model, _load_model)
