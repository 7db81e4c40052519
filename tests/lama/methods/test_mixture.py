"""Prompts asked together: ranks of weighted scores, and weights fitted to answers."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from ptune_scale.backbone import load_backbone
from ptune_scale.lama.methods.mixture import (
    PromptMixture,
    answerable,
    fit_weights,
    log_likelihood,
)
from ptune_scale.lama.reader.published import word_pattern
from ptune_scale.parallel import single
from ptune_scale.task.answers.ranked import Ranked, RankedPanel
from ptune_scale.task.ask import Asker
from ptune_scale.task.asking import AskedTask
from ptune_scale.task.pattern import Pattern
from ptune_scale.task.record import Record
from ptune_scale.task.task import Splits, Task, Wording

TEXTS = ["[X] is in [Y] .", "the capital of [X] : [Y] .", "[X] near a city , [Y]"]
SUBJECTS = ["Norway", "the old Sweden", "Italy", "France", "a Germany near Spain"]
OBJECTS = ["Oslo", "Paris", "Rome", "Berlin", "Madrid"]
RELATION = 1


@pytest.fixture(scope="module", params=["tiny_gpt2", "tiny_bert"])
def world(request: pytest.FixtureRequest) -> SimpleNamespace:
    """A model, three prompts, and a few facts of a relation."""
    backbone = load_backbone(str(request.getfixturevalue(request.param)))
    tokens = backbone.tokens
    own = [("Europe",), ("Oslo", "Paris", "Rome", "Asia")]
    answers = [Ranked({"full_vocab": None, "relation": words}, one_token=True) for words in own]
    plain = Pattern.parse("[X] [Y]")
    tasks = [Task(f"P{i}", Wording(plain, a), Splits((), (), ())) for i, a in enumerate(answers)]
    pairs = zip(SUBJECTS, OBJECTS, strict=True)
    return SimpleNamespace(
        backbone=backbone,
        asked=[
            AskedTask(
                tasks[RELATION],
                tokens,
                place,
                wording=Wording(word_pattern(text, tokens.kind), answers[RELATION]),
            )
            for place, text in enumerate(TEXTS)
        ],
        facts=[Record(subject, {"subject": subject}, answer) for subject, answer in pairs],
        labels=torch.tensor([tokens.word_token(answer) for answer in OBJECTS]),
        panel=RankedPanel({i: AskedTask(t, tokens, i).bound for i, t in enumerate(tasks)}),
    )


def mixture(world: SimpleNamespace, count: int = 3, **limits: object) -> PromptMixture:
    no_slots = torch.zeros(count, 0, world.backbone.hidden_size)
    asker = Asker(single(world.backbone.lm), no_slots, **{"batch_size": 7, **limits})
    return PromptMixture(world.asked[:count], asker, world.panel, RELATION)


def plain_log_probabilities(world: SimpleNamespace) -> Tensor:
    """(F, K, V), one sentence at a time through the model as transformers runs it."""
    rows = []
    for fact in world.facts:
        for asked in world.asked:
            [row] = asked.questions([fact], "evaluate")[0].rows
            with torch.no_grad():
                logits = world.backbone.lm.model(torch.tensor([row.ids])).logits
            rows.append(logits[0, row.targets[0]].log_softmax(-1))
    return torch.stack(rows).view(len(world.facts), len(world.asked), -1)


def test_log_probabilities_are_those_of_each_sentence_alone(world) -> None:
    words = torch.tensor([3, 17, 8])
    found = mixture(world).log_probabilities(world.facts, words)
    torch.testing.assert_close(found, plain_log_probabilities(world)[..., words])


@pytest.mark.parametrize("limits", [{}, {"batch_size": 1}, {"batch_tokens": 40}])
def test_predictions_are_those_of_weighted_log_probabilities(world, limits) -> None:
    weights = torch.tensor([[0.2, 0.5, 0.3], [0.0, 0.0, 1.0]])
    found = mixture(world, **limits).predict(world.facts, weights)
    scores = weights @ plain_log_probabilities(world)
    gold = scores.gather(2, world.labels[:, None, None].expand(-1, 2, 1))
    candidates, tokens = world.panel.candidates, world.backbone.tokens
    for name in candidates.names:
        words = candidates.tokens(name, RELATION)
        expected = 1 + (scores > gold)[..., words].sum(-1)
        expected[~torch.isin(world.labels, words)] = candidates.vocab_size + 1
        ranks = [[each.ranks[name] for each in column] for column in found]
        assert torch.equal(torch.tensor(ranks).T, expected)
    best = scores.argmax(-1).T.tolist()
    assert [[each.answer for each in column] for column in found] == [
        [tokens.text(token) for token in column] for column in best
    ]


def test_what_is_taken_off_a_word_counts_against_it(world) -> None:
    weights = torch.tensor([[0.2, 0.5, 0.3], [0.2, 0.5, 0.3]])
    scores = weights[0] @ plain_log_probabilities(world)
    offsets = torch.zeros(2, scores.shape[-1])
    offsets[1] = 0.5 * scores.mean(0)
    plain, corrected = mixture(world).predict(world.facts, weights, offsets)
    tokens = world.backbone.tokens
    for found, expected in ((plain, scores), (corrected, scores - offsets[1])):
        best = [tokens.text(token) for token in expected.argmax(-1).tolist()]
        assert [each.answer for each in found] == best


def test_only_facts_whose_answer_is_a_candidate_can_be_learned_from(world) -> None:
    facts = [*world.facts, Record("x", {"subject": "x"}, "a phrase of words")]
    assert answerable(world.panel, RELATION, facts) == world.facts
    words, places = mixture(world).candidates(world.facts)
    assert torch.equal(words[places], world.labels)


def test_batches_never_part_the_prompts_of_a_fact_and_report_all_rows(world) -> None:
    done: list[int] = []
    asked = mixture(world, after_batch=done.append)
    asked.predict(world.facts, torch.full((1, 3), 1 / 3))
    assert done == [6, 6, 3]


def test_fitted_weights_raise_the_likelihood_of_answers() -> None:
    generator = torch.Generator().manual_seed(2)
    scores = torch.randn(20, 4, 12, generator=generator)
    answers = torch.randint(0, 12, (20,), generator=generator)
    # The third prompt knows half of the answers, the last one the other half.
    scores[:10, 2].scatter_add_(1, answers[:10, None], torch.full((10, 1), 6.0))
    scores[10:, 3].scatter_add_(1, answers[10:, None], torch.full((10, 1), 6.0))
    found = scores.log_softmax(-1)
    weights = fit_weights(found, answers)
    assert torch.equal(weights, fit_weights(found, answers))
    assert weights.sum().item() == pytest.approx(1) and weights.min() >= 0
    fitted = log_likelihood(found, answers, weights)
    others = [torch.full((4,), 0.25), *torch.eye(4)]
    others += list(torch.rand(50, 4, generator=generator).softmax(-1))
    assert all(fitted >= log_likelihood(found, answers, other) - 1e-4 for other in others)
    assert fitted > log_likelihood(found, answers, others[0]) + 0.1
    assert weights[2:].min() > 5 * weights[:2].max()


def test_weights_are_even_where_little_is_known() -> None:
    scores = torch.tensor([[[0.0, 5.0], [5.0, 0.0]]]).log_softmax(-1)
    answers = torch.tensor([0])
    sure = fit_weights(scores, answers)
    unsure = fit_weights(scores, answers, prior_facts=4)
    assert unsure[1] > unsure[0] > sure[0]
