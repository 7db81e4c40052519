"""Prompts asked together: ranks of weighted scores, and weights fitted to answers."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from ptune_scale.backbone import load_backbone
from ptune_scale.data.candidates import Candidates
from ptune_scale.data.prepare import LabelledFact, fill
from ptune_scale.data.prompts import word_template
from ptune_scale.evaluate import all_ranks
from ptune_scale.mixture import PromptMixture, fit_weights, log_likelihood
from ptune_scale.parallel import single

TEXTS = ["[X] is in [Y] .", "the capital of [X] : [Y] .", "[X] near a city , [Y]"]
SUBJECTS = ["Norway", "the old Sweden", "Italy", "France", "a Germany near Spain"]
RELATION = 1


@pytest.fixture(scope="module", params=["tiny_gpt2", "tiny_bert"])
def world(request: pytest.FixtureRequest) -> SimpleNamespace:
    """A model, three prompts, and a few facts of a relation."""
    backbone = load_backbone(str(request.getfixturevalue(request.param)))
    tokens, size = backbone.tokens, backbone.vocab_size
    labels = [tokens.word_token(word) for word in ("Oslo", "Paris", "Rome", "Berlin", "Madrid")]
    return SimpleNamespace(
        lm=backbone.lm,
        function=single(backbone.lm),
        tokens=tokens,
        hidden_size=backbone.hidden_size,
        templates=[word_template(text, tokens.kind) for text in TEXTS],
        facts=[LabelledFact(*pair) for pair in zip(SUBJECTS, labels, strict=True)],
        labels=torch.tensor(labels),
        candidates=Candidates(
            size,
            {"full_vocab": None, "even": list(range(0, size, 2))},
            {"relation": [[0], [*labels[:3], 5, 9]]},
        ),
    )


def mixture(world: SimpleNamespace, templates=None, **limits: int) -> PromptMixture:  # noqa: ANN001
    limits = {"batch_size": 7, **limits}
    templates = templates or world.templates
    return PromptMixture(world.function, templates, world.tokens, world.hidden_size, **limits)


def plain_log_probabilities(world: SimpleNamespace) -> Tensor:
    """(F, K, V), one sentence at a time through the model as transformers runs it."""
    rows = []
    for fact in world.facts:
        for template in world.templates:
            cloze = template.render(fact.subject, world.tokens)
            with torch.no_grad():
                logits = world.lm.model(torch.tensor([cloze.ids])).logits
            rows.append(logits[0, cloze.target].log_softmax(-1))
    return torch.stack(rows).view(len(world.facts), len(world.templates), -1)


def test_log_probabilities_are_those_of_each_sentence_alone(world) -> None:
    words = torch.tensor([3, 17, 8])
    found = mixture(world).log_probabilities(world.facts, words)
    torch.testing.assert_close(found, plain_log_probabilities(world)[..., words])


@pytest.mark.parametrize("limits", [{}, {"batch_size": 1}, {"batch_tokens": 40}])
def test_ranks_are_those_of_weighted_log_probabilities(world, limits) -> None:
    weights = torch.tensor([[0.2, 0.5, 0.3], [0.0, 0.0, 1.0]])
    found = mixture(world, **limits).ranks(world.facts, weights, world.candidates, RELATION)
    scores = weights @ plain_log_probabilities(world)
    gold = scores.gather(2, world.labels[:, None, None].expand(-1, 2, 1))
    better = scores > gold
    for column, name in enumerate(world.candidates.names):
        words = world.candidates.tokens(name, RELATION)
        expected = 1 + better[..., words].sum(-1)
        outside = ~torch.isin(world.labels, words)
        expected[outside] = world.candidates.vocab_size + 1
        assert torch.equal(found[..., column], expected)


def test_one_prompt_alone_is_that_prompt(world) -> None:
    one = mixture(world, world.templates[:1])
    found = one.ranks(world.facts, torch.ones(1, 1), world.candidates, RELATION)
    examples = fill(RELATION, world.facts, world.templates[0], world.tokens)
    expected = all_ranks(
        world.function,
        examples,
        torch.zeros(2, 0, world.hidden_size),
        world.candidates,
        batch_size=64,
        pad=world.tokens.placeholder,
    )
    assert torch.equal(found, expected)


def test_batches_never_part_the_prompts_of_a_fact_and_report_all_facts(world) -> None:
    done: list[int] = []
    asked = PromptMixture(
        world.function,
        world.templates,
        world.tokens,
        world.hidden_size,
        batch_size=7,
        after_batch=done.append,
    )
    asked.ranks(world.facts, torch.full((1, 3), 1 / 3), world.candidates, RELATION)
    assert done == [2, 2, 1]


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
