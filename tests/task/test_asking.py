"""Tasks of all kinds bound to a model: what is minimized, alone and mixed in one step."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ptune_scale.backbone import Backbone
from ptune_scale.errors import UserError
from ptune_scale.parallel import single
from ptune_scale.task.answers.answer import Question
from ptune_scale.task.answers.choices import Choices
from ptune_scale.task.answers.ranked import Ranked
from ptune_scale.task.answers.span import Span
from ptune_scale.task.answers.text import Text
from ptune_scale.task.answers.words import Words
from ptune_scale.task.asking import AskedTask, Panels
from ptune_scale.task.example import Example
from ptune_scale.task.record import Record
from ptune_scale.task.task import Task
from ptune_scale.train.trainer import loss_and_gradient

PATTERN = "[P] {a} is [P]*2 in [Y]"
PLACES = ["Norway", "Sweden near Norway", "a city of France", "Rome", "Spain"]
ONE = Words({"north": ("Oslo", "Stockholm"), "south": ("Rome",), "west": ("Madrid", "Paris")})
SEVERAL = Words({"north": ("Oslo", "near Stockholm"), "south": ("the city of Rome",)})
CITIES = Ranked({"cities": ("Oslo", "Rome", "Paris", "Berlin")})
PHRASES = Ranked({"phrases": ("Oslo", "the city of Rome", "Berlin near Paris")})
Loss = Callable[[Question], Tensor]


def _rows(*answers: str, **more: str) -> list[dict[str, str]]:
    return [
        {"a": place, "answer": answers[i % len(answers)], **more} for i, place in enumerate(PLACES)
    ]


SHORT = {"first": "Oslo", "second": "a city located near Rome", "third": "Madrid of Spain"}
KINDS: dict[str, tuple[Any, list[dict[str, str]]]] = {
    "words": (ONE, _rows("north", "south", "west")),
    "spelled out": (SEVERAL, _rows("south", "north")),
    "two choices": (Choices(("first", "second")), _rows("0", "1", **SHORT)),
    "three choices": (Choices(("first", "second", "third")), _rows("2", "0", **SHORT)),
    "ranked": (CITIES, _rows("Rome", "Berlin")),
    "phrases": (PHRASES, _rows("the city of Rome", "Oslo")),
    "text": (Text(max_tokens=12), _rows("Dante born in Florence", "Asia")),
    "span": (Span("first"), _rows("True", **SHORT)),
}
CAUSAL_ONLY = {"phrases", "text"}
TEXTS = {row["answer"] for kind in ("ranked", "text") for row in KINDS[kind][1]}
CASES = [
    (kind, model)
    for kind in KINDS
    for model in ("llama", "bert")
    if not (kind in CAUSAL_ONLY and model == "bert")
]


def _made(kind: str, task_of: Callable[..., Task]) -> Task:
    answer, rows = KINDS[kind]
    return task_of(PATTERN, answer, *rows, name=kind)


def _of_row(row: Example, logs: Tensor) -> Tensor:
    """Mean cross-entropy of a row's answers, of those that there are."""
    asked = [(t, a) for t, a in zip(row.targets, row.answers, strict=True) if a >= 0]
    return -torch.stack([logs[target, answer] for target, answer in asked]).mean()


def _plain_loss(kind: str, task: AskedTask, question: Question, logs: list[Tensor]) -> Tensor:
    """The loss of a question from all log-probabilities of each row, (T, V), as it is defined."""
    rows, tokens = question.rows, task.filler.tokens
    if kind == "words":
        words = [
            torch.stack([logs[0][rows[0].targets[0], tokens.word_token(w)] for w in label])
            for label in ONE.words.values()
        ]
        scores = torch.stack([label.logsumexp(0) for label in words])
        return cross_entropy(scores, torch.tensor(ONE.labels.index(question.record.answer)))
    losses = torch.stack([_of_row(row, each) for row, each in zip(rows, logs, strict=True)])
    if kind == "spelled out":
        totals = -losses * torch.tensor([sum(a >= 0 for a in row.answers) for row in rows])
        north, south = totals[:2].logsumexp(0), totals[2]
        right = torch.tensor(SEVERAL.labels.index(question.record.answer))
        return cross_entropy(torch.stack([north, south]), right)
    if "choices" in kind:
        right = int(question.record.answer)
        wrong = [i for i in range(len(rows)) if i != right]
        return torch.stack([(1 + losses[right] - losses[i]).relu() for i in wrong]).mean()
    return losses[0]


@pytest.mark.parametrize(("kind", "model"), CASES)
def test_loss_and_gradient_are_those_of_full_logits(
    kind: str, model: str, task_of, ask, plainly, request: pytest.FixtureRequest
) -> None:
    backbone: Backbone = request.getfixturevalue(model)
    [task], asker = ask(backbone, _made(kind, task_of))
    batches = Panels([task]).batches(task.learn)
    losses, gradient, _ = loss_and_gradient(single(backbone.lm), batches, asker.prompts)
    leaf = asker.prompts.clone().requires_grad_()
    expected = torch.stack(
        [
            _plain_loss(kind, task, q, [plainly(backbone, leaf, r.ids, r.slots) for r in q.rows])
            for q in task.learn
        ]
    ).mean()
    expected.backward()
    assert leaf.grad is not None and leaf.grad.abs().max() > 1e-3
    torch.testing.assert_close(losses, expected.detach().view(1), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, leaf.grad, rtol=1e-4, atol=1e-5)


