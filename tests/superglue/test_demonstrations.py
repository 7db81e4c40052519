"""What stands in front of a question: which records, how they are written, how many fit."""

from collections import Counter

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from ptune_scale.superglue import RowEncoder, find_task
from ptune_scale.superglue.demonstrations import demonstrate, take_turns
from ptune_scale.superglue.pattern import Pattern
from ptune_scale.superglue.tasks.boolq import YES_NO, Question
from ptune_scale.superglue.tasks.copa import Choice
from ptune_scale.superglue.tasks.wsc import Reference
from ptune_scale.tokenization import Tokenization


def _question(idx: int, label: int, passage: str = "The cat sat") -> Question:
    return Question(idx=(idx,), label=label, passage=passage, question="is it tired")


COPA = Choice(
    idx=(0,),
    label=1,
    premise="The cat slept.",
    choice1="It ran home.",
    choice2="He was so tired.",
    question="cause",
)
WSC = Reference(
    idx=(0,), label=1, text="Tom Smith ran and he slept", span="Tom Smith", pronoun="he", position=4
)
TEXTS = [
    ("BoolQ", "manual_0", _question(0, 1), "The cat sat. Question: is it tired? Answer: Yes.\n\n"),
    (
        "COPA",
        "manual_1",
        COPA,
        "it ran home or he was so tired? The cat slept because he was so tired.\n\n",
    ),
    (
        "WSC",
        "manual_0",
        WSC,
        "Tom Smith ran and *he* slept The pronoun '*he*' refers to Tom Smith.\n\n",
    ),
]


@pytest.mark.parametrize(("task", "pattern", "record", "text"), TEXTS)
def test_a_record_is_written_with_its_answer_as_the_tokenizer_spells_the_whole_text(
    task, pattern, record, text, causal: Tokenization
) -> None:
    written = find_task(task).pattern(pattern)
    encoder = RowEncoder(find_task(task), written, causal, 64)
    shown = demonstrate(encoder, written, [record, record], at_most=8)
    assert shown.records == (record, record)
    assert list(shown.ids) == causal.tokenizer(2 * text)["input_ids"]


def test_line_breaks_are_spelled_as_in_front_of_a_text() -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["x Yes No\n\n"] * 8, trainer)
    tokens = Tokenization(PreTrainedTokenizerFast(tokenizer_object=tokenizer), "causal")
    pattern = Pattern.parse("{passage...} {question}? [Y]", YES_NO)
    encoder = RowEncoder(find_task("BoolQ"), pattern, tokens, 64)
    shown = demonstrate(encoder, pattern, [_question(0, 1)], at_most=1)
    text = "The cat sat is it tired? Yes\n\n"
    alone, in_front = (tokens.tokenizer(t)["input_ids"] for t in (text, f"{text}T"))
    assert len(alone) == len(in_front) - 2  # two line breaks at the end are one token
    assert list(shown.ids) == in_front[:-1]


def test_the_question_behind_them_keeps_its_own_length(causal: Tokenization) -> None:
    task = find_task("BoolQ")
    pattern = task.pattern("manual_0")
    alone = RowEncoder(task, pattern, causal, 16)
    shown = demonstrate(alone, pattern, [_question(0, 1)], at_most=1)
    behind = RowEncoder(task, pattern, causal, 16, beginning=shown.ids)
    long = _question(1, 0, "The cat sat and the dog ran and it was tired")
    (row,), (front,) = behind.encode([long], "evaluate").rows, alone.encode([long], "evaluate").rows
    assert front.cut > 0 and len(front.ids) == 16
    assert row.ids == shown.ids + front.ids and row.cut == front.cut
    assert row.targets == (len(row.ids) - 1,)


def test_labels_take_turns_and_the_seed_decides_the_rest() -> None:
    records = [_question(idx, int(idx < 9)) for idx in range(12)]
    order = take_turns(records, 1)
    assert sorted(r.idx for r in order) == [(idx,) for idx in range(12)]
    for count in range(0, 7, 2):
        assert set(Counter(r.label for r in order[:count]).values()) <= {count // 2}
    assert take_turns(records, 1) == order
    assert any(take_turns(records, seed) != order for seed in (2, 3))


def test_as_many_as_fit_and_as_were_asked_for(causal: Tokenization) -> None:
    pattern = Pattern.parse("{passage...} {question}? [Y].", YES_NO)
    encoder = RowEncoder(find_task("BoolQ"), pattern, causal, 64)
    short, long = _question(0, 1), _question(1, 0, "The dog ran home and it slept and was tired")

    def shown(*records: Question, **limits: int) -> list[int]:
        found = demonstrate(encoder, pattern, records, **limits)
        if "room" in limits:
            assert len(found.ids) <= limits["room"]
        return [record.idx[0] for record in found.records]

    size = len(demonstrate(encoder, pattern, [short], at_most=1).ids)
    assert shown(short, long, short, at_most=2) == [0, 1]
    assert shown(short, long, short, at_most=3, room=2 * size) == [0, 0]
    assert shown(short, long, at_most=3, room=size - 1) == []
