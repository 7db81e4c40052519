"""Teaches a BERT sentences by masking words in them."""

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import (
    BertConfig,
    BertForMaskedLM,
    PreTrainedTokenizerFast,
    get_cosine_schedule_with_warmup,
)

from ptune_scale.experiments.fact_bert.config import FactBertConfig
from ptune_scale.experiments.fact_bert.curriculum import Curriculum
from ptune_scale.progress import bar

_HEAD_SIZE = 32
_OBJECT_MASKED = 0.8
_OTHERS_MASKED = 0.15
_WARMUP = 0.1


@dataclass(frozen=True)
class Sentences:
    """Sentences of equal length: token ids (N, T) int64, places (N,) int64 of the objects."""

    ids: Tensor
    objects: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def is_object(self) -> Tensor:
        """(N, T) bool."""
        return torch.arange(self.ids.shape[1]) == self.objects[:, None]


def tokenize(curriculum: Curriculum, tokenizer: PreTrainedTokenizerFast) -> list[Sentences]:
    """All sentences about all taught facts, by length, the shortest first."""
    by_length: defaultdict[int, list[tuple[list[int], int]]] = defaultdict(list)
    for lesson in curriculum.lessons:
        for sentence in lesson.sentences:
            for fact in lesson.taught:
                text = sentence.replace("[Y]", tokenizer.mask_token).replace("[X]", fact.subject)
                ids = tokenizer(text)["input_ids"]
                place = ids.index(tokenizer.mask_token_id)
                ids[place] = tokenizer.convert_tokens_to_ids(fact.object)
                by_length[len(ids)].append((ids, place))
    return [
        Sentences(torch.tensor([i for i, _ in rows]), torch.tensor([p for _, p in rows]))
        for _, rows in sorted(by_length.items())
    ]


def new_model(
    config: FactBertConfig, tokenizer: PreTrainedTokenizerFast, length: int
) -> BertForMaskedLM:
    """A BERT without dropout, for so many tokens; its weights are a function of the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return BertForMaskedLM(
            BertConfig(
                vocab_size=len(tokenizer),
                hidden_size=config.hidden_size,
                num_hidden_layers=config.layers,
                num_attention_heads=config.hidden_size // _HEAD_SIZE,
                intermediate_size=4 * config.hidden_size,
                # A manual prompt or a tuned one may be longer than what was taught.
                max_position_embeddings=max(64, 2 * length),
                hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
                pad_token_id=tokenizer.pad_token_id,
            )
        )


def teach(
    model: BertForMaskedLM, sentences: list[Sentences], mask_token: int, config: FactBertConfig
) -> list[float]:
    """Train in place: AdamW, a cosine, the logits of masked places only.

    In four of five sentences the object is masked, in the others 15 % of the words. No batch is
    padded. A short batch counts by its number of sentences.

    Returns:
        the mean loss of each epoch.
    """
    draw = torch.Generator().manual_seed(config.seed)
    steps = config.epochs * sum(math.ceil(len(part) / config.batch_size) for part in sentences)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, betas=(0.9, 0.98))
    schedule = get_cosine_schedule_with_warmup(optimizer, round(_WARMUP * steps), steps)
    losses = []
    model.train()
    with bar("teaching", steps, "steps", shown=True) as progress:
        for _ in range(config.epochs):
            epoch = []
            for batch in _batches(sentences, config.batch_size, draw):
                masked = _mask(batch, draw)
                ids = batch.ids.masked_fill(masked, mask_token)
                loss = cross_entropy(model.cls(model.bert(ids)[0][masked]), batch.ids[masked])
                optimizer.zero_grad()
                (loss * len(batch) / config.batch_size).backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                epoch.append(loss.item())
                progress.update()
            losses.append(sum(epoch) / len(epoch))
            progress.set_postfix(loss=f"{losses[-1]:.2f}")
    model.eval()
    return losses


@torch.no_grad()
def recall(model: BertForMaskedLM, sentences: list[Sentences], mask_token: int) -> float:
    """Share of sentences whose masked object is the first of all words: P@1 as it was taught."""
    right = 0
    for part in sentences:
        ids = part.ids.masked_fill(part.is_object, mask_token)
        best = model.cls(model.bert(ids)[0][part.is_object]).argmax(-1)
        right += int((best == part.ids[part.is_object]).sum())
    return right / sum(map(len, sentences))


def _batches(sentences: list[Sentences], size: int, draw: torch.Generator) -> Iterator[Sentences]:
    """All sentences once, in random order, those of one length in nearly equal batches."""
    batches = []
    for part in sentences:
        order = torch.randperm(len(part), generator=draw)
        for rows in order.tensor_split(math.ceil(len(part) / size)):
            batches.append(Sentences(part.ids[rows], part.objects[rows]))
    for index in torch.randperm(len(batches), generator=draw).tolist():
        yield batches[index]


def _mask(batch: Sentences, draw: torch.Generator) -> Tensor:
    """Which places to mask, (N, T) bool, at least one in each sentence, the ends never."""
    chance = torch.rand(batch.ids.shape, generator=draw)
    chance[:, 0] = chance[:, -1] = 1.0
    others = (chance < _OTHERS_MASKED) | (chance == chance.min(dim=1, keepdim=True).values)
    asks = torch.rand(len(batch), 1, generator=draw) < _OBJECT_MASKED
    return torch.where(asks, batch.is_object, others)