def test_a_task_learns_the_same_whatever_else_is_in_the_step(llama: Backbone, task_of, ask) -> None:
    kinds = ["words", "two choices", "text", "ranked", "three choices", "spelled out", "phrases"]
    made = [_made(kind, task_of) for kind in kinds]
    more = task_of("{a} [P] or [Y]", SEVERAL, *_rows("south"), name="more words of several tokens")
    other = Words({"yes": ("Asia",), "no": ("Africa", "Europe", "Oslo")})
    also = task_of("[P] {a} [Y]", other, *_rows("no", "yes", "no"), name="other words")
    tasks, asker = ask(llama, *made, more, also)
    panels, function = Panels(tasks), single(llama.lm)
    questions = [tasks[i % len(tasks)].learn[i // len(tasks)] for i in range(5 * len(tasks))]
    mixed = panels.batches(questions)
    # Tasks of a kind share a batch, and phrases that are told apart by their candidates do not.
    assert len(mixed) == len(kinds)
    losses, gradient, tokens = loss_and_gradient(function, mixed, asker.prompts)
    assert tokens == sum(len(row.ids) for question in questions for row in question.rows)
    for index, task in enumerate(tasks):
        alone = Panels([task]).batches(task.learn)
        own, own_gradient, _ = loss_and_gradient(function, alone, asker.prompts)
        assert own[index] > 0.1 and own_gradient[index].abs().max() > 1e-3
        torch.testing.assert_close(losses[index], own[index], rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(gradient[index], own_gradient[index], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("kind", "model"), CASES)
def test_predictions_do_not_depend_on_batches_or_on_other_tasks(
    kind: str, model: str, task_of, ask, request: pytest.FixtureRequest
) -> None:
    backbone: Backbone = request.getfixturevalue(model)
    others = [k for k, m in CASES if m == model and k != kind]
    tasks, asker = ask(backbone, *[_made(each, task_of) for each in (kind, *others)])
    sizes: list[int] = []
    asker.after_batch = sizes.append
    found = []
    for rows, tokens in ((1, 0), (64, 0), (64, 40)):
        asker.batch_size, asker.batch_tokens = rows, tokens
        sizes.clear()
        found.append(Panels(tasks[:1]).predict(asker, tasks[0].test))
        assert (max(sizes) == 1) == (rows == 1)
    questions = [q for pair in zip(*(t.test for t in tasks), strict=True) for q in pair]
    found.append(Panels(tasks).predict(asker, questions)[:: len(tasks)])
    for other in found[1:]:
        assert [(p.answer, p.ranks, p.text) for p in other] == [
            (p.answer, p.ranks, p.text) for p in found[0]
        ]
        assert [p.score for p in other] == pytest.approx([p.score for p in found[0]], rel=1e-4)


def test_a_row_is_as_long_as_task_and_model_allow(llama: Backbone, task_of) -> None:
    task = task_of("{a...} [P] [Y]", ONE, {"a": "Oslo " * 99, "answer": "north"}, max_length=20)
    for context, length in ((None, 20), (64, 20), (16, 16)):
        asked = AskedTask(task, llama.tokens, 0, context_length=context)
        assert asked.max_length == length
        [question] = asked.learn
        assert question.num_tokens == length and question.cut > 0


@pytest.mark.parametrize("kind", sorted(CAUSAL_ONLY))
def test_what_a_masked_model_cannot_answer_is_refused_with_the_reason(
    kind: str, bert: Backbone, task_of
) -> None:
    with pytest.raises(UserError, match="causal model.*; a masked .* has to know"):
        AskedTask(_made(kind, task_of), bert.tokens, 0)


def test_outcomes_hold_what_metrics_are_made_of(llama: Backbone, task_of, ask) -> None:
    made = [_made(kind, task_of) for kind in ("words", "ranked", "text", "two choices")]
    tasks, asker = ask(llama, *made)
    asker.wants_likelihood = True
    groups = {"a": "Rome", "group": "g7", "answer": "north"}
    records = [Record("0", groups, "north"), *tasks[0].task.splits.test]
    questions = tasks[0].questions(records, "evaluate")
    outcomes = tasks[0].outcomes(questions, Panels(tasks).predict(asker, questions))
    assert [outcome.group for outcome in outcomes] == ["g7", *[""] * 5]
    assert [outcome.expected for outcome in outcomes[:3]] == ["north", "north", "south"]
    assert set(outcomes[0].scores or {}) == set(ONE.labels)
    for task in tasks[1:]:
        for outcome in task.outcomes(task.test, Panels(tasks).predict(asker, task.test)):
            kind = task.task.name
            assert (outcome.rank is not None) == (kind == "ranked")
            assert (outcome.log_likelihood is not None) == (kind == "text")
            assert outcome.expected in (("first", "second") if "choices" in kind else TEXTS)
