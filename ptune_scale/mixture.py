"""Several prompts of a relation asked together: each word's score is a weighted mean over them.

The score of a word is the sum over prompts of weight times log-probability, as in Jiang et al.
2020, "How Can We Know What Language Models Know?" (arXiv:1911.12543, section 4). What
normalizes each prompt's probabilities is the same for all words, so weighted logits give the same
ranks, and the same likelihoods once they are normalized.

Shapes: F facts, K prompts, M weightings of them, C words, W this rank's part of the vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from ptune_scale.data.batch import Batch, Example, collate
from ptune_scale.data.candidates import Candidates
from ptune_scale.data.prepare import LabelledFact, fill
from ptune_scale.data.sampler import cut_by_tokens
from ptune_scale.parallel import PromptFunction
from ptune_scale.parallel.vocabulary import Vocabulary
from ptune_scale.template import Template
from ptune_scale.tokenization import Tokenization

# Words that are read of all rows of a batch together: their ids take 64 MB.
_MOST_READ = 1 << 23
_ITERATIONS = 50


class PromptMixture:
    """The prompts of one relation, without slots.

    A batch has a group of K rows for each fact. Each prompt stands in the batch as a relation of
    its own, so that what its rows begin with is computed once.

    Args:
        templates: K of them.
        hidden_size: H, of the word embeddings.
        batch_size, batch_tokens: most rows and tokens of a batch, see ``evaluate.all_ranks``.
        after_batch: called with the number of facts of each batch that is done.
    """

    def __init__(
        self,
        function: PromptFunction,
        templates: Sequence[Template],
        tokens: Tokenization,
        hidden_size: int,
        *,
        batch_size: int,
        batch_tokens: int = 0,
        after_batch: Callable[[int], None] = lambda facts: None,
    ) -> None:
        self.function = function
        self.templates = templates
        self.tokens = tokens
        self.batch_size = batch_size
        self.batch_tokens = batch_tokens
        self.after_batch = after_batch
        self._no_slots = torch.zeros(len(templates), 0, hidden_size)

    def log_probabilities(self, facts: Sequence[LabelledFact], words: Tensor) -> Tensor:
        """What each prompt gives to some words, (F, K, C) in nats, over the whole vocabulary.

        Args:
            words: (C,) int64, token ids.
        """
        count = len(self.templates)
        found = torch.empty(len(facts), count, len(words))
        rows = min(self.batch_size, _MOST_READ // max(1, len(words)))
        for index, batch in self._batches(facts, rows):
            asked = words.expand(len(batch), 1, -1)
            answers = self.function.log_probabilities(batch, self._no_slots, asked)
            found[index] = answers.view(len(index), count, -1)
            self.after_batch(len(index))
        return found

    def ranks(
        self,
        facts: Sequence[LabelledFact],
        weights: Tensor,
        candidates: Candidates,
        relation: int,
    ) -> Tensor:
        """Ranks of the facts' answers under each weighting, (F, M, sets of candidates) int64.

        Args:
            weights: (M, K).
            relation: whose candidates.
        """
        count = len(self.templates)
        shape = (len(weights), len(candidates.names))

        def question(vocabulary: Vocabulary, logits: Tensor, part: Batch) -> Tensor:
            by_fact = logits.float().view(-1, count, logits.shape[-1])
            mixed = weights.to(logits.device) @ by_fact
            labels = part.labels[::count]
            own = torch.full_like(labels, relation)
            ranks = vocabulary.ranks(mixed, labels, own, candidates)
            return ranks.repeat_interleave(count, 0)

        found = torch.empty(len(facts), *shape, dtype=torch.int64)
        for index, batch in self._batches(facts, self.batch_size):
            ranks = self.function.ask(batch, self._no_slots, question, shape, torch.int64)
            found[index] = ranks[::count]
            self.after_batch(len(index))
        return found

    def _batches(
        self, facts: Sequence[LabelledFact], rows: int
    ) -> Iterator[tuple[list[int], Batch]]:
        """Places of facts of similar length, and their rows."""
        count = len(self.templates)
        columns = [
            fill(number, facts, template, self.tokens)
            for number, template in enumerate(self.templates)
        ]
        groups: list[tuple[Example, ...]] = list(zip(*columns, strict=True))
        longest = [max(len(row.ids) for row in group) for group in groups]
        order = sorted(range(len(facts)), key=lambda i: longest[i])
        cuts = cut_by_tokens(
            [longest[i] for i in order],
            self.batch_tokens // count or None,
            rows=max(1, rows // count),
            padded=True,
        )
        for cut in cuts:
            index = order[cut]
            examples = [row for i in index for row in groups[i]]
            yield index, collate(examples, self.tokens.placeholder, group_size=count)


def fit_weights(log_probabilities: Tensor, answers: Tensor) -> Tensor:
    """Weights under which a mixture gives right answers the highest likelihood, (K,), adding to 1.

    They are a softmax of K numbers that begin equal. The search (L-BFGS) has no chance in it.

    Args:
        log_probabilities: (F, K, C), at least one fact.
        answers: (F,) int64, places of the right answers among the C words.
    """
    numbers = torch.zeros(log_probabilities.shape[1], requires_grad=True)
    search = torch.optim.LBFGS([numbers], max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        value = -log_likelihood(log_probabilities, answers, numbers.softmax(0))
        value.backward()
        return value

    search.step(loss)
    return numbers.detach().softmax(0)


def log_likelihood(log_probabilities: Tensor, answers: Tensor, weights: Tensor) -> Tensor:
    """Mean log-likelihood of the answers among the C words, in nats, under weights (K,)."""
    mixed = weights @ log_probabilities
    return -torch.nn.functional.cross_entropy(mixed, answers)
