"""Label words: one or several for a label, of one token or several, calibrated or not."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from ptune_scale.backbone import Backbone
from ptune_scale.errors import UserError
from ptune_scale.task.answers.words import BoundSpelledOut, BoundWords, Words
from ptune_scale.task.asking import AskedTask, Panels
from ptune_scale.task.record import Record

ROWS = [
    {"a": "Norway", "answer": "north"},
    {"a": "the city of Rome", "answer": "south"},
    {"a": "near Spain", "answer": "south"},
]
ONE_EACH = Words({"north": ("Oslo",), "south": ("Rome",)})
SEVERAL = Words({"north": ("Oslo", "Stockholm"), "south": ("Rome", "Madrid", "Paris")})
LONG = Words({"north": ("Oslo", "near Stockholm"), "south": ("the city of Rome",)})


def _expected(
    words: Words, task: AskedTask, backbone: Backbone, prompts: Tensor, plainly, record: Record
) -> dict[str, float]:
    """Probability of each label, as the share of its words' probabilities among all words'."""
    parts, _ = task.filler.fill(record, masks=backbone.kind == "masked")
    shares: dict[str, float] = {}
    for label, ones in words.words.items():
        shares[label] = 0.0
        for word in ones:
            tokens = task.filler.spell(word)
            if backbone.kind == "masked":
                parts, _ = task.filler.fill(record, masks=len(tokens))
            row = task.filler.join(parts, tokens)
            logs = plainly(backbone, prompts, row.ids, row.slots)
            pairs = zip(row.targets, tokens, strict=True)
            shares[label] += float(torch.stack([logs[t, a] for t, a in pairs]).sum().exp())
    total = sum(shares.values())
    return {label: share / total for label, share in shares.items()}


def assert_close(found: Mapping[str, float] | None, expected: Mapping[str, float]) -> None:
    assert found is not None and list(found) == list(expected)
    assert list(found.values()) == pytest.approx(list(expected.values()), rel=1e-3)


@pytest.mark.parametrize("model", ["llama", "bert"])
@pytest.mark.parametrize("words", [ONE_EACH, SEVERAL], ids=["one", "several"])
def test_a_label_is_as_likely_as_its_words_together(
    words: Words, model: str, task_of, ask, plainly, request: pytest.FixtureRequest
) -> None:
    backbone: Backbone = request.getfixturevalue(model)
    [task], asker = ask(backbone, task_of("[P] {a} is [P] [Y]", words, *ROWS))
    assert isinstance(task.bound, BoundWords)
    for found, record in zip(
        Panels([task]).predict(asker, task.test), task.task.splits.test, strict=True
    ):
        expected = _expected(words, task, backbone, asker.prompts, plainly, record)
        assert_close(found.scores, expected)
        assert found.answer == max(expected, key=expected.__getitem__)
        assert found.score == found.scores[found.answer]


def test_words_of_several_tokens_are_read_token_by_token(
    llama: Backbone, task_of, ask, plainly
) -> None:
    [task], asker = ask(llama, task_of("[P] {a} is [P] [Y]", LONG, *ROWS))
    assert isinstance(task.bound, BoundSpelledOut)
    assert [len(question.rows) for question in task.test] == [3, 3, 3]
    for found, record in zip(
        Panels([task]).predict(asker, task.test), task.task.splits.test, strict=True
    ):
        expected = _expected(LONG, task, llama, asker.prompts, plainly, record)
        assert_close(found.scores, expected)
        assert found.answer == max(expected, key=expected.__getitem__)


def test_a_masked_model_fills_the_surest_mask_first(bert: Backbone, task_of, ask, plainly) -> None:
    [task], asker = ask(bert, task_of("[P] {a} is [P] [Y] .", LONG, *ROWS))
    found = Panels([task]).predict(asker, task.test)
    orders = set()
    for question, prediction in zip(task.test, found, strict=True):
        totals = []
        for row in question.rows:
            ids, left, total = list(row.ids), dict(zip(row.targets, row.answers, strict=True)), 0.0
            order = []
            while left:
                logs = plainly(bert, asker.prompts, ids, row.slots)
                surest = max(left, key=lambda place, logs=logs: float(logs[place, left[place]]))
                total += float(logs[surest, left[surest]])
                ids[surest] = left.pop(surest)
                order.append(surest)
            totals.append(total)
            orders.add(order == sorted(order))
        scores = torch.tensor(totals, dtype=torch.float64)
        labels = torch.stack([scores[:2].logsumexp(0), scores[2]]).softmax(0).tolist()
        assert_close(prediction.scores, dict(zip(LONG.labels, labels, strict=True)))
    assert False in orders  # not simply from left to right


@pytest.mark.parametrize("words", [SEVERAL, LONG], ids=["one token", "several tokens"])
def test_calibrated_scores_are_divided_by_those_of_a_record_that_says_nothing(
    words: Words, llama: Backbone, task_of, ask, plainly
) -> None:
    calibrated = Words(words.words, calibrate=True)
    [task], asker = ask(llama, task_of("[P] {a} is [P] [Y]", calibrated, *ROWS))
    nothing = Record("", {"a": "N/A"}, None)
    neutral = _expected(words, task, llama, asker.prompts, plainly, nothing)
    for found, record in zip(
        Panels([task]).predict(asker, task.test), task.task.splits.test, strict=True
    ):
        plain = _expected(words, task, llama, asker.prompts, plainly, record)
        ratio = {label: plain[label] / neutral[label] for label in plain}
        total = sum(ratio.values())
        assert_close(found.scores, {label: each / total for label, each in ratio.items()})
        assert found.answer == max(ratio, key=ratio.__getitem__)


def test_a_pattern_that_cannot_be_asked_about_nothing_is_not_calibrated(
    llama: Backbone, task_of
) -> None:
    words = Words(SEVERAL.words, calibrate=True)
    task = task_of("{a|Norway=near} [Y]", words, ROWS[0])
    with pytest.raises(UserError, match="cannot be calibrated: .*the pattern has words for Norway"):
        AskedTask(task, llama.tokens, 0)


def test_the_word_that_is_read_is_that_of_the_label(llama: Backbone, bert: Backbone, task_of, ask):
    for backbone in (llama, bert):
        [task], _ = ask(backbone, task_of("{a} is [Y]", SEVERAL, *ROWS))
        assert [q.rows[0].label for q in task.learn] == [0, 1, 1]
        assert [q.rows[0].answers for q in task.learn] == [
            (backbone.tokens.word_token(word),) for word in ("Oslo", "Rome", "Rome")
        ]
        [unknown] = task.questions([Record("0", {"a": "Rome"}, None)], "evaluate")
        assert (unknown.rows[0].label, unknown.rows[0].answers) == (-1, (-1,))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"a": ("Rome",)}, "labels .'a'.: two or more are needed"),
        ({"a": ("Rome",), "b": ()}, "label .* has no word"),
        ({"a": ("Rome",), "b": (" ",)}, "label b has no word"),
    ],
)
def test_labels_without_a_word_are_refused(words: dict[str, tuple[str, ...]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Words(words)


@pytest.mark.parametrize("pattern", ["{a} [Y]", "{a} ([Y]"])
@pytest.mark.parametrize(
    "words",
    [
        {"first": ("Rome",), "second": ("Oslo", "Rome")},
        {"first": ("a city",), "second": ("Rome", "a city")},
    ],
)
def test_words_of_two_labels_that_are_the_same_tokens_are_refused(
    words: dict[str, tuple[str, ...]], pattern: str, llama: Backbone, task_of
) -> None:
    message = "labels 'first' and 'second' of cb: their words '.*' and '.*' are the same tokens"
    with pytest.raises(UserError, match=message):
        AskedTask(task_of(pattern, Words(words)), llama.tokens, 0)


def test_a_word_that_the_vocabulary_lacks_is_refused(bert: Backbone, task_of) -> None:
    words = Words({"first": ("Rome",), "second": ("日本",)})
    with pytest.raises(UserError, match="label 'second' of cb: the word '日本' is not in the voc"):
        AskedTask(task_of("{a} [Y]", words), bert.tokens, 0)


def test_a_label_that_has_no_word_is_named_by_file_and_line() -> None:
    record = Record("0", {"a": "x"}, "west", source="a.jsonl:3")
    with pytest.raises(UserError, match="a.jsonl:3: label 'west' has no word; .* north, south"):
        SEVERAL.check(record)
