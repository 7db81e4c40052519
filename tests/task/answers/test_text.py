"""Free text: trained to its end token, written until it ends by itself."""

from collections.abc import Sequence

import pytest
import torch

from ptune_scale.backbone import Backbone
from ptune_scale.errors import UserError
from ptune_scale.parallel import single
from ptune_scale.task.answers.text import Text
from ptune_scale.task.asking import AskedTask, Panels
from ptune_scale.task.example import NO_SLOT
from ptune_scale.task.record import Record
from ptune_scale.train.trainer import loss_and_gradient

PLACES = ["Norway", "a city of France", "Spain near Rome", "Italy"]
ROWS = [
    {"a": place, "answer": "the city of Rome" if i else "Oslo"} for i, place in enumerate(PLACES)
]
PATTERN = "[P]*2 {a} is [P]*2 [Y]"
TUNED = "{a} is [P]*8 [Y]"


def _greedily(plainly, backbone: Backbone, prompts, row, most: int) -> tuple[list[int], float]:
    """The likeliest token each time, from the model as it was written, and their score."""
    tokens: list[int] = []
    total = 0.0
    while len(tokens) < most:
        slots = (*row.slots, *[NO_SLOT] * len(tokens))
        logs = plainly(backbone, prompts, (*row.ids, *tokens), slots)[-1]
        token = int(logs.argmax())
        total += float(logs[token])
        if token == backbone.tokens.end_token:
            break
        tokens.append(token)
    return tokens, total


@pytest.mark.parametrize("lengths", [(6, 6), (3, 9)])
def test_a_text_is_what_a_plain_greedy_loop_writes(
    lengths: Sequence[int], llama: Backbone, task_of, ask, plainly
) -> None:
    made = [
        task_of(PATTERN, Text(max_tokens=length), *ROWS, name=str(i))
        for i, length in enumerate(lengths)
    ]
    tasks, asker = ask(llama, *made)
    asker.prompts = asker.prompts[:1].expand(2, -1, -1)
    questions = [
        question for pair in zip(*(t.test for t in tasks), strict=True) for question in pair
    ]
    for question, found in zip(questions, Panels(tasks).predict(asker, questions), strict=True):
        length = lengths[question.task]
        tokens, total = _greedily(plainly, llama, asker.prompts, question.rows[0], length)
        assert found.text == llama.tokens.text_after(tokens)
        assert found.answer == found.text.strip()
        assert found.score == pytest.approx(float(torch.tensor(total).exp()), rel=1e-3)


@pytest.fixture(scope="module")
def trained(llama: Backbone, task_of, ask):
    """A task whose prompt was tuned to write one text, and its asker."""
    rows = [{**row, "answer": "Rome,"} for row in ROWS]
    [task], asker = ask(llama, task_of(TUNED, Text(max_tokens=8), *rows))
    function, batches = single(llama.lm), Panels([task]).batches(task.learn)
    prompts = (0.3 * asker.prompts).requires_grad_()
    adam = torch.optim.Adam([prompts], lr=0.1)
    for _ in range(200):
        losses, prompts.grad, _ = loss_and_gradient(function, batches, prompts.detach())
        adam.step()
    asker.prompts = prompts.detach()
    return task, asker, float(losses)


def test_a_tuned_text_ends_by_itself(trained, llama: Backbone) -> None:
    task, asker, loss = trained
    assert loss < 0.4
    found = Panels([task]).predict(asker, task.test)
    assert [(each.answer, each.text) for each in found] == [("Rome,", " Rome,")] * 4
    longer = single(llama.lm).generate(
        Panels([task]).batches(task.test)[0][0], asker.prompts, max_tokens=20, stop=(0,)
    )
    assert all(each.ended and len(each.tokens) == 2 for each in longer)


@pytest.mark.parametrize(
    ("stop", "answer"),
    [((",",), "Rome"), (("m", ","), "Ro"), ((" Rome",), ""), (("Oslo",), "Rome,")],
)
def test_a_stop_text_ends_an_answer(
    stop: tuple[str, ...], answer: str, trained, llama: Backbone, task_of
) -> None:
    asker = trained[1]
    task = AskedTask(task_of(TUNED, Text(8, stop=stop), *ROWS), llama.tokens, 0)
    assert {each.answer for each in Panels([task]).predict(asker, task.test)} == {answer}


def test_the_likelihood_of_right_answers_is_read_with_their_end_where_it_is_wanted(
    llama: Backbone, task_of, ask, plainly
) -> None:
    [task], asker = ask(llama, task_of(PATTERN, Text(max_tokens=8), *ROWS))
    assert all(p.log_likelihood is None for p in Panels([task]).predict(asker, task.test))
    asker.wants_likelihood = True
    unknown = task.questions([Record("9", {"a": "Rome"}, None)], "evaluate")
    found = Panels([task]).predict(asker, [*unknown, *task.test])
    assert found[0].log_likelihood is None
    for question, prediction in zip(task.learn, found[1:], strict=True):
        [row] = question.rows
        logs = plainly(llama, asker.prompts, row.ids, row.slots)
        total = sum(float(logs[t, a]) for t, a in zip(row.targets, row.answers, strict=True))
        assert prediction.log_likelihood == pytest.approx(total, rel=1e-4)
        assert prediction.num_tokens == len(row.answers)


def test_an_answer_is_learned_with_its_end_token(llama: Backbone, task_of, ask) -> None:
    [task], _ = ask(llama, task_of(PATTERN, Text(max_tokens=8), *ROWS))
    for question, row in zip(task.learn, ROWS, strict=True):
        [example] = question.rows
        spelled = llama.tokens.after(f" {row['answer']}")
        assert example.answers == (*spelled, llama.tokens.end_token)
        assert [example.ids[t + 1] for t in example.targets[:-1]] == spelled
        assert example.slots[example.targets[0]] == 3


def test_answers_that_are_too_long_are_counted_or_cut_if_asked(
    llama: Backbone, task_of, ask
) -> None:
    [task], _ = ask(llama, task_of(PATTERN, Text(max_tokens=2), *ROWS))
    message = "a.jsonl:2: the answer has 4 tokens, more than max_tokens 2, as 3 of 4 answers do; "
    with pytest.raises(UserError, match=f"{message}the longest has 4"):
        task.bound.check_lengths(task.task.splits.train)
    [task], _ = ask(llama, task_of(PATTERN, Text(max_tokens=2, cut=True), *ROWS))
    task.bound.check_lengths(task.task.splits.train)
    row = task.learn[1].rows[0]
    assert row.answers == tuple(llama.tokens.after(" the city")), "what was cut does not end there"
    assert task.bound.count_cut(task.learn) == 3


def test_room_is_kept_for_what_is_written(llama: Backbone, task_of, ask) -> None:
    rows = [{"a": "Rome " * 40, "answer": "Oslo"}]
    made = task_of("{a...} [P] [Y]", Text(max_tokens=7), *rows, max_length=20)
    [task], asker = ask(llama, made)
    assert task.test[0].num_tokens == 20 - 7
    assert len(llama.tokens.after(Panels([task]).predict(asker, task.test)[0].text)) <= 7


def test_bad_limits_and_empty_answers_are_refused() -> None:
    with pytest.raises(UserError, match="max_tokens must be 1 or more, got 0"):
        Text(max_tokens=0)
    for answer in (None, " "):
        with pytest.raises(UserError, match="a:3: the answer is empty"):
            Text().check(Record("0", {}, answer, source="a:3"))
