"""Searches for words whose presence makes a model give right answers, by its gradients.

AutoPrompt (Shin et al. 2020, arXiv:2010.15980, section 2): to replace a word of the prompt, those
whose embeddings lie farthest along the negative gradient at its place are tried, and the one with
the lowest loss on other facts is kept if it beats the word that is there. The words stand in prompt
slots, so the gradient is that of the prompt matrix, in every layout; candidates are rows of it.

Shapes: k words, H embedding size, V input vocabulary, N candidates.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ptune_scale.backbone.embeddings import WordEmbeddings
from ptune_scale.errors import UserError
from ptune_scale.lama.config import DiscreteConfig
from ptune_scale.parallel import PromptFunction
from ptune_scale.prompt.bank import stable_seed
from ptune_scale.task.ask import Asker
from ptune_scale.task.example import NO_SLOT, Example, collate
from ptune_scale.task.tokenization import Tokenization
from ptune_scale.train.order import TaskOrder

# Rows of the embedding matrix that are held at a time.
_BLOCK = 1 << 14
_FIRST_WORD = " the"


@dataclass(frozen=True)
class Found:
    """The best words met.

    Attributes:
        words: k token ids.
        loss: of these on the development facts, or on facts of training where there are none.
        first_loss: of the words that the search began with, on the same facts.
    """

    words: tuple[int, ...]
    loss: float
    first_loss: float


class TriggerSearch:
    """Searches for one relation's words.

    Args:
        relation_id: seeds its own order of facts and places.
        train, dev: examples whose slots 0 to k - 1 stand for the words; ``dev`` may be empty.
        allowed: (V,) bool, tokens that may be tried.
        settings: how long and how widely to search.
        seed: of the places and the order of facts.
        batch_size: most rows in a batch.
    """

    def __init__(
        self,
        function: PromptFunction,
        embeddings: WordEmbeddings,
        relation_id: str,
        train: Sequence[Example],
        dev: Sequence[Example],
        allowed: Tensor,
        settings: DiscreteConfig,
        *,
        seed: int,
        batch_size: int,
    ) -> None:
        self.function = function
        self.embeddings = embeddings
        self.allowed = allowed
        self.settings = settings
        self.batch_size = batch_size
        self._train, self._dev = (
            [replace(example, task=0) for example in part] for part in (train, dev)
        )
        self._order = TaskOrder(relation_id, self._train, settings.autoprompt_facts, seed)
        self._chance = torch.Generator()
        self._chance.manual_seed(stable_seed(seed, "trigger", relation_id))

    def run(self, words: Sequence[int], after_step: Callable[[], None] = lambda: None) -> Found:
        """Search from some words on; the same on all ranks.

        Args:
            words: k token ids to begin with.
            after_step: called after each step.

        Returns:
            of all words that were kept at any time, those with the lowest loss on ``dev``.
        """
        judges = self._dev or self._order.chunk(0)
        current = torch.tensor(words)
        best, first = current, float(self.losses(judges, current[None]))
        lowest = first
        for step in range(self.settings.autoprompt_steps):
            place = int(torch.randint(len(words), (), generator=self._chance))
            tried = self._candidates(current, place, self._order.chunk(2 * step))
            losses = self.losses(self._order.chunk(2 * step + 1), tried)
            if losses[1:].min() < losses[0]:
                current = tried[1 + int(losses[1:].argmin())]
                loss = float(self.losses(judges, current[None]))
                if loss < lowest:
                    best, lowest = current, loss
            after_step()
        return Found(tuple(best.tolist()), lowest, first)

    def _candidates(self, current: Tensor, place: int, facts: Sequence[Example]) -> Tensor:
        """The current words, and under them (1 + N, k) others that differ at one place."""
        prompts = self.embeddings.of(current.tolist())[None]
        gradient = self.function.loss_and_gradient(collate(facts), prompts)[1][0, place]
        proposed = self.proposals(gradient, int(current[place]))
        # Ranks may differ in the last bits, and then the first one decides for all.
        proposed = self.function.world.gather(proposed)[0]
        rows = current.repeat(1 + len(proposed), 1)
        rows[1:, place] = torch.tensor(proposed)
        return rows

    def proposals(self, gradient: Tensor, current: int) -> list[int]:
        """Allowed tokens that a linear loss falls most by, best first.

        Args:
            gradient: (H,) of the loss, at the place to replace.
            current: the token that is there; it is not proposed.
        """
        size = self.embeddings.size
        rises = torch.empty(size)
        for start in range(0, size, _BLOCK):
            block = self.embeddings.rows(start, min(start + _BLOCK, size))
            rises[start : start + len(block)] = block @ gradient.cpu()
        allowed = self.allowed.clone()
        allowed[current] = False
        rises[~allowed] = float("inf")
        count = min(self.settings.autoprompt_candidates, int(allowed.sum()))
        return rises.topk(count, largest=False).indices.tolist()

    def losses(self, facts: Sequence[Example], words: Tensor) -> Tensor:
        """Mean loss over facts with each row of words (N, k), (N,) fp64 in nats."""
        candidates, size = words.shape
        cells = torch.cat([self.embeddings.of(row) for row in words.tolist()])
        # A fact stands in a batch as a task, and candidates as its slots: what is the same under
        # all candidates, the subject, is computed once.
        rows = [
            replace(fact, task=number, slots=_shifted(fact.slots, row * size))
            for number, fact in enumerate(facts)
            for row in range(candidates)
        ]
        asker = Asker(self.function, cells.expand(len(facts), -1, -1), self.batch_size)
        found = torch.stack(asker.log_probabilities(rows)).view(len(facts), candidates)
        return -found.double().mean(0)


def _shifted(slots: tuple[int, ...], by: int) -> tuple[int, ...]:
    return tuple(slot if slot == NO_SLOT else slot + by for slot in slots)


def first_words(tokens: Tokenization, count: int) -> list[int]:
    """What a search begins with: one common word, again and again.

    The published code begins with masks, which a causal model does not have.
    """
    return [tokens.after(_FIRST_WORD)[0]] * count


def allowed_words(tokens: Tokenization, size: int) -> Tensor:
    """Tokens that may be words of a prompt, (size,) bool.

    Left out are special tokens, those that spell nothing on their own, and those with a capital:
    as in the published code this stands for leaving out names, which could name an answer.

    Args:
        size: V, rows of the embedding matrix; those beyond the tokenizer's are left out.

    Raises:
        UserError: nothing is left.
    """
    allowed = torch.zeros(size, dtype=torch.bool)
    special = set(tokens.tokenizer.all_special_ids)
    for token, text in enumerate(tokens.texts(range(min(size, len(tokens.tokenizer))))):
        spelled = text.strip()
        readable = spelled.isprintable() and "\ufffd" not in spelled
        allowed[token] = (
            bool(spelled) and readable and token not in special and not spelled[0].isupper()
        )
    if not allowed.any():
        raise UserError("the tokenizer has no token that AutoPrompt could try")
    return allowed


def with_words(example: Example, words: Sequence[int]) -> Example:
    """An example whose slots are filled with words: plain token ids, no prompt matrix."""
    ids = tuple(
        token if slot == NO_SLOT else words[slot]
        for token, slot in zip(example.ids, example.slots, strict=True)
    )
    return replace(example, ids=ids, slots=(NO_SLOT,) * len(ids))
