"""Several prompts of a relation asked together: each word's score is a weighted mean over them.

The score of a word is the sum over prompts of weight times log-probability, as in Jiang et al.
2020, "How Can We Know What Language Models Know?" (arXiv:1911.12543, section 4). What
normalizes each prompt's probabilities is the same for all words, so weighted logits give the same
ranks, and the same likelihoods once they are normalized.

Shapes: F facts, K prompts, M weightings of them, C words, W this rank's part of the vocabulary.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ptune_scale.task.answers.answer import Prediction
from ptune_scale.task.answers.ranked import BestCandidates, RankedPanel
from ptune_scale.task.ask import Asker, cut_by_tokens
from ptune_scale.task.asking import AskedTask
from ptune_scale.task.example import Batch, collate
from ptune_scale.task.objective import Vocabulary
from ptune_scale.task.record import Record

_ITERATIONS = 50


class PromptMixture:
    """The prompts of one relation, made of words or tuned.

    A batch has a group of K rows for each fact. Each prompt stands in the batch as a task of its
    own, so that what its rows begin with is computed once.

    Args:
        asked: K wordings of the relation, each with its own index.
        asker: with a prompt matrix that has a row for each index.
        panel: ranks words among candidates.
        relation: whose candidates.
    """

    def __init__(
        self, asked: Sequence[AskedTask], asker: Asker, panel: RankedPanel, relation: int
    ) -> None:
        self.asked = asked
        self.asker = asker
        self.panel = panel
        self.relation = relation

    def log_probabilities(self, facts: Sequence[Record], words: Tensor) -> Tensor:
        """What each prompt gives to words (C,), (F, K, C) in nats, over the whole vocabulary."""
        columns = [task.questions(facts, "evaluate") for task in self.asked]
        rows = [question.rows[0] for column in columns for question in column]
        found = torch.stack(self.asker.next_tokens(rows, words))
        return found.view(len(columns), len(facts), -1).transpose(0, 1)

    def candidates(self, facts: Sequence[Record]) -> tuple[Tensor, Tensor]:
        """The words that answers are looked for among, and which of them answer facts.

        Args:
            facts: ``answerable`` ones.

        Returns:
            (C,) int64, token ids in ascending order, and (F,) int64, places among them.
        """
        candidates, tokens = self.panel.candidates, self.panel.tokens
        words = candidates.tokens(candidates.names[0], self.relation)
        answers = [tokens.word_token(fact.answer or "") for fact in facts]
        return words, torch.searchsorted(words, torch.tensor(answers, dtype=torch.int64))

    def predict(
        self, facts: Sequence[Record], weights: Tensor, offsets: Tensor | None = None
    ) -> list[list[Prediction]]:
        """Predictions under each of the weightings (M, K).

        Args:
            offsets: (M, V), what is taken off each word's score under each weighting; None for
                nothing.
        """
        count, panel = len(self.asked), self.panel
        names = panel.candidates.names
        best = BestCandidates(
            panel.candidates, tuple((place, names[0]) for place in range(len(weights)))
        )

        def question(vocabulary: Vocabulary, logits: Tensor, part: Batch) -> Tensor:
            by_fact = logits[:, 0].float().view(-1, count, logits.shape[-1])
            mixed = weights.to(logits.device) @ by_fact
            if offsets is not None:
                own_words = offsets[:, vocabulary.start :][:, : logits.shape[-1]].to(logits.device)
                mixed[..., : own_words.shape[-1]] -= own_words
            answers = part.answers[::count].expand(-1, len(weights))
            own = torch.full_like(part.tasks[::count], self.relation)
            read = best.read(vocabulary, mixed, answers, own)
            return read.repeat_interleave(count, 0)

        shape = (len(weights), len(names) + 2)
        columns = [task.questions(facts, "evaluate") for task in self.asked]
        groups = [[q.rows[0] for q in group] for group in zip(*columns, strict=True)]
        longest = [max(row.num_tokens for row in group) for group in groups]
        order = sorted(range(len(facts)), key=longest.__getitem__)
        found: list[list[Prediction]] = [[] for _ in facts]
        asker = self.asker
        for cut in cut_by_tokens(
            [longest[i] for i in order],
            asker.batch_tokens // count or None,
            rows=max(1, asker.batch_size // count),
            padded=True,
        ):
            index = order[cut]
            batch = collate([row for i in index for row in groups[i]], group_size=count)
            read = asker.model.ask(batch, asker.prompts, question, shape, torch.float64)
            for i, each in zip(index, read[::count], strict=True):
                found[i] = [panel.prediction(one, known=True) for one in each]
            asker.after_batch(len(batch))
        return [list(column) for column in zip(*found, strict=True)]


def answerable(panel: RankedPanel, relation: int, facts: Iterable[Record]) -> list[Record]:
    """The facts whose answer is among a relation's candidates."""
    name = panel.candidates.names[0]
    return [
        fact
        for fact in facts
        if (token := panel.tokens.word_token(fact.answer or "")) is not None
        and panel.candidates.contains(name, relation, token)
    ]


def best_prompt(log_probabilities: Tensor, answers: Tensor) -> int:
    """The prompt with the most right answers; of several, the one that thinks them likeliest.

    Args:
        log_probabilities: (F, K, C), of the words that answers are looked for among.
        answers: (F,) int64, places of the right ones.
    """
    right = (log_probabilities.argmax(-1) == answers[:, None]).sum(0)
    places = answers[:, None, None].expand(-1, log_probabilities.shape[1], 1)
    likelihood = log_probabilities.log_softmax(-1).gather(2, places).mean((0, 2))
    return max(range(len(right)), key=lambda k: (int(right[k]), float(likelihood[k])))


def fit_weights(log_probabilities: Tensor, answers: Tensor, *, prior_facts: float = 0.0) -> Tensor:
    """Weights under which a mixture gives right answers the highest likelihood, (K,), adding to 1.

    They are a softmax of K numbers that begin equal. The search (L-BFGS) has no chance in it.

    Args:
        log_probabilities: (F, K, C), at least one fact.
        answers: (F,) int64, places of the right answers among the C words.
        prior_facts: how many facts the wish for equal weights (a Gaussian prior) counts as.
    """
    numbers = torch.zeros(log_probabilities.shape[1], requires_grad=True)
    search = torch.optim.LBFGS([numbers], max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        value = -log_likelihood(log_probabilities, answers, numbers.softmax(0))
        value = value + prior_facts / len(answers) * numbers.square().sum()
        value.backward()
        return value

    search.step(loss)
    return numbers.detach().softmax(0)


def log_likelihood(log_probabilities: Tensor, answers: Tensor, weights: Tensor) -> Tensor:
    """Mean log-likelihood of the answers among the C words, in nats, under weights (K,)."""
    return -torch.nn.functional.cross_entropy(weights @ log_probabilities, answers)
